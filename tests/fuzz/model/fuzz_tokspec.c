/* Any bytes as a tokenizer.json: refused with a sentence, or a tokenizer that takes any text, valid UTF-8 or not, and gives
 * ids of its vocabulary that decode. */
#include "base/map.h"
#include "model/tokspec.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const text[] = {"The cat's 12 hats, \xc3\xa9\xcc\x81 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x99\x82!", "", " ",
                                       "\xff\xfe\x80 a\xe2\x96", "<s>aaaa bbbb<unk>  \n\n\t<0x0A>"};
    sd_err err = {0};
    sd_tok *t;
    sd_status st = sd_tokenizer_open(&t, NULL, t_fuzz_write("tokenizer.json", data, size), &err);
    SD_ASSERT((st == SD_OK) == (t != NULL));
    SD_ASSERT(st == SD_OK || err.msg[0]);
    for (size_t i = 0; t && i < sizeof text / sizeof text[0]; i++)
        for (int plain = 0; plain < 2; plain++) {
            sd_ids ids = {0};
            sd_buf back;
            sd_buf_init(&back, 1 << 20);
            st = sd_tok_encode(t, sd_slice_of(text[i]), &(sd_encode_opt){.no_special = plain}, &ids, &err);
            SD_ASSERT(st == SD_OK || err.msg[0]); /* a pattern may give up */
            for (int64_t k = 0; k < ids.n; k++) SD_ASSERT(ids.v[k] >= 0 && ids.v[k] < sd_tok_n_vocab(t));
            SD_ASSERT(st || sd_tok_decode_text(t, ids.v, ids.n, true, &back, &err) == SD_OK);
            sd_buf_release(&back);
            sd_ids_release(&ids);
        }
    sd_tok_free(t);
    return 0;
}

T_FUZZ_MAIN("fuzz_tokspec")

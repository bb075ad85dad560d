/* Any bytes as a chat template: refused with a sentence when loaded, or it renders, or it refuses the messages and
 * leaves the buffer as it was. */
#include "text/chat.h"

#include "t_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const sd_message msg[] = {{SD_LIT("system"), SD_LIT("Be brief.")},
                              {SD_LIT("user"), SD_LIT(" Hello \xc2\xa0\n")},
                              {SD_LIT("assistant"), SD_LIT("")},
                              {SD_LIT("user"), SD_LIT("{{ x }}")}};
    sd_err err = {0};
    sd_chat *c;
    sd_status st = sd_chat_new(&c, (sd_slice){(const char *)data, size}, &err);
    SD_ASSERT((st == SD_OK) == (c != NULL));
    SD_ASSERT(st == SD_OK || err.msg[0]);
    if (st) return 0;
    SD_ASSERT(sd_chat_set_tokens(c, SD_LIT("<s>"), (sd_slice){"", 0}, &err) == SD_OK);
    sd_buf out;
    sd_buf_init(&out, 1 << 20);
    for (int n = 0; n <= 4; n++) {
        sd_buf_reset(&out);
        sd_buf_puts(&out, "kept");
        st = sd_chat_render(c, msg + (n == 1), n, n & 1, &out, &err);
        SD_ASSERT(sd_slice_starts((sd_slice){out.p, out.n}, "kept"));
        SD_ASSERT(st == SD_OK || (out.n == 4 && err.msg[0]));
        if (st == SD_E_NOMEM) break; /* the buffer was full, and says so from then on */
    }
    sd_buf_release(&out);
    sd_chat_free(c);
    return 0;
}

T_FUZZ_MAIN("fuzz_chat")

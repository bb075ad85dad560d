/* Any bytes as the patterns of a tokenizer.json (one a line): refused with a sentence, or they cut texts without losing
 * a byte, or give up on a text with a sentence. */
#include "base/str.h"
#include "text/pretok.h"

#include "t_fuzz.h"

typedef struct walk {
    const char *at;
} walk;

static sd_status next(void *self, sd_slice word, sd_err *err)
{
    walk *w = self;
    (void)err;
    SD_ASSERT(word.n > 0 && word.p == w->at);
    w->at += word.n;
    return SD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const text[] = {"It's 1,234 o'clock  \r\n\n and so on... \xe6\x97\xa5\xe6\x9c\xac x",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "\t\xc2\xa0 \n"};
    sd_slice rest = {(const char *)data, size}, line;
    sd_cut cut[SD_PRETOK_MAX];
    sd_err err = {0};
    sd_pretok *p;
    int n = 0;
    while (n < SD_PRETOK_MAX && sd_slice_cut(&rest, '\n', &line)) cut[n++] = (sd_cut){.pattern = line};
    sd_status st = sd_pretok_new(&p, cut, n, &err);
    SD_ASSERT((st == SD_OK) == (p != NULL));
    SD_ASSERT(st == SD_OK || (st == SD_E_UNSUPPORTED && err.msg[0]));
    if (st) return 0;
    sd_pretok_scratch s = {0};
    SD_ASSERT(sd_pretok_scratch_init(&s, p, &err) == SD_OK);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        walk w = {text[i]};
        st = sd_pretok_split(p, &s, sd_slice_of(text[i]), true, next, &w, &err);
        SD_ASSERT(st == SD_OK ? *w.at == '\0' : st == SD_E_UNSUPPORTED);
    }
    sd_pretok_scratch_release(&s);
    sd_pretok_free(p);
    return 0;
}

T_FUZZ_MAIN("fuzz_pattern")

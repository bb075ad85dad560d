#include "lab/same_tokens.h"

#include <inttypes.h>

sd_status sd_same_tokens(const sd_model *m, const sd_model *other, const char *name, const char *hint, sd_err *err)
{
    const int64_t n = m->cfg.n_vocab, nt = other->cfg.n_vocab, k = sd_tok_n_vocab(m->tok), kt = sd_tok_n_vocab(other->tok);
    if (n != nt || k != kt) {
        sd_fail(err, SD_E_FORMAT, "%s: a head of %" PRId64 " and %" PRId64 " tokens; the model has %" PRId64 " and %" PRId64, name, nt, kt, n, k);
        return sd_hint(err, "%s", hint);
    }
    for (int32_t i = 0; i < (int32_t)k; i++) {
        const sd_slice a = sd_tok_bytes(m->tok, i), b = sd_tok_bytes(other->tok, i);
        if (a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0)) continue;
        sd_fail(err, SD_E_FORMAT, "%s: token %d is \"%.*s\", the model's is \"%.*s\"", name, (int)i, (int)(b.n < 40 ? b.n : 40), b.n ? b.p : "",
                (int)(a.n < 40 ? a.n : 40), a.n ? a.p : "");
        return sd_hint(err, "%s", hint);
    }
    return SD_OK;
}

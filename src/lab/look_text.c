/* Owns: nothing; the bytes are the tokenizer's. */
#include "lab/look_text.h"

#include "lab/token_text.h"

void sd_look_token(sd_buf *out, const sd_tok *tok, int32_t id)
{
    sd_slice s = sd_tok_bytes(tok, id);
    if (s.n == 0) {
        sd_buf_puts(out, "\xe2\x88\x85"); /* U+2205 */
        return;
    }
    sd_token_name(out, s);
}

sd_status sd_look_name(char **name, const sd_tok *tok, int32_t id, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    sd_look_token(&b, tok, id);
    sd_free(*name);
    *name = b.failed ? NULL : sd_strndup(b.p, b.n);
    sd_buf_release(&b);
    return *name ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the name of a token");
}

sd_status sd_look_one_token(int32_t *out, const sd_model *m, const char *text, const char *what, sd_err *err)
{
    sd_ids ids = {0};
    sd_buf b;
    sd_status st = SD_OK;
    int64_t id;
    sd_buf_init(&b, 4096);
    if (strncmp(text, "id:", 3) == 0 && sd_parse_i64(sd_slice_of(text + 3), &id)) {
        if (id < 0 || id >= m->cfg.n_vocab)
            st = sd_fail(err, SD_E_ARG, "%s: token id %lld is outside the vocabulary of %lld", what, (long long)id, (long long)m->cfg.n_vocab);
        else *out = (int32_t)id;
        goto done;
    }
    if ((st = sd_tok_encode(m->tok, sd_slice_of(text), &(sd_encode_opt){.no_special = true}, &ids, err))) goto done;
    if (ids.n == 1) {
        *out = ids.v[0];
        goto done;
    }
    for (int64_t i = 0; i < ids.n && i < 8; i++) {
        sd_buf_puts(&b, i ? " | " : "");
        sd_look_token(&b, m->tok, ids.v[i]);
    }
    st = sd_fail(err, SD_E_ARG, "%s: '%.80s' is %lld tokens, one is wanted", what, text, (long long)ids.n);
    if (ids.n && text[0] == ' ') sd_hint(err, "its pieces are %s%s; id:%d takes the first piece", sd_buf_str(&b), ids.n > 8 ? " .." : "", (int)ids.v[0]);
    else if (ids.n) sd_hint(err, "its pieces are %s%s; a word inside a text mostly starts with a space: ' %.40s'; id:%d takes the first piece", sd_buf_str(&b),
                            ids.n > 8 ? " .." : "", text, (int)ids.v[0]);
    else sd_hint(err, "give a word, or a token as id:N");
done:
    sd_buf_release(&b);
    sd_ids_release(&ids);
    return st;
}

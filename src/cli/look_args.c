/* Owns: the steps that every command of this family takes in the same way. */
#include "cli/look_args.h"

#include "base/map.h"
#include "lab/look_text.h"

sd_status look_prompt(sd_ids *ids, const sd_model *m, const char *text, opt_ints list, bool no_special, sd_err *err)
{
    sd_status st = SD_OK;
    if (text) return sd_tok_encode(m->tok, sd_slice_of(text), &(sd_encode_opt){.no_special = no_special}, ids, err);
    for (int64_t i = 0; !st && i < list.n; i++) {
        if (list.v[i] < 0 || list.v[i] >= m->cfg.n_vocab)
            return sd_fail(err, SD_E_ARG, "token id %lld is outside the vocabulary of %lld", (long long)list.v[i], (long long)m->cfg.n_vocab);
        st = sd_ids_push(ids, (int32_t)list.v[i], err);
    }
    return st;
}

const char *look_prompt_text(sd_buf *b, const sd_model *m, const sd_ids *ids)
{
    enum { SHOWN = 400 };
    sd_buf_init(b, 1 << 24);
    sd_status st = sd_tok_decode_text(m->tok, ids->v, ids->n, true, b, NULL);
    if (st || b->n <= SHOWN) return sd_buf_str(b);
    b->n = sd_utf8_valid_prefix((sd_slice){b->p, SHOWN});
    sd_buf_puts(b, "\xe2\x80\xa6");
    return sd_buf_str(b);
}

void look_put_token(sd_jw *w, const char *key, const sd_model *m, int32_t id)
{
    if (key) sd_jw_key(w, key);
    if (id < 0) {
        sd_jw_null(w);
        return;
    }
    sd_jw_obj(w);
    sd_jw_ki64(w, "id", id);
    sd_jw_key(w, "text");
    sd_jw_slice(w, sd_tok_bytes(m->tok, id));
    sd_jw_end(w);
}

void look_put_tokens(sd_jw *w, const sd_model *m, const int32_t *id, int64_t n)
{
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t i = 0; i < n; i++) look_put_token(w, NULL, m, id[i]);
    sd_jw_end(w);
}

void look_cell(out_table *t, const sd_model *m, int32_t id)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    if (id >= 0) sd_look_token(&b, m->tok, id);
    out_slice(t, (sd_slice){b.p, b.n});
    sd_buf_release(&b);
}

sd_status look_html_check(const cli *c, const char *path, sd_err *err)
{
    return path ? cli_check_output(c, path, err) : SD_OK;
}

sd_look_in look_in(cli *c, const sd_model *m, const char *prompt)
{
    snprintf(c->prov.mode, sizeof c->prov.mode, "%s", sd_mode_name(c->mode));
    return (sd_look_in){.tok = m->tok, .model = m->cfg.name, .prompt = prompt, .prov = &c->prov};
}

sd_status look_html_write(cli *c, const char *path, const sd_buf *page, sd_err *err)
{
    char size[32];
    sd_status st = sd_file_write_atomic(path, page->p, page->n, err);
    if (!st) cli_note(c, "wrote %s (%s)", path, sd_fmt_bytes(size, sizeof size, (double)page->n));
    return st;
}

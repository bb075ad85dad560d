#include "cli/prompts.h"

#include "base/map.h"

/* Each prompt counts once: the same file twice, or two files of one name that share an id, whose answers a record could not tell apart. */
static sd_status check_twice(cli *c, const sd_suite *v, int n, sd_err *err)
{
    const sd_suite *x = &v[n - 1];
    for (int i = 0; i + 1 < n; i++) {
        if (strcmp(v[i].sha256, x->sha256) == 0) return cli_refuse(c, err, "--suite %s holds the prompts of %s once more: each would count twice", x->path, v[i].path);
        if (strcmp(v[i].name, x->name) != 0) continue;
        for (int64_t a = 0; a < v[i].n; a++)
            for (int64_t b = 0; b < x->n; b++)
                if (strcmp(v[i].v[a].id, x->v[b].id) == 0)
                    return cli_refuse(c, err, "--suite %s and %s are both named %s and both have a prompt %.40s", v[i].path, x->path, x->name, x->v[b].id);
    }
    return SD_OK;
}

sd_status cli_suites_open(sd_suite **out, int *n, cli *c, const opt_list *paths, int64_t limit, sd_err *err)
{
    *n = 0;
    sd_status st = sd_alloc_zero(out, (size_t)(paths->n + 1) * sizeof **out, "suites", err);
    for (int i = 0; i < paths->n && !st; i++) {
        if ((st = sd_suite_open(&(*out)[i], paths->v[i], err))) break;
        ++*n;
        st = check_twice(c, *out, *n, err);
    }
    for (int i = 0; i < *n && limit && !st; i++) sd_suite_sample(&(*out)[i], limit, c->seed);
    return st;
}

void cli_suites_close(sd_suite *s, int n)
{
    for (int i = 0; i < n; i++) sd_suite_release(&s[i]);
    sd_free(s);
}

sd_status cli_text_ids(sd_ids *ids, const sd_model *m, const char *path, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 26);
    sd_status st = sd_file_read_text(&b, path, err);
    if (!st) st = sd_tok_encode(m->tok, (sd_slice){b.p, b.n}, &(sd_encode_opt){.no_special = true}, ids, err);
    sd_buf_release(&b);
    return st;
}

sd_status cli_heard(sd_heard *out, cli *c, const sd_model *m, const sd_refusal_set *set, sd_heard_ask ask, const char *phrases, sd_err *err)
{
    sd_phrases p = {0};
    sd_status st = sd_phrases_open(&p, phrases, err);
    ask.phrases = &p;
    ask.progress = &c->progress;
    if (!st) st = sd_lab_heard(out, c->exec, m, set, &ask, err);
    sd_phrases_release(&p);
    return st;
}

const char *cli_heard_text(char *out, size_t cap, const sd_heard *h)
{
    snprintf(out, cap, "of %lld positive prompts %lld are answered with such a first token, and of these answers %lld hold a refusal by the %s%s", (long long)h->n, (long long)h->opened,
             (long long)h->said, h->judge, sd_heard_backs(h) ? "" : ": under half, so what opens them may be no refusal; look at answers with `sonde run --chat`, or give its phrases with --phrases FILE");
    return out;
}

void cli_heard_json(sd_jw *w, const sd_heard *h)
{
    sd_jw_key(w, "phrases");
    if (!h->n) {
        sd_jw_null(w);
        return;
    }
    sd_jw_obj(w);
    sd_jw_ki64(w, "asked", h->n);
    sd_jw_ki64(w, "opened", h->opened);
    sd_jw_ki64(w, "refusals", h->said);
    sd_jw_kbool(w, "backed", sd_heard_backs(h));
    sd_jw_kstr(w, "judge", h->judge);
    sd_jw_end(w);
}

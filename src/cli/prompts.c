#include "cli/prompts.h"

#include "base/map.h"

sd_status cli_suites_open(sd_suite **out, int *n, const cli *c, const opt_list *paths, int64_t limit, sd_err *err)
{
    *n = 0;
    sd_status st = sd_alloc_zero(out, (size_t)paths->n * sizeof **out, "suites", err);
    for (int i = 0; i < paths->n && !st; i++) {
        if ((st = sd_suite_open(&(*out)[i], paths->v[i], err))) break;
        ++*n;
        if (limit) sd_suite_sample(&(*out)[i], limit, c->seed);
    }
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
    sd_status st = sd_file_read(&b, path, err);
    if (!st) st = sd_tok_encode(m->tok, (sd_slice){b.p, b.n}, &(sd_encode_opt){.no_special = true}, ids, err);
    sd_buf_release(&b);
    return st;
}

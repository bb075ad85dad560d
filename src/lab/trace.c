/* Owns: copies of activations of one step. */
#include "lab/trace.h"

void sd_trace_release(sd_trace *t)
{
    for (int64_t i = 0; t->v && i < t->n; i++) sd_free(t->v[i].data);
    sd_free(t->v);
    *t = (sd_trace){0};
}

struct want { sd_trace_tensor *t; int n_head; };

static sd_status keep(void *self, sd_act *act, sd_err *err)
{
    struct want *w = self;
    sd_trace_tensor *t = w->t;
    t->rank = 2;
    t->dim[0] = act->x.rows;
    t->dim[1] = act->x.cols;
    if (act->site.kind == SD_SITE_ATTN_PATTERN) {
        t->rank = 3;
        t->dim[0] = w->n_head;
        t->dim[1] = act->x.rows / w->n_head;
        t->dim[2] = act->x.cols;
    }
    sd_status st = sd_alloc(&t->data, (size_t)(act->x.rows * act->x.cols) * sizeof(float), t->name, err);
    for (int64_t i = 0; !st && i < act->x.rows; i++)
        memcpy(t->data + i * act->x.cols, sd_mat_row(act->x, i), (size_t)act->x.cols * sizeof(float));
    return st;
}

static sd_status ask(sd_session *s, const sd_model *m, const char *name, struct want *w, sd_err *err)
{
    sd_site site;
    int64_t cols;
    sd_status st = sd_model_site_parse(m, &site, name, strlen(name), err);
    if (!st) st = sd_model_site_cols(m, site, &cols, err);
    if (st) return st;
    snprintf(w->t->name, sizeof w->t->name, "%s", name);
    w->n_head = m->cfg.n_head;
    return sd_session_attach(s, &(sd_hook){.name = "trace", .at = &site, .n_at = 1, .mode = SD_HOOK_READ, .fn = keep, .self = w},
                             NULL, err);
}

sd_status sd_lab_trace(sd_trace *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const char *const *names, int n_names,
                       sd_err *err)
{
    const int64_t n = ids->n;
    int k = 0;
    sd_session *s = NULL;
    sd_runner *r = NULL;
    struct want *want = NULL;
    sd_status st;
    *out = (sd_trace){0};
    if (n < 1) return sd_hint((sd_fail(err, SD_E_ARG, "the prompt has no tokens"), err), "give --text or --ids");
    if (n > m->cfg.n_ctx) {
        sd_fail(err, SD_E_ARG, "the prompt has %lld tokens, the model's context is %lld", (long long)n, (long long)m->cfg.n_ctx);
        return sd_hint(err, "shorten the prompt");
    }
    if ((st = sd_alloc_zero(&out->v, (size_t)(n_names + 1) * sizeof *out->v, "trace", err))) goto done;
    if ((st = sd_alloc_zero(&want, (size_t)(n_names + 1) * sizeof *want, "trace", err))) goto done;
    if ((st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = n}, err))) goto done;
    if ((st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = n, .max_logit_rows = n, .n_ctx = n}, err))) goto done;
    for (int i = 0; i < n_names; i++) {
        if (strcmp(names[i], "logits") == 0) continue; /* they are there anyway, under this name */
        want[k].t = &out->v[k + 1];
        if ((st = ask(s, m, names[i], &want[k++], err))) goto done;
    }
    out->n = k + 1;
    sd_segment seg = {.s = s, .tok = ids->v, .n = n, .want = SD_LOGITS_ALL};
    if ((st = sd_runner_step(r, &seg, 1, -1, err))) goto done;
    want[k].t = &out->v[0];
    snprintf(out->v[0].name, sizeof out->v[0].name, "logits");
    st = keep(&want[k], &(sd_act){.site = {SD_SITE_LOGITS, 0}, .x = seg.logits}, err);
done:
    sd_runner_free(r);
    sd_session_free(s);
    sd_free(want);
    if (st) sd_trace_release(out);
    return st;
}

sd_status sd_trace_save(const sd_trace *t, const char *path, sd_err *err)
{
    sd_st_tensor *st_t = NULL;
    sd_status st = sd_alloc_zero(&st_t, (size_t)t->n * sizeof *st_t, "trace", err);
    if (st) return st;
    for (int64_t i = 0; i < t->n; i++) {
        st_t[i] = (sd_st_tensor){.name = t->v[i].name, .dtype = SD_F32, .rank = t->v[i].rank, .data = t->v[i].data};
        memcpy(st_t[i].dim, t->v[i].dim, sizeof t->v[i].dim);
    }
    st = sd_safetensors_write(path, st_t, t->n, NULL, err);
    sd_free(st_t);
    return st;
}

/* Owns: a pool of sessions of the running prompt, each with one editing hook. A run is a place (layer, column); runs go in steps of
 * as many as fit in ROWS rows.
 * Easy to break: a hook's rows begin at the session's position when the step began (act->pos0), not at 0. */
#include "lab/patch.h"

#include "lab/look_text.h"
#include "lab/record.h"
#include <math.h>
#include <stdio.h>

enum {
    POOL = 64,  /* sessions: more runs a step make no product faster once a step has some hundred rows */
    ROWS = 512, /* rows a step; a runner's default */
    POOL_TOKENS = 4096 /* positions of all caches together; at least SD_PATCH_MAX_TOKENS */
};

/* One patched run. */
typedef struct place { sd_session *s; const struct job *job; int layer, head, hook_id; int64_t pos; } place;

typedef struct job {
    sd_patch *out;
    const sd_exec *ex;
    const sd_model *m;
    const sd_patch_opt *opt;
    const sd_ids *base, *other; /* the prompt that runs; the one it borrows from */
    sd_record rec;              /* of the other */
    sd_session *plain;          /* the base prompt, all of it */
    sd_runner *runner;
    float *clean;               /* [V] logits of the clean run, for KL */
    double lse_clean;
    place place[POOL];
    int n_pool;
} job;

void sd_patch_release(sd_patch *p)
{
    sd_free(p->value);
    sd_free(p->effect);
    sd_free(p->id);
    *p = (sd_patch){0};
}

const char *sd_patch_metric_name(sd_patch_metric k)
{
    return k == SD_PATCH_LOGIT_DIFF ? "logit_diff" : k == SD_PATCH_PROB ? "prob" : "kl";
}

const char *sd_patch_way_name(sd_patch_way w) { return w == SD_PATCH_DENOISE ? "denoise" : "noise"; }

int sd_patch_heads(const sd_model *m, sd_site_kind kind)
{
    switch (kind) {
    case SD_SITE_ATTN_Q:
    case SD_SITE_ROT_Q:
    case SD_SITE_ATTN_Z:
    case SD_SITE_ATTN_PATTERN: return m->cfg.n_head;
    case SD_SITE_ATTN_K:
    case SD_SITE_ATTN_V:
    case SD_SITE_ROT_K: return m->cfg.n_head_kv;
    default: return 0;
    }
}

void sd_patch_site_name(char out[48], sd_site_kind kind)
{
    sd_site_print(out, 48, (sd_site){kind, 0});
    if (sd_site_is_layered(kind)) *strrchr(out, '.') = '\0';
}

sd_status sd_patch_site(sd_patch_opt *o, const char *site, sd_err *err)
{
    char name[48];
    sd_site s;
    o->kind = o->heads ? SD_SITE_ATTN_Z : SD_SITE_RESID_PRE;
    if (!site) return SD_OK;
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++) {
        sd_patch_site_name(name, (sd_site_kind)k);
        if (strcmp(name, site) != 0) continue;
        o->kind = (sd_site_kind)k;
        return SD_OK;
    }
    sd_status st = sd_site_parse(&s, site, strlen(site), err);
    if (st) return st;
    o->kind = s.kind;
    if (sd_site_is_layered(s.kind)) o->layer0 = s.layer, o->layer1 = s.layer + 1;
    return SD_OK;
}

/* ---- the metric ---- */

static double metric(const job *j, const float *logits)
{
    const sd_patch_opt *o = j->opt;
    int64_t V = j->m->cfg.n_vocab;
    if (o->metric == SD_PATCH_LOGIT_DIFF) return (double)logits[o->answer] - (double)logits[o->wrong];
    double lse = sd_logsumexp(j->ex, logits, V);
    if (o->metric == SD_PATCH_PROB) return exp((double)logits[o->answer] - lse);
    return sd_divergence(j->ex, j->clean, j->lse_clean, logits, lse, V);
}

static void keep_clean(job *j, const float *logits)
{
    memcpy(j->clean, logits, (size_t)j->m->cfg.n_vocab * sizeof *logits);
    j->lse_clean = sd_logsumexp(j->ex, logits, j->m->cfg.n_vocab);
}

/* ---- the edit ---- */

/* Rows of a pattern: head h, query row r of the step; keys of the step's whole reach. Both prompts are of one length here. */
static void edit_pattern(const place *p, sd_act *act, sd_mat from)
{
    int64_t H = p->job->m->cfg.n_head, n = act->x.rows / H, n_from = from.rows / H;
    for (int64_t h = p->head < 0 ? 0 : p->head; h < (p->head < 0 ? H : p->head + 1); h++)
        for (int64_t r = 0; r < n; r++) {
            int64_t pos = act->pos0 + r;
            if (p->pos >= 0 && pos != p->pos) continue;
            memcpy(sd_mat_row(act->x, h * n + r), sd_mat_row(from, h * n_from + pos), (size_t)(pos + 1) * sizeof(float));
        }
}

static sd_status edit(void *self, sd_act *act, sd_err *err)
{
    const place *p = self;
    const job *j = p->job;
    (void)err;
    sd_mat from = sd_record_get(&j->rec, act->site);
    if (act->site.kind == SD_SITE_ATTN_PATTERN) {
        edit_pattern(p, act, from);
        return SD_OK;
    }
    int64_t shift = j->other->n - j->base->n, n_head = p->head < 0 ? 1 : sd_patch_heads(j->m, act->site.kind);
    int64_t width = act->x.cols / n_head, c0 = p->head < 0 ? 0 : p->head * width;
    for (int64_t r = 0; r < act->x.rows; r++) {
        int64_t pos = act->pos0 + r, src = pos + shift;
        if ((p->pos >= 0 && pos != p->pos) || src < 0) continue;
        memcpy(sd_mat_row(act->x, r) + c0, sd_mat_row(from, src) + c0, (size_t)width * sizeof(float));
    }
    return SD_OK;
}

/* ---- runs ---- */

/* The place of cell (row, col): what is replaced, and the first position that can change. */
static int64_t set_place(const job *j, place *p, int64_t row, int64_t col)
{
    const sd_patch *o = j->out;
    p->layer = sd_site_is_layered(o->kind) ? o->layer0 + (int)row : 0;
    p->head = o->heads ? (int)col : -1;
    if (!o->heads) p->pos = o->first_pos + col;
    else p->pos = j->opt->position ? j->base->n + j->opt->position : -1;
    int64_t first = o->aligned ? o->first_pos : o->first_diff;
    return p->pos >= 0 ? p->pos : first;
}

/* Are the replaced bits the same in both prompts? */
static bool is_same(const job *j, const place *p)
{
    return !j->opt->every && !j->out->aligned && p->pos >= 0 && p->pos < j->out->first_diff;
}

static sd_status run_step(job *j, sd_segment *seg, const int64_t *cell, int n, sd_err *err)
{
    if (n == 0) return SD_OK;
    sd_status st = sd_runner_step(j->runner, seg, n, -1, err);
    for (int i = 0; i < n; i++) {
        sd_session_detach(seg[i].s, j->place[i].hook_id);
        if (!st) j->out->value[cell[i]] = metric(j, seg[i].logits.data);
    }
    return st;
}

static sd_status prepare(job *j, place *p, int64_t from, sd_segment *seg, sd_err *err)
{
    sd_site at = {j->out->kind, p->layer};
    sd_status st = sd_session_copy_prefix(p->s, j->plain, from, err);
    if (st) return st;
    *seg = (sd_segment){.s = p->s, .tok = j->base->v + from, .n = j->base->n - from, .want = SD_LOGITS_LAST};
    sd_hook hook = {.name = "patch", .at = &at, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = edit, .self = p};
    return sd_session_attach(p->s, &hook, &p->hook_id, err);
}

static sd_status run_all(job *j, sd_err *err)
{
    sd_patch *o = j->out;
    sd_segment seg[POOL];
    int64_t cell[POOL], rows = 0, cells = (int64_t)o->n_layer * o->n_col;
    int n = 0;
    double base = o->way == SD_PATCH_DENOISE ? o->corrupt : o->clean;
    sd_status st = SD_OK;
    for (int64_t c = 0; c < cells && !st; c++) {
        place want = {.job = j};
        int64_t from = set_place(j, &want, c / o->n_col, c % o->n_col), need = j->base->n - from;
        if (is_same(j, &want)) {
            o->value[c] = base;
            continue;
        }
        if (n == j->n_pool || (n && rows + need > ROWS)) {
            if (sd_progress_cancelled(j->opt->progress)) return sd_fail(err, SD_E_CANCELLED, "interrupted");
            if ((st = run_step(j, seg, cell, n, err))) return st;
            sd_progress_update(j->opt->progress, "patching", (double)c, (double)cells, NULL);
            n = 0, rows = 0;
        }
        want.s = j->place[n].s;
        j->place[n] = want;
        if ((st = prepare(j, &j->place[n], from, &seg[n], err))) return st;
        cell[n++] = c;
        rows += need;
        o->n_runs++;
        o->n_rows += need;
    }
    return run_step(j, seg, cell, n, err);
}

/* ---- before the runs ---- */

static sd_status check_site(const job *j, sd_err *err)
{
    const sd_patch_opt *o = j->opt;
    const sd_config *c = &j->m->cfg;
    char name[48];
    sd_patch_site_name(name, o->kind);
    if (o->kind == SD_SITE_LOGITS) return sd_fail(err, SD_E_ARG, "the logits are what is measured; patch a site before them");
    if (o->heads && sd_patch_heads(j->m, o->kind) == 0) {
        sd_fail(err, SD_E_ARG, "%s has no heads", name);
        return sd_hint(err, "attn_z, attn_q, attn_k, attn_v, rot_q, rot_k and attn_pattern have");
    }
    if (o->kind == SD_SITE_ATTN_PATTERN && j->base->n != j->other->n)
        return sd_fail(err, SD_E_ARG, "attention patterns of %lld and %lld tokens cannot be exchanged", (long long)j->base->n, (long long)j->other->n);
    if (o->layer0 < 0 || o->layer1 < 0 || o->layer1 > c->n_layer || (o->layer1 && o->layer0 >= o->layer1) || o->layer0 >= c->n_layer) {
        sd_fail(err, SD_E_ARG, "layers %d to %d of a model with %d", o->layer0, o->layer1 - 1, c->n_layer);
        return sd_hint(err, "layers count from 0 to %d", c->n_layer - 1);
    }
    int64_t shorter = j->base->n < j->other->n ? j->base->n : j->other->n;
    if (o->position > 0 || -o->position > shorter)
        return sd_fail(err, SD_E_ARG, "position %lld of prompts with %lld tokens in common; -1 is the last", (long long)o->position, (long long)shorter);
    return SD_OK;
}

static sd_status check_prompts(const job *j, sd_err *err)
{
    const sd_ids *a = j->base, *b = j->other;
    sd_status st = sd_record_check(j->m, a, SD_PATCH_MAX_TOKENS, err);
    if (!st) st = sd_record_check(j->m, b, SD_PATCH_MAX_TOKENS, err);
    if (st) return st;
    if (a->n != b->n && !j->opt->align_end) {
        sd_fail(err, SD_E_ARG, "the clean prompt has %lld tokens, the corrupted one %lld", (long long)j->out->n_clean, (long long)j->out->n_corrupt);
        return sd_hint(err, "make them alike word by word (`sonde tokenize` shows the pieces), or align them from their ends with --align end");
    }
    if (a->n == b->n && memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0)
        return sd_fail(err, SD_E_ARG, "the two prompts are the same, token by token: there is nothing to patch");
    for (int i = 0; i < 2; i++) {
        int32_t t = i ? j->opt->wrong : j->opt->answer;
        bool used = j->opt->metric == SD_PATCH_LOGIT_DIFF || (i == 0 && j->opt->metric == SD_PATCH_PROB);
        if (used && (t < 0 || t >= j->m->cfg.n_vocab))
            return sd_fail(err, SD_E_ARG, "answer token %d is outside of the vocabulary of %lld", (int)t, (long long)j->m->cfg.n_vocab);
    }
    return SD_OK;
}

static sd_status plan(job *j, sd_err *err)
{
    sd_patch *o = j->out;
    int64_t n = j->base->n, shorter = n < j->other->n ? n : j->other->n;
    o->aligned = n != j->other->n;
    o->first_pos = n - shorter;
    while (o->first_diff < shorter && j->base->v[o->first_diff] == j->other->v[o->first_diff]) o->first_diff++;
    o->layer0 = sd_site_is_layered(o->kind) ? j->opt->layer0 : 0;
    o->n_layer = !sd_site_is_layered(o->kind) ? 1 : (j->opt->layer1 ? j->opt->layer1 : j->m->cfg.n_layer) - o->layer0;
    o->n_col = o->heads ? sd_patch_heads(j->m, o->kind) : shorter;
    size_t cells = (size_t)o->n_layer * (size_t)o->n_col;
    sd_status st = sd_alloc_zero(&o->value, cells * sizeof *o->value, "a patching map", err);
    if (!st) st = sd_alloc_zero(&o->effect, cells * sizeof *o->effect, "a patching map", err);
    if (!st && !o->heads) st = sd_alloc(&o->id, (size_t)o->n_col * sizeof *o->id, "a patching map", err);
    if (!st && !o->heads) memcpy(o->id, j->base->v + o->first_pos, (size_t)o->n_col * sizeof *o->id);
    if (!st) st = sd_alloc(&j->clean, (size_t)j->m->cfg.n_vocab * sizeof *j->clean, "the clean prediction", err);
    if (!st) st = sd_record_kind(&j->rec, j->m, o->kind, err);
    if (!st) st = sd_session_new(&j->plain, j->m, &(sd_session_opt){.n_ctx = n}, err);
    int64_t most = n > j->other->n ? n : j->other->n;
    const sd_runner_opt ro = {.max_rows = ROWS > most ? ROWS : most, .max_logit_rows = POOL, .n_ctx = most};
    if (!st) st = sd_runner_new(&j->runner, j->ex, j->m, &ro, err);
    j->n_pool = n > POOL_TOKENS / POOL ? (int)(POOL_TOKENS / n) : POOL;
    for (int i = 0; i < j->n_pool && !st; i++) {
        st = sd_session_new(&j->place[i].s, j->m, &(sd_session_opt){.n_ctx = n}, err);
    }
    return st;
}

/* Both plain runs; the clean one first where KL asks for its prediction. */
static sd_status run_plain(job *j, sd_err *err)
{
    bool base_is_clean = j->out->way == SD_PATCH_NOISE;
    sd_session *s = NULL;
    sd_status st = sd_session_new(&s, j->m, &(sd_session_opt){.n_ctx = j->other->n}, err);
    for (int i = 0; i < 2 && !st; i++) {
        bool clean = i == 0, base = clean == base_is_clean;
        const sd_ids *ids = base ? j->base : j->other;
        sd_segment seg = {.s = base ? j->plain : s, .tok = ids->v, .n = ids->n, .want = SD_LOGITS_LAST};
        st = base ? sd_runner_step(j->runner, &seg, 1, -1, err) : sd_record_step(&j->rec, j->runner, &seg, -1, err);
        if (st) break;
        if (clean) keep_clean(j, seg.logits.data);
        *(clean ? &j->out->clean : &j->out->corrupt) = metric(j, seg.logits.data);
    }
    sd_session_free(s);
    return st;
}

static sd_status effects(job *j, sd_err *err)
{
    sd_patch *o = j->out;
    double base = o->way == SD_PATCH_DENOISE ? o->corrupt : o->clean, other = o->way == SD_PATCH_DENOISE ? o->clean : o->corrupt;
    if (!isfinite(base) || !isfinite(other) || other == base)
        return sd_fail(err, SD_E_ARG, "the metric is %g on the clean and %g on the corrupted prompt: there is no difference to explain", o->clean, o->corrupt);
    for (int64_t i = 0; i < o->n_layer * o->n_col; i++) o->effect[i] = (o->value[i] - base) / (other - base) + 0.0; /* no effect is 0, never -0 */
    return SD_OK;
}

sd_status sd_lab_patch(sd_patch *out, const sd_exec *ex, const sd_model *m, const sd_ids *clean, const sd_ids *corrupt,
                       const sd_patch_opt *opt, sd_err *err)
{
    bool denoise = opt->way == SD_PATCH_DENOISE;
    job *j = NULL;
    *out = (sd_patch){.kind = opt->kind, .metric = opt->metric, .way = opt->way, .heads = opt->heads, .n_clean = clean->n, .n_corrupt = corrupt->n};
    sd_status st = sd_alloc_zero(&j, sizeof *j, "patching", err);
    if (st) return st;
    *j = (job){.out = out, .ex = ex, .m = m, .opt = opt, .base = denoise ? corrupt : clean, .other = denoise ? clean : corrupt};
    if (!(st = check_prompts(j, err))) st = check_site(j, err);
    if (!st) st = plan(j, err);
    if (!st) st = run_plain(j, err);
    if (!st) st = run_all(j, err);
    if (!st) st = effects(j, err);
    for (int i = 0; i < POOL; i++) sd_session_free(j->place[i].s);
    sd_session_free(j->plain);
    sd_runner_free(j->runner);
    sd_record_release(&j->rec);
    sd_free(j->clean);
    sd_free(j);
    if (st) sd_patch_release(out);
    return st;
}

sd_status sd_patch_grid(sd_grid *g, const sd_patch *p, const sd_tok *tok, sd_err *err)
{
    static const char *const value[2][3] = {
        {"share of the clean logit difference brought back", "share of the clean probability brought back", "share of the KL to the clean prediction removed"},
        {"share of the logit difference destroyed", "share of the probability destroyed", "share of the corrupted prompt's KL reached"}};
    *g = (sd_grid){.title = "activation patching", .rows_are = "layer", .cols_are = p->heads ? "head" : "token", .diverging = true, .up = true};
    g->value = value[p->way][p->metric];
    sd_status st = sd_grid_init(g, p->n_layer, p->n_col, false, err);
    if (st) return st;
    memcpy(g->v, p->effect, (size_t)(p->n_layer * p->n_col) * sizeof *g->v);
    for (int i = 0; i < p->n_layer && !st; i++) st = sd_grid_name(&g->row[i], err, sd_site_is_layered(p->kind) ? "%d" : "-", p->layer0 + i);
    for (int64_t k = 0; k < p->n_col && !st; k++)
        st = p->heads ? sd_grid_name(&g->col[k], err, "%d", (int)k) : sd_look_name(&g->col[k], tok, p->id[k], err);
    if (st) sd_grid_release(g);
    else sd_grid_fit(g);
    return st;
}

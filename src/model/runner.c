/* The runner: scratch planned once for the largest step, the checks of a batch, and what moves when a step went well.
 */
#include "model/session_int.h"

enum { DEFAULT_ROWS = 512, DEFAULT_LOGIT_ROWS = 1, DEFAULT_CTX = 4096 };

/* Lays the runner's arrays out one after another: first with base NULL to count, then in the arena. */
typedef struct layout {
    uint8_t *base;
    size_t used;
    bool overflow;
} layout;

static void *place(layout *l, int64_t rows, int64_t cols, size_t element)
{
    size_t n = 0;
    void *p = l->base ? l->base + l->used : NULL;
    if (!sd_mul_size((size_t)rows, (size_t)cols, &n) || !sd_mul_size(n, element, &n) || n > SIZE_MAX - SD_ALIGN ||
        !sd_add_size(l->used, sd_arena_need(n), &l->used))
        l->overflow = true;
    return p;
}

static void *place_floats(layout *l, int64_t rows, int64_t cols)
{
    return place(l, rows, cols, sizeof(float));
}

static size_t most_linear_scratch(const sd_runner *r)
{
    size_t most = r->m->head ? sd_linear_scratch(r->m->head, r->max_logit_rows) : 0;
    for (int l = 0; l < r->m->n_layer_loaded; l++) {
        for (int i = 0; i < SD_MAT_COUNT; i++) {
            const sd_linear *w = r->m->block[l].mat[i].l;
            size_t n = w ? sd_linear_scratch(w, r->max_rows) : 0;
            if (n > most) most = n;
        }
    }
    return most;
}

static size_t most_down_scratch(const sd_runner *r)
{
    size_t most = 0;
    for (int l = 0; l < r->m->n_layer_loaded; l++) {
        const sd_linear *w = r->m->block[l].mat[SD_MAT_DOWN].l;
        size_t n = w ? sd_linear_scratch(w, r->max_rows) : 0;
        if (n > most) most = n;
    }
    return most;
}

static void lay_out(sd_runner *r, layout *l)
{
    const sd_config *c = &r->m->cfg;
    int64_t n = r->max_rows, d = c->d_model, q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head;
    sd_attn_opt ao = {.n_head = c->n_head, .n_head_kv = c->n_head_kv, .d_head = c->d_head};
    r->resid = place_floats(l, n, d), r->norm = place_floats(l, n, d), r->out = place_floats(l, n, d);
    size_t mark = l->used;
    r->q = place_floats(l, n, q), r->k = place_floats(l, n, kv), r->v = place_floats(l, n, kv),
    r->z = place_floats(l, n, q);
    size_t attn_end = l->used;
    l->used = mark;
    r->gate = place_floats(l, n, c->d_ffn);
    size_t gate_end = l->used;
    r->up = c->gated ? place_floats(l, n, c->d_ffn) : NULL;
    size_t up_end = l->used;
    l->used = gate_end;
    r->down_scratch = place(l, (int64_t)most_down_scratch(r), 1, 1);
    if (up_end > l->used) l->used = up_end;
    if (attn_end > l->used) l->used = attn_end;
    for (int i = 0; i < r->m->wire.n_rope; i++)
        r->cos[i] = place_floats(l, n, c->n_rot / 2), r->sin[i] = place_floats(l, n, c->n_rot / 2);
    if (r->m->head)
        r->head_in = place_floats(l, r->max_logit_rows, d), r->logits = place_floats(l, r->max_logit_rows, c->n_vocab);
    r->pos = place(l, n, 1, sizeof *r->pos);
    r->row0 = place(l, n, 1, sizeof *r->row0), r->n = place(l, n, 1, sizeof *r->n);
    r->want0 = place(l, n, 1, sizeof *r->want0), r->want_n = place(l, n, 1, sizeof *r->want_n);
    r->attn = place(l, n, 1, sizeof *r->attn);
    r->want = place(l, c->n_layer, 1, sizeof *r->want), r->edit = place(l, c->n_layer, 1, sizeof *r->edit);
    r->linear_scratch = place(l, (int64_t)most_linear_scratch(r), 1, 1);
    r->attn_scratch = place(l, (int64_t)sd_attn_scratch(r->ex, &ao, r->n_ctx), 1, 1);
}

sd_status sd_runner_new(sd_runner **out, const sd_exec *ex, const sd_model *m, const sd_runner_opt *opt, sd_err *err)
{
    static const sd_runner_opt none;
    sd_runner *r = NULL;
    *out = NULL;
    if (!opt) opt = &none;
    if (opt->max_rows < 0 || opt->max_logit_rows < 0 || opt->n_ctx < 0 || opt->max_rows > INT32_MAX ||
        opt->max_logit_rows > INT32_MAX)
        return sd_fail(err, SD_E_ARG, "a runner of %lld rows, %lld rows of logits, %lld positions",
                       (long long)opt->max_rows, (long long)opt->max_logit_rows, (long long)opt->n_ctx);
    if (!m->block[0].mat[SD_MAT_O].l) return sd_fail(err, SD_E_ARG, "a model opened as views has nothing packed to run");
    sd_status st = sd_alloc_zero(&r, sizeof *r, "a runner", err);
    if (st) return st;
    r->ex = ex;
    r->m = m;
    r->max_rows = opt->max_rows ? opt->max_rows : DEFAULT_ROWS;
    r->stop = opt->stop;
    r->stop_self = opt->self;
    r->max_logit_rows = opt->max_logit_rows ? opt->max_logit_rows : DEFAULT_LOGIT_ROWS;
    r->n_ctx = opt->n_ctx ? opt->n_ctx : DEFAULT_CTX;
    if (r->n_ctx > m->max_ctx) r->n_ctx = m->max_ctx;
    layout count = {0};
    lay_out(r, &count);
    if (count.overflow) {
        st =
            sd_fail(err, SD_E_NOMEM, "a runner of %lld rows does not fit in the address space", (long long)r->max_rows);
        goto done;
    }
    if ((st = sd_arena_init(&r->arena, count.used, "a runner's scratch", err))) {
        sd_hint(err, "%lld rows a step and %lld rows of logits take that much; ask for fewer", (long long)r->max_rows,
                (long long)r->max_logit_rows);
        goto done;
    }
    lay_out(r, &(layout){.base = sd_arena_push(&r->arena, count.used)});
    r->bytes = count.used;
    *out = r;
    r = NULL;
done:
    sd_runner_free(r);
    return st;
}

void sd_runner_free(sd_runner *r)
{
    if (!r) return;
    sd_free(r->pattern);
    sd_arena_release(&r->arena);
    sd_free(r);
}

size_t sd_runner_bytes(const sd_runner *r)
{
    return r->bytes + r->pattern_size * sizeof(float);
}

/* ---- a step ---- */

static sd_status check_segment(const sd_runner *r, const sd_segment *seg, int i, int last, sd_err *err)
{
    const sd_segment *g = &seg[i];
    const sd_session *s = g->s;
    if (s->m != r->m) return sd_fail(err, SD_E_ARG, "segment %d: the session is of another model than the runner", i);
    for (int j = 0; j < i; j++)
        if (seg[j].s == s) return sd_fail(err, SD_E_ARG, "segments %d and %d are of the same session", j, i);
    if (g->n < 1) return sd_fail(err, SD_E_ARG, "segment %d has no tokens", i);
    if (g->n > s->n_ctx - s->pos) {
        sd_fail(err, SD_E_ARG, "context overrun: %lld more tokens at position %lld of %lld", (long long)g->n,
                (long long)s->pos, (long long)s->n_ctx);
        return sd_hint(err, "open the session with a longer context, up to the model's %lld", (long long)r->m->max_ctx);
    }
    if (s->pos + g->n > r->n_ctx)
        return sd_fail(err, SD_E_ARG, "position %lld of a runner for %lld", (long long)(s->pos + g->n - 1),
                       (long long)r->n_ctx);
    for (int64_t t = 0; t < g->n; t++)
        if (g->tok[t] < 0 || g->tok[t] >= r->m->cfg.n_vocab)
            return sd_fail(err, SD_E_ARG, "token %d at position %lld is outside of the vocabulary of %lld",
                           (int)g->tok[t], (long long)(s->pos + t), (long long)r->m->cfg.n_vocab);
    if (last >= s->n_layer_cached) {
        sd_fail(err, SD_E_ARG, "the session's %lld positions went through %d blocks only, this step needs %d",
                (long long)s->pos, s->n_layer_cached, last + 1);
        return sd_hint(err, "rewind the session to 0");
    }
    return SD_OK;
}

/* Everything that can be wrong with a batch is found before its first op. Fills row0, n, want0, want_n. */
static sd_status check_batch(sd_runner *r, const sd_segment *seg, int n_seg, int last, sd_err *err)
{
    int64_t rows = 0, logit_rows = 0;
    if (n_seg < 1) return sd_fail(err, SD_E_ARG, "a step without segments");
    for (int i = 0; i < n_seg; i++) {
        sd_status st = check_segment(r, seg, i, last, err);
        if (st) return st;
        if (seg[i].n > r->max_rows - rows) {
            sd_fail(err, SD_E_ARG, "a step of more than the runner's %lld rows", (long long)r->max_rows);
            return sd_hint(err, "split the step or make the runner with more max_rows");
        }
        int64_t want = seg[i].want == SD_LOGITS_ALL ? seg[i].n : seg[i].want == SD_LOGITS_LAST ? 1 : 0;
        r->row0[i] = rows, r->n[i] = seg[i].n;
        r->want0[i] = logit_rows, r->want_n[i] = want;
        rows += seg[i].n;
        logit_rows += want;
    }
    if (logit_rows == 0) return SD_OK;
    if (last + 1 < r->m->cfg.n_layer)
        return sd_fail(err, SD_E_ARG, "logits are wanted of a step that ends after %d of %d blocks", last + 1,
                       r->m->cfg.n_layer);
    if (!r->m->head) return sd_fail(err, SD_E_ARG, "logits are wanted of a model that was opened without its head");
    if (logit_rows > r->max_logit_rows) {
        sd_fail(err, SD_E_ARG, "%lld rows of logits, the runner has memory for %lld", (long long)logit_rows,
                (long long)r->max_logit_rows);
        return sd_hint(err, "ask for fewer or make the runner with more max_logit_rows");
    }
    return SD_OK;
}

/* Floats of the patterns that are shown at one layer, which all live at the same time: sum of H n (pos0 + n). */
static bool pattern_floats(const sd_runner *r, const sd_segment *seg, int n_seg, int l, size_t *sum)
{
    *sum = 0;
    for (int i = 0; i < n_seg; i++) {
        size_t n = (size_t)seg[i].n;
        if (!(seg[i].s->want[l] & sd_site__bit(SD_SITE_ATTN_PATTERN))) continue;
        if (!sd_mul_size(n, (size_t)r->m->cfg.n_head, &n) || !sd_mul_size(n, (size_t)(seg[i].s->pos + seg[i].n), &n))
            return false;
        if (!sd_add_size(*sum, n, sum)) return false;
    }
    return *sum <= SIZE_MAX / sizeof(float);
}

static sd_status plan_patterns(sd_runner *r, const sd_segment *seg, int n_seg, int last, sd_err *err)
{
    size_t most = 0, sum;
    for (int l = 0; l <= last; l++) {
        if (!(r->want[l] & sd_site__bit(SD_SITE_ATTN_PATTERN))) continue;
        if (!pattern_floats(r, seg, n_seg, l, &sum))
            return sd_fail(err, SD_E_NOMEM, "attention patterns of layer %d do not fit in the address space", l);
        if (sum > most) most = sum;
    }
    if (most <= r->pattern_size) return SD_OK;
    sd_free(r->pattern);
    r->pattern = NULL;
    r->pattern_size = 0;
    sd_status st = sd_alloc(&r->pattern, most * sizeof(float), "attention patterns", err);
    if (st) return sd_hint(err, "watch patterns in shorter steps");
    r->pattern_size = most;
    return SD_OK;
}

/* The logits were not finite: the step runs again and every visit looks where it began. Hooks see it twice; no session has
 * moved. */
static sd_status find_nonfinite(sd_runner *r, sd_segment *seg, int n_seg, int last, sd_status st, sd_err *err)
{
    r->seek_nonfinite = true;
    sd_alloc_guard_begin("sd_runner_step");
    sd_status again = sd_model__forward(r, seg, n_seg, last, err);
    sd_alloc_guard_end();
    r->seek_nonfinite = false;
    return again ? again : st;
}

sd_status sd_runner_step(sd_runner *r, sd_segment *seg, int n_seg, int last_layer, sd_err *err)
{
    int last = last_layer == -1 ? r->m->n_layer_loaded - 1 : last_layer;
    if (last < 0 || last >= r->m->n_layer_loaded)
        return sd_fail(err, SD_E_ARG, "last layer %d of a model with %d", last_layer, r->m->n_layer_loaded);
    sd_status st = check_batch(r, seg, n_seg, last, err);
    if (st) return st;
    memset(r->want, 0, (size_t)r->m->cfg.n_layer * sizeof *r->want);
    memset(r->edit, 0, (size_t)r->m->cfg.n_layer * sizeof *r->edit);
    for (int i = 0; i < n_seg; i++)
        for (int l = 0; l < r->m->cfg.n_layer; l++) {
            r->want[l] |= seg[i].s->want[l];
            r->edit[l] |= seg[i].s->edit[l];
        }
    if ((st = plan_patterns(r, seg, n_seg, last, err))) return st;
    r->nonfinite = false;
    sd_alloc_guard_begin("sd_runner_step");
    st = sd_model__forward(r, seg, n_seg, last, err);
    sd_alloc_guard_end();
    if (r->nonfinite) st = find_nonfinite(r, seg, n_seg, last, st, err);
    if (st) return st;
    for (int i = 0; i < n_seg; i++) {
        sd_session *s = seg[i].s;
        s->pos += seg[i].n;
        if (last + 1 < s->n_layer_cached) s->n_layer_cached = last + 1;
        seg[i].logits = r->want_n[i]
                            ? sd_mat_of(r->logits + r->want0[i] * r->m->cfg.n_vocab, r->want_n[i], r->m->cfg.n_vocab)
                            : (sd_mat){0};
    }
    return SD_OK;
}

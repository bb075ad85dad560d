/* sd_linear: choosing the form, packing, cutting a product in tasks, and what all forms share at the end of a tile
 * (bias, accumulate, ragged edges). Packed weights are panels of SD_PANEL outputs, so that a task owns its outputs
 * alone: no sum is ever split between threads, and each form's tile gives a row the same bits whatever rows stand
 * beside it. */
#include "num/linear_int.h"
#include "num/kern_i16.h"
#include "base/par.h"
#include <string.h>

const char *sd_mode_name(sd_mode m)
{
    static const char *const names[] = {"default", "faithful", "bf16", "fast"};
    SD_ASSERT((unsigned)m < sizeof names / sizeof *names);
    return names[m];
}

/* ---- packing ---- */

void sd_linear__decode_panel(float *rows, const sd_wmat *w, int64_t p)
{
    for (int64_t j = 0; j < SD_PANEL; j++) {
        if (p * SD_PANEL + j < w->rows)
            sd_wmat_decode_row(rows + j * w->cols, w, p * SD_PANEL + j);
        else
            memset(rows + j * w->cols, 0, (size_t)w->cols * sizeof *rows);
    }
}

static void choose_form(sd_linear *l, uint32_t cpu_flags, const sd_wmat *w, sd_mode mode)
{
    if (mode == SD_MODE_FAST && sd_linear__qkind(w, &l->qkind))
        l->form = &sd_linear__q8;
    else if (mode == SD_MODE_DEFAULT || mode == SD_MODE_FAITHFUL)
        l->form = &sd_linear__f32;
    else if (cpu_flags & SD_CPU_AVX512_BF16)
        l->form = &sd_linear__bf16;
    else
        l->form = sd_kern_i16_select(cpu_flags) ? &sd_linear__i16 : &sd_linear__f32;
}

static sd_status check(const sd_wmat *w, sd_err *err)
{
    const sd_dtype_info *info = sd_dtype_get(w->dtype);
    if (!info->decode)
        return sd_fail(err, SD_E_UNSUPPORTED, "a weight matrix of type %s cannot be decoded",
                       info->name ? info->name : "none");
    if (w->rows < 1 || w->cols < 1)
        return sd_fail(err, SD_E_SHAPE, "a weight matrix of %lld x %lld elements has no product", (long long)w->rows,
                       (long long)w->cols);
    if (w->cols % info->block != 0)
        return sd_fail(err, SD_E_SHAPE, "rows of %lld elements are no multiple of the %s block of %d",
                       (long long)w->cols, info->name, info->block);
    return SD_OK;
}

/* Sizes from shapes: the packed bytes and the scratch that decodes one panel a thread. */
static sd_status plan(sd_linear *l, int n_threads, size_t *total, size_t *decode, sd_err *err)
{
    l->n_panel = (l->rows - 1) / SD_PANEL + 1;
    if (l->form->panel_bytes(l, &l->panel_bytes) && sd_mul_size(l->panel_bytes, (size_t)l->n_panel, total) &&
        sd_mul_size((size_t)l->cols, SD_PANEL * sizeof(float), decode) &&
        sd_mul_size(*decode, (size_t)n_threads, decode))
        return SD_OK;
    return sd_fail(err, SD_E_NOMEM, "a weight matrix of %lld x %lld elements does not fit in the address space",
                   (long long)l->rows, (long long)l->cols);
}

size_t sd_linear_plan_bytes(const sd_wmat *w, sd_mode mode, uint32_t cpu_flags)
{
    sd_linear l = {.w = *w, .rows = w->rows, .cols = w->cols};
    size_t total, decode;
    choose_form(&l, cpu_flags, w, mode);
    return plan(&l, 1, &total, &decode, NULL) ? SIZE_MAX : total;
}

typedef struct pack_arg {
    sd_linear *l;
    const sd_wmat *w;
    float *rows;
} pack_arg;

static void pack_panels(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const pack_arg *a = arg;
    (void)chunk;
    for (int64_t p = begin; p < end; p++)
        a->l->form->pack(a->l, a->l->packed + (size_t)p * a->l->panel_bytes, a->w, p,
                         a->rows + sd_par_worker() * SD_PANEL * a->l->cols);
}

sd_status sd_linear_new(sd_linear **out, const sd_exec *ex, const sd_wmat *w, const float *bias, sd_mode mode,
                        sd_err *err)
{
    return sd_linear_new_within(out, ex, w, bias, NULL, mode, err);
}

/* Blocks of a pool: large enough that their ends cost nothing (what is not written takes no memory). */
enum { POOL_BLOCK = 32 << 20 };

static sd_status pool_take(sd_linear_pool *p, uint8_t **out, size_t n, sd_err *err)
{
    const size_t need = sd_arena_need(n);
    if (p->n_block == 0 || need > p->size - p->used) {
        const size_t size = need > POOL_BLOCK ? need : POOL_BLOCK;
        void *block, **grown = sd_realloc(p->block, (size_t)(p->n_block + 1) * sizeof *grown);
        if (!grown) return sd_fail(err, SD_E_NOMEM, "out of memory: the table of %d blocks of weights", p->n_block + 1);
        p->block = grown;
        sd_status st = sd_alloc_wide(&block, size, "packed weights", err);
        if (st) return st;
        p->block[p->n_block++] = block;
        p->size = size;
        p->used = 0;
    }
    *out = (uint8_t *)p->block[p->n_block - 1] + p->used;
    p->used += need;
    p->left -= n;
    return SD_OK;
}

void sd_linear_pool_release(sd_linear_pool *p)
{
    for (int i = 0; i < p->n_block; i++) sd_free(p->block[i]);
    sd_free(p->block);
    *p = (sd_linear_pool){0};
}

typedef struct pack_sizes { size_t total, decode; } pack_sizes;

static sd_status pack(sd_linear *l, const sd_exec *ex, const sd_wmat *w, pack_sizes size, sd_linear_pool *pool, sd_err *err)
{
    float *rows = NULL;
    if (pool) return pool_take(pool, &l->packed, size.total, err);
    l->owns = true;
    sd_status st = sd_alloc(&l->packed, size.total, "packed weights", err);
    if (!st) st = sd_alloc(&rows, size.decode, "decoding weights", err);
    if (!st) sd_parallel_for(ex->n_threads, l->n_panel, 1, pack_panels, &(pack_arg){l, w, rows});
    sd_free(rows);
    if (!st) atomic_store(&l->state, SD_LINEAR_PACKED);
    return st;
}

sd_status sd_linear_new_within(sd_linear **out, const sd_exec *ex, const sd_wmat *w, const float *bias, sd_linear_pool *pool, sd_mode mode,
                               sd_err *err)
{
    sd_linear *l = NULL;
    size_t total, decode;
    sd_status st = check(w, err);
    *out = NULL;
    if (st) goto done;
    st = sd_alloc_zero(&l, sizeof *l, "a linear layer", err);
    if (st) goto done;
    l->w = *w;
    l->rows = w->rows;
    l->cols = w->cols;
    l->turn = sd_kern_train_select(ex->kern->cpu_flags);
    choose_form(l, ex->kern->cpu_flags, w, mode);
    l->kern = ex->kern;
    st = plan(l, ex->n_threads, &total, &decode, err);
    if (st) goto done;
    l->n_threads = ex->n_threads;
    if (!pool || total <= pool->left) {
        st = pack(l, ex, w, (pack_sizes){total, decode}, pool, err);
        if (st) goto done;
    }
    if (bias) {
        st = sd_alloc_zero(&l->bias, (size_t)l->n_panel * SD_PANEL * sizeof *l->bias, "a bias", err);
        if (st) goto done;
        memcpy(l->bias, bias, (size_t)l->rows * sizeof *bias);
    }
    *out = l;
    l = NULL;
done:
    sd_linear_free(l);
    return st;
}

void sd_linear_free(sd_linear *l)
{
    if (!l) return;
    if (l->owns) sd_free(l->packed);
    sd_free(l->bias);
    sd_free(l);
}

static size_t bias_bytes(const sd_linear *l)
{
    return l->bias ? (size_t)l->n_panel * SD_PANEL * sizeof *l->bias : 0;
}
size_t sd_linear_bytes(const sd_linear *l)
{
    return sizeof *l + bias_bytes(l) + (l->packed ? (size_t)l->n_panel * l->panel_bytes : 0);
}
size_t sd_linear_read_bytes(const sd_linear *l)
{
    if (!l->packed) return (size_t)l->rows * sd_dtype_row_bytes(l->w.dtype, l->cols) + bias_bytes(l);
    return (size_t)l->n_panel * l->panel_bytes + bias_bytes(l);
}
bool sd_linear_is_streamed(const sd_linear *l)
{
    return !l->packed;
}
sd_mode sd_linear_mode(const sd_linear *l)
{
    return l->form->mode;
}

/* What a worker packs a panel with: the panel, then the decoded rows. */
static size_t stream_bytes(const sd_linear *l)
{
    return sd_arena_need(l->panel_bytes) + sd_arena_need((size_t)l->cols * SD_PANEL * sizeof(float));
}

size_t sd_linear_scratch(const sd_linear *l, int64_t n_rows)
{
    const size_t own = l->form->scratch(l, n_rows);
    return l->owns ? own : sd_arena_need(own) + (size_t)l->n_threads * stream_bytes(l);
}

/* ---- running ---- */

/* tile [m, SD_PANEL] (rows ld apart; may be y itself) of panel p goes to rows [r0, r0 + m) of y. */
static void store(const sd_linear_job *a, int64_t p, int64_t r0, int64_t m, const float *tile, int64_t ld)
{
    const int64_t j0 = p * SD_PANEL, n = sd_linear__panel_cols(a->l->rows, p);
    const float *b = a->l->bias ? a->l->bias + j0 : NULL;
    float *y = sd_mat_row(a->y, r0) + j0;
    if (y == tile && !b) return;
    for (int64_t i = 0; i < m; i++, y += a->y.ld, tile += ld) {
        if (b && a->accumulate)
            for (int64_t j = 0; j < n; j++) y[j] += tile[j] + b[j];
        else if (a->accumulate)
            for (int64_t j = 0; j < n; j++) y[j] += tile[j];
        else if (b)
            for (int64_t j = 0; j < n; j++) y[j] = tile[j] + b[j];
        else
            for (int64_t j = 0; j < n; j++) y[j] = tile[j];
    }
}

static void run_tile(const sd_linear_job *j, const uint8_t *panel, int64_t p, int64_t r0)
{
    float own[SD_MOST_TILE * SD_PANEL];
    const int64_t left = j->x.rows - r0, m = left < j->rows ? left : j->rows;
    const bool direct = !j->accumulate && (p + 1) * SD_PANEL <= j->l->rows;
    float *tile = direct ? sd_mat_row(j->y, r0) + p * SD_PANEL : own;
    const int64_t ld = direct ? j->y.ld : SD_PANEL;
    j->l->form->tile(j, panel, r0, m, tile, ld);
    store(j, p, r0, m, tile, ld);
}

/* Several products with the same rows: all panels of one, then those of the next, block by block of rows. */
typedef struct run_arg {
    sd_linear_job job[SD_LINEAR_MANY];
    int64_t n_panel; /* of all */
    int n;
} run_arg;

static void run_tasks(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const run_arg *a = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const sd_linear_job *j = a->job;
        sd_linear_place at = sd_linear__place(j, a->n_panel, i);
        for (; at.p >= j->l->n_panel; j++) at.p -= j->l->n_panel;
        run_tile(j, sd_linear__panel(j->l, at.p), at.p, at.r0);
    }
}

/* One row. A thread's panels are cut in up to SD_SPREAD stretches that are read together, unit u of a thread being panel u of each. */
typedef struct spread_arg {
    const run_arg *run;
    int64_t n_panels, units; /* units of a thread */
    int team;
} spread_arg;

static void run_units(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const spread_arg *a = arg;
    const int64_t of = chunk / a->units, last = a->n_panels * (of + 1) / a->team;
    const sd_linear_job *job[SD_SPREAD];
    const uint8_t *w[SD_SPREAD];
    float own[SD_SPREAD][SD_PANEL], *y[SD_SPREAD];
    int64_t p[SD_SPREAD];
    int n = 0;
    (void)begin, (void)end; /* chunks of one unit */
    for (int64_t i = a->n_panels * of / a->team + chunk % a->units; i < last; i += a->units, n++) {
        const sd_linear_job *j = a->run->job;
        for (p[n] = i; p[n] >= j->l->n_panel; j++) p[n] -= j->l->n_panel;
        job[n] = j;
        w[n] = sd_linear__panel(j->l, p[n]);
        y[n] = !j->accumulate && (p[n] + 1) * SD_PANEL <= j->l->rows ? j->y.data + p[n] * SD_PANEL : own[n];
    }
    if (n) job[0]->l->form->spread(job, w, y, n);
    for (int i = 0; i < n; i++) store(job[i], p[i], 0, 1, y[i], SD_PANEL);
}

/* Blocks of 5 and 6 bits and of K types were up to a fifth slower four panels at a time, with two no faster. */
static bool can_spread(const sd_exec *ex, const run_arg *a)
{
    bool can = a->job[0].x.rows == 1 && ex->kern->spreads && a->job[0].l->form->spread;
    for (int i = 0; i < a->n && can; i++) can = a->job[i].l->form != &sd_linear__q8 || sd_qkind_in_order(a->job[i].l->qkind);
    return can;
}

static void run_spread(const sd_exec *ex, const run_arg *run, int64_t n_panels)
{
    spread_arg a = {.run = run, .n_panels = n_panels, .team = n_panels < ex->n_threads ? (int)n_panels : ex->n_threads};
    const int64_t most = (n_panels + a.team - 1) / a.team;
    a.units = (most + SD_SPREAD - 1) / SD_SPREAD;
    sd_parallel_for(a.team, a.team * a.units, 1, run_units, &a);
}

/* A task is a panel: packed once, then all rows. */
static void run_panels(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const sd_linear_job *j = arg;
    uint8_t *const own = j->stream + (size_t)sd_par_worker() * stream_bytes(j->l);
    float *rows = (float *)(void *)(own + sd_arena_need(j->l->panel_bytes));
    (void)chunk;
    SD_ASSERT(sd_par_worker() < j->l->n_threads);
    for (int64_t p = begin; p < end; p++) {
        uint8_t *panel = j->keep ? j->keep + (size_t)p * j->l->panel_bytes : own;
        j->l->form->pack(j->l, panel, &j->l->w, p, rows);
        for (int64_t t = 0; t < j->row_tiles; t++) run_tile(j, panel, p, t * j->rows);
    }
}

void sd_linear_prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *scratch)
{
    SD_ASSERT(x.cols == l->cols);
    if (l->form->prepare && x.rows > 0) l->form->prepare(ex, l, x, scratch);
}

/* Least rows of a block of its own: below, reading the weights once a thread costs more than rows that change their cache. */
enum { MIN_BLOCK = 192 };

/* With AMX a block is a thread's own, through all layers: products are so fast that fetching what another core has written is much of what they take. */
static void cut_rows(sd_linear_job *j)
{
    const int64_t n = j->x.rows, threads = j->ex->n_threads;
    j->rows = j->l->form->row_tile;
    j->block_tiles = SD_ROW_BLOCK / j->rows;
    if (j->ex->kern->cpu_flags & SD_CPU_AMX) {
        const int64_t even = threads * ((n + threads * SD_ROW_BLOCK - 1) / (threads * SD_ROW_BLOCK)), fit = n / MIN_BLOCK;
        const int64_t blocks = even <= fit ? even : fit > 0 ? fit : 1, block = (n + blocks - 1) / blocks;
        j->block_tiles = (block + SD_MOST_TILE - 1) / SD_MOST_TILE;
        j->rows = ((block + j->block_tiles - 1) / j->block_tiles + 31) / 32 * 32;
    }
    j->row_tiles = (n + j->rows - 1) / j->rows;
}

sd_linear_job sd_linear__job(const sd_exec *ex, const sd_linear *l, sd_mat x, const void *scratch)
{
    SD_ASSERT(x.cols == l->cols);
    sd_linear_job j = {.ex = ex, .l = l, .x = x, .scratch = scratch};
    cut_rows(&j);
    return j;
}

static sd_linear_job make_job(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, const void *scratch)
{
    SD_ASSERT(y.rows == x.rows && y.cols == l->rows);
    sd_linear_job j = sd_linear__job(ex, l, x, scratch);
    j.y = y;
    return j;
}

/* Tasks share nothing, so their grouping changes no bit; about eight groups a thread keep hand-outs rare and ends even. */
static void run_packed(const sd_exec *ex, run_arg *a)
{
    for (int i = 0; i < a->n; i++) a->n_panel += a->job[i].l->n_panel;
    if (can_spread(ex, a)) {
        run_spread(ex, a, a->n_panel);
        return;
    }
    const int64_t n_tasks = a->n_panel * a->job[0].row_tiles;
    const int64_t share = n_tasks / (8 * ex->n_threads);
    sd_parallel_for(ex->n_threads, n_tasks, share > 1 ? share : 1, run_tasks, a);
}

/* From the file. The first product of a matrix leaves nothing behind: a process that wants one token reads its file once
 * and touches no page more (538 MB of fresh ones are 0.3 s, the token is 0.1). The second one fills the pool's place. */
static void run_streamed(const sd_exec *ex, sd_linear_job *j, void *scratch)
{
    const sd_linear *l = j->l;
    atomic_int *state = (atomic_int *)&l->state; /* an sd_linear is never a constant object */
    int was = SD_LINEAR_FRESH;
    if (l->packed && !atomic_compare_exchange_strong(state, &was, SD_LINEAR_USED) && was == SD_LINEAR_USED &&
        atomic_compare_exchange_strong(state, &was, SD_LINEAR_FILLING))
        j->keep = l->packed;
    j->stream = (uint8_t *)scratch + sd_arena_need(l->form->scratch(l, j->x.rows));
    sd_parallel_for(ex->n_threads < l->n_threads ? ex->n_threads : l->n_threads, l->n_panel, 1, run_panels, j);
    if (j->keep) atomic_store_explicit(state, SD_LINEAR_PACKED, memory_order_release);
}

void sd_linear_run(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, void *scratch)
{
    run_arg a = {.n = 1, .job = {make_job(ex, l, y, x, scratch)}};
    a.job[0].accumulate = accumulate;
    if (x.rows == 0) return;
    if (sd_linear__is_packed(l))
        run_packed(ex, &a);
    else
        run_streamed(ex, &a.job[0], scratch);
}

void sd_linear_run_many(const sd_exec *ex, const sd_linear *const *l, const sd_mat *y, int n, sd_mat x, void *scratch)
{
    run_arg a = {.n = 0};
    SD_ASSERT(n <= SD_LINEAR_MANY);
    if (x.rows == 0) return;
    for (int i = 0; i < n; i++) {
        SD_ASSERT(l[i]->form == l[0]->form);
        if (sd_linear__is_packed(l[i]))
            a.job[a.n++] = make_job(ex, l[i], y[i], x, scratch);
        else
            sd_linear_run(ex, l[i], y[i], x, false, scratch);
    }
    if (a.n) run_packed(ex, &a);
}

void sd_linear_fwd(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, void *scratch)
{
    sd_linear_prepare(ex, l, x, scratch);
    sd_linear_run(ex, l, y, x, accumulate, scratch);
}

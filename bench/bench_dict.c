/* bench_dict D WIDTH K BATCH STEPS [ACTS] [--init F] [--order F] [--heldout N] [--lr R] [--seed S] [--threads T] [--cpu LEVEL]
 *            [--parity] [--lazy] [--aux A] [--proven] [--moments8] [--out DIR]
 *
 * The same work as the peers' sae_train.py: tokens/s and FVU of TopK training, one JSON line. ACTS is a folder of shards
 * (acts-*.safetensors, manifest.json); rows above 10 medians are left out; --init and --order are safetensors as there. Without
 * ACTS: random rows, for speed only. --parity: no warm-up, no decay, no auxiliary loss, as the plain PyTorch trainer has it.
 * share_of_peak: 2 D WIDTH operations a token over what the encoder's tile reaches alone on this machine. */
#include "base/map.h"
#include "base/par.h"
#include "dict/act.h"
#include "dict/dict_eval.h"
#include "dict/dict_train.h"
#include "file/weights.h"
#include "num/gemm_tile.h"
#include "num/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct args {
    int64_t d, m, k, batch, steps, heldout, seed, threads;
    const char *acts, *init, *order, *cpu, *out;
    double lr, aux;
    bool parity, lazy, proven, moments8;
} args;

static void die(const char *what, const sd_err *err)
{
    fprintf(stderr, "bench_dict: %s%s%s\n", what, err ? ": " : "", err ? err->msg : "");
    exit(1);
}
static void need(sd_status st, const char *what, const sd_err *err)
{
    if (st) die(what, err);
}

static int64_t whole(const char *s)
{
    int64_t v;
    if (!s || !sd_parse_i64(sd_slice_of(s), &v)) die("a number is expected", NULL);
    return v;
}
static double real(const char *s)
{
    double v;
    if (!s || !sd_parse_f64(sd_slice_of(s), &v)) die("a number is expected", NULL);
    return v;
}

static args parse(int argc, char **argv)
{
    args a = {0};
    int64_t *place[] = {&a.d, &a.m, &a.k, &a.batch, &a.steps};
    int n = 0;
    for (int i = 1; i < argc; i++) {
        const char *s = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(s, "--", 2) != 0) {
            if (n < 5) *place[n++] = whole(s);
            else a.acts = s;
        } else if (strcmp(s, "--parity") == 0) a.parity = true;
        else if (strcmp(s, "--lazy") == 0) a.lazy = true;
        else if (strcmp(s, "--proven") == 0) a.proven = true;
        else if (strcmp(s, "--moments8") == 0) a.moments8 = true;
        else if (strcmp(s, "--out") == 0) a.out = v, i++;
        else if (strcmp(s, "--init") == 0) a.init = v, i++;
        else if (strcmp(s, "--order") == 0) a.order = v, i++;
        else if (strcmp(s, "--cpu") == 0) a.cpu = v, i++;
        else if (strcmp(s, "--heldout") == 0) a.heldout = whole(v), i++;
        else if (strcmp(s, "--seed") == 0) a.seed = whole(v), i++;
        else if (strcmp(s, "--threads") == 0) a.threads = whole(v), i++;
        else if (strcmp(s, "--lr") == 0) a.lr = real(v), i++;
        else if (strcmp(s, "--aux") == 0) a.aux = real(v), i++;
        else die(s, NULL);
    }
    if (n < 5) die("D WIDTH K BATCH STEPS are needed", NULL);
    return a;
}

static sd_mat random_rows(int64_t n, int64_t d, int64_t seed)
{
    sd_mat x = sd_mat_of(sd_malloc((size_t)(n * d) * 4), n, d);
    sd_rng r = sd_rng_make((uint64_t)seed, "bench rows", 0);
    for (int64_t i = 0; i < n * d; i++) x.data[i] = sd_rng_normal(&r);
    return x;
}

/* All rows of all shards whose norm is below 10 medians, in order. */
static sd_mat load_rows(const char *dir, int64_t d)
{
    sd_err err = {0};
    sd_act_reader *r;
    need(sd_act_reader_open(&r, dir, &err), dir, &err);
    sd_act_source src = sd_act_reader_source(r);
    const int64_t n = sd_act_reader_manifest(r)->n_rows;
    if (src.d != d) die("the activations have another width", NULL);
    sd_mat x = sd_mat_of(sd_malloc((size_t)(n * d) * 4), n, d);
    float *norm = sd_malloc((size_t)n * 4), *sorted = sd_malloc((size_t)n * 4);
    if (!x.data || !norm || !sorted) die("out of memory", NULL);
    for (int64_t at = 0;;) {
        sd_act_block b;
        need(src.next(src.self, &b, &err), "reading", &err);
        if (b.x.rows == 0) break;
        memcpy(sd_mat_row(x, at), b.x.data, (size_t)(b.x.rows * d) * 4);
        at += b.x.rows;
    }
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int64_t j = 0; j < d; j++) s += (double)sd_mat_row(x, i)[j] * (double)sd_mat_row(x, i)[j];
        norm[i] = sorted[i] = (float)sqrt(s);
    }
    const double limit = 10 * sd_median_f32(sorted, n);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)norm[i] < limit) memmove(sd_mat_row(x, kept++), sd_mat_row(x, i), (size_t)d * 4);
    x.rows = kept;
    sd_free(norm), sd_free(sorted);
    sd_act_reader_close(r);
    return x;
}

static const void *tensor(const sd_weights *w, const char *name, sd_dtype t, int64_t n)
{
    const sd_tensor *x = sd_weights_find(w, name);
    if (!x || x->dtype != t || x->bytes != (size_t)n * 4) die(name, NULL);
    return x->data;
}

static void set_init(sd_dict_train *t, const args *a)
{
    sd_err err = {0};
    sd_weights *w;
    need(sd_weights_open(&w, a->init, &err), a->init, &err);
    const float *W = tensor(w, "W_enc", SD_F32, a->d * a->m);
    float *turned = sd_malloc((size_t)(a->d * a->m) * 4);
    for (int64_t f = 0; f < a->m; f++)
        for (int64_t i = 0; i < a->d; i++) turned[f * a->d + i] = W[i * a->m + f];
    sd_dict_train_set_weights(t, turned, tensor(w, "W_dec", SD_F32, a->d * a->m), tensor(w, "b_enc", SD_F32, a->m), tensor(w, "b_dec", SD_F32, a->d));
    sd_free(turned);
    sd_weights_close(w);
}

/* The rows' order: given, or permutations one after the other. */
static int64_t *make_order(const args *a, int64_t n_rows)
{
    const int64_t n = a->batch * a->steps;
    int64_t *o = sd_malloc((size_t)(n + n_rows) * sizeof *o), at = 0;
    if (a->order) {
        sd_err err = {0};
        sd_weights *w;
        need(sd_weights_open(&w, a->order, &err), a->order, &err);
        const sd_tensor *t = sd_weights_find(w, "order");
        if (!t || t->dtype != SD_I32 || t->dim[0] < n) die("order: too short, or not int32", NULL);
        for (; at < n; at++) {
            o[at] = ((const int32_t *)t->data)[at];
            if (o[at] < 0 || o[at] >= n_rows) die("order: a row number is out of range", NULL);
        }
        sd_weights_close(w);
        return o;
    }
    for (uint64_t epoch = 0; at < n; epoch++, at += n_rows) {
        sd_rng r = sd_rng_make((uint64_t)a->seed, "bench order", epoch);
        for (int64_t i = 0; i < n_rows; i++) o[at + i] = i;
        sd_rng_shuffle_i64(&r, o + at, n_rows);
    }
    return o;
}

/* Seconds of CPU this process used: on a shared machine tokens per CPU second say what the code costs, wall time who else ran. */
static double cpu_now(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) ? 0 : (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct peak_job { sd_score *s; float *out[64]; void *x[64], *w; } peak_job;
static void peak_tile(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    peak_job *j = arg;
    const int w = sd_par_worker();
    (void)chunk;
    for (int64_t i = begin; i < end; i++) sd_score_run(j->s, j->out[w], j->x[w], j->w);
}

/* GFLOP/s of the encoder's tile alone, all threads, best of several tries of about 20 ms. */
static double peak(const sd_exec *ex, int64_t d)
{
    enum { TOK = 128, ROWS = 512, TILES = 64 };
    sd_err err = {0};
    peak_job j = {0};
    const bool bf16 = sd_score_can_bf16(ex);
    double best = 1e30;
    need(sd_score_new(&j.s, ex, &(sd_score_shape){TOK, ROWS, d, bf16, false}, &err), "peak", &err);
    j.w = sd_calloc(sd_score_pack_bytes(j.s));
    for (int i = 0; i < ex->n_threads && i < 64; i++) j.out[i] = sd_calloc(TOK * ROWS * 4), j.x[i] = sd_calloc((size_t)(TOK * d) * 4);
    for (int rep = 0; rep < 12; rep++) {
        const double t = sd_now();
        sd_parallel_for(ex->n_threads, TILES, 1, peak_tile, &j);
        if (sd_now() - t < best) best = sd_now() - t;
    }
    for (int i = 0; i < ex->n_threads && i < 64; i++) sd_free(j.out[i]), sd_free(j.x[i]);
    sd_free(j.w);
    sd_score_free(j.s);
    return 2.0 * TOK * ROWS * TILES * (double)d / best * 1e-9;
}

int main(int argc, char **argv)
{
    const args a = parse(argc, argv);
    sd_err err = {0};
    sd_exec *ex;
    sd_dict_train *t;
    sd_dict_stats s = {0};
    sd_dict *d = NULL;
    need(sd_exec_new(&ex, &(sd_exec_opt){a.cpu, (int)a.threads}, &err), "exec", &err);
    sd_mat x = a.acts ? load_rows(a.acts, a.d) : random_rows(4 * a.batch, a.d, a.seed), all = x;
    sd_mat held = a.heldout ? sd_mat_rows(x, x.rows - a.heldout, a.heldout) : sd_mat_rows(x, 0, x.rows < 4096 ? x.rows : 4096);
    x.rows -= a.heldout;
    int64_t *order = make_order(&a, x.rows);
    sd_dict_train_opt o = {.kind = SD_DICT_TOPK, .d = a.d, .m = a.m, .k = (int)a.k, .batch = a.batch, .n_tokens = a.batch * a.steps, .lr = a.lr,
                           .seed = (uint64_t)a.seed, .lazy = a.lazy, .aux_alpha = a.aux, .proven = a.proven, .moments8 = a.moments8};
    fprintf(stderr, "memory of the trainer: %.2f GB\n", 1e-9 * (double)sd_dict_train_plan(ex, &o));
    if (a.parity) o.warmup = o.decay = o.aux_alpha = -1;
    need(sd_dict_train_new(&t, ex, &o, &err), "trainer", &err);
    need(sd_dict_train_calibrate(t, ex, all, &err), "calibrate", &err);
    if (a.init) set_init(t, &a);
    sd_mat batch = sd_mat_of(sd_malloc((size_t)(a.batch * a.d) * 4), a.batch, a.d);
    double gather = 0, cpu = 0;
    const double t0 = sd_now();
    for (int64_t i = 0; i < a.steps; i++) {
        const double g0 = sd_now();
        for (int64_t r = 0; r < a.batch; r++) memcpy(sd_mat_row(batch, r), sd_mat_row(x, order[i * a.batch + r]), (size_t)a.d * 4);
        gather += sd_now() - g0;
        const double c0 = cpu_now();
        need(sd_dict_train_step(t, ex, batch, &s, &err), "step", &err);
        cpu += cpu_now() - c0;
        if (a.steps < 50 || (i + 1) % (a.steps / 20) == 0)
            fprintf(stderr, "step %lld  %.0f s  fvu %.4f  l0 %.1f  dead %lld  lr %.2g  audited %lld, missed %lld\n", (long long)s.step, sd_now() - t0, s.fvu, s.l0, (long long)s.n_dead, s.lr, (long long)s.n_audited, (long long)s.n_missed);
    }
    const double dt = sd_now() - t0 - gather, top = peak(ex, a.d), tok_s = (double)(a.batch * a.steps) / dt;
    need(sd_dict_train_finish(t, ex, held, &(sd_dict_info){0}, &d, &err), "finish", &err);
    if (a.out) {
        need(sd_dir_make(a.out, &err), a.out, &err);
        need(sd_dict_save(d, a.out, &err), a.out, &err);
    }
    const sd_dict_info *info = sd_dict_get_info(d);
    printf("{\"peer\":\"sonde\",\"d_in\":%lld,\"width\":%lld,\"k\":%lld,\"batch\":%lld,\"steps\":%lld,\"tok_s\":%.1f,\"tok_per_cpu_s\":%.1f,\"gflops\":%.1f,\"peak_gflops\":%.1f,\"share_of_peak\":%.3f,"
           "\"fvu\":%.4f,\"fvu_heldout\":%.4f,\"l0\":%.2f,\"dead\":%lld,\"isa\":\"%s\",\"threads\":%d,\"rss_mb\":%llu}\n",
           (long long)a.d, (long long)a.m, (long long)a.k, (long long)a.batch, (long long)a.steps, tok_s, (double)(a.batch * a.steps) / cpu, tok_s * 2e-9 * (double)(a.d * a.m), top,
           tok_s * 2e-9 * (double)(a.d * a.m) / top, s.fvu, info->fvu, info->l0, (long long)info->n_dead, sd_cpu_level(&ex->cpu), ex->n_threads,
           (unsigned long long)(sd_mem_query().rss_peak >> 20));
    sd_dict_free(d);
    sd_dict_train_free(t);
    sd_free(order), sd_free(all.data), sd_free(batch.data);
    sd_exec_free(ex);
    return 0;
}

/* Owns: made-up features whose lists have the lengths of real ones, and the clock around questions. */
#include "lab/bench_store.h"

#include "base/rng.h"
#include "lab/feature_json.h"
#include "num/stats.h"

#include <stdio.h>
#include <sys/stat.h>

enum { WINDOW = 65, BINS = 50, LOGITS = 15, NEAR = 10, FIRES = 10, INTERVALS = 10, DOC = 1000, MAX_ASKED = 10000, D = 64, PAGE = 50, MAX_EXAMPLES = 70 };

static const char *const ask_name[SD_ASK_COUNT] = {"feature", "near", "search", "list by index", "list by interest", "list by density", "list by max_act"};
const char *sd_bench_ask_name(sd_bench_ask a) { return ask_name[a]; }

/* One feature's lists; filled anew for each. */
typedef struct made {
    sd_feature f;
    int64_t hist[BINS];
    sd_token_logit top[LOGITS], bottom[LOGITS];
    sd_near near[NEAR];
    sd_token_fire fire[FIRES];
    sd_interval interval[INTERVALS];
    sd_example ex[MAX_EXAMPLES];
    float val[MAX_EXAMPLES][WINDOW];
    char words[128], peak[128], context[512], logits[128];
    uint16_t half[D];
} made;

/* A pronounceable word for a number: the same number, the same word. */
static int word(char *out, size_t cap, uint64_t x)
{
    static const char c[] = "bdfgklmnprstvz", v[] = "aeiou";
    size_t n = 0;
    for (int i = 0; i < 3 && n + 3 < cap; i++, x /= 70) {
        out[n++] = c[x % 14];
        out[n++] = v[x / 14 % 5];
    }
    out[n] = '\0';
    return (int)n;
}

static void words_of(char *out, size_t cap, sd_rng *rng, int n, const char *between)
{
    char w[16];
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < n && at + 20 < cap; i++) {
        word(w, sizeof w, sd_rng_below(rng, 40) * sd_rng_below(rng, 400)); /* some words are common, most are rare */
        at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? between : "", w);
    }
}

static void make_examples(made *m, sd_rng *rng, const sd_bench_store_opt *o)
{
    int64_t n_doc = o->n_tokens / DOC;
    for (int e = 0; e < o->n_examples; e++) {
        int32_t pos0 = (int32_t)sd_rng_below(rng, DOC - WINDOW);
        for (int i = 0; i < WINDOW; i++) m->val[e][i] = sd_rng_below(rng, 6) == 0 ? (float)(1 + sd_rng_below(rng, 100)) / 16 : 0;
        m->val[e][48] = 8;
        m->ex[e] = (sd_example){.group = e / 5, .rank = e % 5, .doc = (int32_t)sd_rng_below(rng, (uint64_t)n_doc), .pos = pos0 + 48, .pos0 = pos0, .n = WINDOW, .act = 8, .val = m->val[e]};
    }
}

static void make(made *m, int64_t i, const sd_bench_store_opt *o)
{
    sd_rng rng = sd_rng_make(o->seed, "bench store", (uint64_t)i);
    uint64_t V = (uint64_t)o->n_vocab;
    for (int b = 0; b < BINS; b++) m->hist[b] = (int64_t)sd_rng_below(&rng, 1000);
    for (int k = 0; k < LOGITS; k++) {
        m->top[k] = (sd_token_logit){(int32_t)sd_rng_below(&rng, V), 3.0f - 0.1f * (float)k};
        m->bottom[k] = (sd_token_logit){(int32_t)sd_rng_below(&rng, V), -3.0f + 0.1f * (float)k};
    }
    for (int k = 0; k < NEAR; k++) m->near[k] = (sd_near){(int64_t)sd_rng_below(&rng, (uint64_t)o->n_features), 0.9f - 0.05f * (float)k};
    for (int k = 0; k < FIRES; k++) m->fire[k] = (sd_token_fire){(int32_t)sd_rng_below(&rng, V), 10, 8, 0.05f};
    for (int k = 0; k < INTERVALS; k++) m->interval[k] = (sd_interval){8 - 0.8f * (float)(k + 1), 8 - 0.8f * (float)k, 10, 1e-5};
    make_examples(m, &rng, o);
    words_of(m->words, sizeof m->words, &rng, 4, ", ");
    words_of(m->peak, sizeof m->peak, &rng, 8, " ");
    words_of(m->logits, sizeof m->logits, &rng, 8, " ");
    words_of(m->context, sizeof m->context, &rng, 40, " ");
    for (int k = 0; k < D; k++) m->half[k] = (uint16_t)(0x3000 | sd_rng_below(&rng, 1024));
    m->f = (sd_feature){.stats = {.index = i, .n_fire = 100, .density = 1e-6 * (double)(1 + sd_rng_below(&rng, 10000)), .max_act = 8 + 1e-3 * (double)sd_rng_below(&rng, 1000),
                                  .mean_act = 2, .interest = 1e-6 * (double)sd_rng_below(&rng, 1000000), .threshold = 0.5},
                        .hist = {.hi = 8, .n = BINS, .count = m->hist}, .logit_std = 1, .n_top = LOGITS, .top = m->top, .n_bottom = LOGITS, .bottom = m->bottom,
                        .n_near = NEAR, .near = m->near, .n_token = FIRES, .token = m->fire, .n_interval = INTERVALS, .interval = m->interval,
                        .n_example = o->n_examples, .example = m->ex, .words = m->words};
}

static sd_status write_text(sd_store *s, const sd_bench_store_opt *o, sd_err *err)
{
    sd_store_info in = {0};
    int32_t tok[DOC];
    char w[16];
    snprintf(in.model.name, sizeof in.model.name, "made up");
    snprintf(in.dict.kind, sizeof in.dict.kind, "topk");
    snprintf(in.dict.site, sizeof in.dict.site, "resid_post.1");
    snprintf(in.run.tool, sizeof in.run.tool, "sonde bench store");
    in.model.n_layer = 2, in.model.d_model = D, in.model.n_vocab = o->n_vocab;
    in.dict.d = D, in.dict.m = o->n_features, in.dict.k = 32, in.dict.seed = o->seed;
    in.run.n_tokens = o->n_tokens, in.run.n_docs = o->n_tokens / DOC, in.run.before = 48, in.run.after = 16, in.run.seed = o->seed;
    sd_status st = sd_store_put_info(s, &in, err);
    for (int32_t id = 0; id < o->n_vocab && !st; id++) {
        int n = snprintf(w, sizeof w, "%s", id % 3 ? " " : "");
        n += word(w + n, sizeof w - (size_t)n, (uint64_t)id);
        st = sd_store_put_token(s, id, (sd_slice){w, (size_t)n}, id == 0, err);
    }
    for (int64_t d = 0; d < o->n_tokens / DOC && !st; d++) {
        sd_rng rng = sd_rng_make(o->seed, "bench text", (uint64_t)d);
        for (int i = 0; i < DOC; i++) tok[i] = (int32_t)sd_rng_below(&rng, (uint64_t)o->n_vocab);
        st = sd_store_put_doc(s, (int32_t)d, NULL, tok, DOC, err);
    }
    return st;
}

static sd_status write_features(sd_store *s, const sd_bench_store_opt *o, sd_err *err)
{
    made *m = NULL;
    sd_status st = sd_alloc_zero(&m, sizeof *m, "a made-up feature", err);
    for (int64_t i = 0; i < o->n_features && !st; i++) {
        make(m, i, o);
        st = sd_store_put_feature(s, &m->f, &(sd_feature_text){sd_slice_of(m->peak), sd_slice_of(m->logits), sd_slice_of(m->context)}, err);
        if (!st) st = sd_store_put_direction(s, i, m->half, err);
        if (i % 1024 == 0) sd_progress_update(o->progress, "features", (double)i, (double)o->n_features, NULL);
        if (!st && sd_progress_cancelled(o->progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted; no store was written");
    }
    sd_free(m);
    return st;
}

static sd_status show(sd_store *s, int64_t index, sd_err *err)
{
    sd_feature *f = NULL;
    sd_buf b;
    sd_jw w;
    sd_status st = sd_store_feature(&f, s, index, 0, err);
    if (st) return st;
    sd_buf_init(&b, 1 << 26);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_feature_write(&w, s, f);
    sd_jw_end(&w);
    sd_feature_free(f);
    st = sd_buf_check(&b, "a feature", err);
    sd_buf_release(&b);
    return st;
}

static sd_status one(sd_store *s, sd_bench_ask ask, sd_rng *rng, sd_err *err)
{
    sd_feature_list l = {0};
    char words[64];
    int64_t m = sd_store_get_info(s)->dict.m, index = (int64_t)sd_rng_below(rng, (uint64_t)m);
    sd_status st;
    if (ask == SD_ASK_FEATURE) return show(s, index, err);
    words_of(words, sizeof words, rng, 2, " ");
    if (ask == SD_ASK_NEAR) st = sd_store_near(&l, s, index, 0, err);
    else if (ask == SD_ASK_SEARCH) st = sd_store_search(&l, s, words, PAGE, err);
    else st = sd_store_list(&l, s, &(sd_feature_query){.sort = (sd_feature_sort)(ask - SD_ASK_LIST_INDEX), .limit = PAGE, .offset = (int64_t)sd_rng_below(rng, 20) * PAGE}, err);
    if (!st) sd_feature_list_release(&l);
    return st;
}

static sd_status ask_all(sd_bench_store *out, sd_store *s, const sd_bench_store_opt *o, sd_err *err)
{
    double *t = NULL;
    sd_status st = sd_alloc(&t, (size_t)o->n_asked * sizeof *t, "times", err);
    for (int a = 0; a < SD_ASK_COUNT && !st; a++) {
        sd_rng rng = sd_rng_make(o->seed, "bench ask", (uint64_t)a);
        for (int64_t i = 0; i < o->n_asked && !st; i++) {
            double t0 = sd_now();
            st = one(s, (sd_bench_ask)a, &rng, err);
            t[i] = 1e3 * (sd_now() - t0);
        }
        if (st) break;
        sd_sort_f64(t, o->n_asked);
        out->ask[a] = (sd_bench_times){t[o->n_asked / 2], t[(o->n_asked - 1) * 99 / 100], t[o->n_asked - 1], o->n_asked};
    }
    sd_free(t);
    return st;
}

sd_status sd_lab_bench_store(sd_bench_store *out, const sd_bench_store_opt *opt, sd_err *err)
{
    sd_bench_store_opt o = *opt;
    sd_store *s = NULL;
    struct stat sb;
    *out = (sd_bench_store){0};
    if (!o.n_features) o.n_features = 1000000;
    if (!o.n_tokens) o.n_tokens = 1000000;
    if (!o.n_vocab) o.n_vocab = 49152;
    if (!o.n_asked) o.n_asked = 200;
    if (!o.n_examples) o.n_examples = 12;
    SD_ASSERT(o.n_examples <= MAX_EXAMPLES && o.n_asked <= MAX_ASKED && o.n_tokens >= DOC);
    double t0 = sd_now();
    sd_status st = sd_store_create(&s, o.path, o.force, err);
    if (st) return st;
    if ((st = write_text(s, &o, err)) || (st = write_features(s, &o, err))) {
        sd_store_abort(s);
        return st;
    }
    if ((st = sd_store_commit(s, err))) return st;
    double t1 = sd_now();
    out->write_s = t1 - t0;
    if (stat(o.path, &sb) == 0) out->bytes = (uint64_t)sb.st_size;
    if ((st = sd_store_open(&s, o.path, err))) return st;
    out->open_ms = 1e3 * (sd_now() - t1);
    st = ask_all(out, s, &o, err);
    sd_store_close(s);
    return st;
}

/* Owns: the way from other tools' documents to a store. They are untrusted: types, sizes and ranges are checked, lists have the store's limits. */
#include "lab/np_json.h"

#include "base/hash.h"
#include "base/mem.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_M = 1 << 22, MAX_LIST = 200, MAX_EXAMPLES = 400, MAX_INTERVALS = 64, PEAKS = 5 };
#define MISSING (-10000) /* Neuronpedia's "no value" */

typedef struct importer {
    sd_store *s;
    sd_table *ids;          /* text of a token to its id; keys borrow from the documents */
    sd_slice *text;         /* [n_id] the other way */
    int64_t cap;
    const json_t **feature; /* [m], NULL where no document has it */
    int64_t m, n_tokens;    /* features; tokens of the study, 0: unknown */
    int32_t n_id, n_doc;
    sd_np_import *out;
    sd_buf peak, logits, words;
} importer;

/* A field under either spelling. */
static const json_t *get(const json_t *o, const char *camel, const char *snake)
{
    const json_t *v = json_object_get(o, camel);
    return v ? v : json_object_get(o, snake);
}

/* A number that an activation could be. */
static double num(const json_t *o, const char *camel, const char *snake, double otherwise)
{
    const json_t *v = get(o, camel, snake);
    return json_is_number(v) && fabs(json_number_value(v)) <= FLT_MAX ? json_number_value(v) : otherwise;
}

/* A number as a count; 0 of what is none or beyond what may be counted. */
static int64_t count_of(const json_t *v)
{
    const double c = json_number_value(v);
    return c > 0 && c < 1e15 ? llround(c) : 0;
}

static int64_t index_of(const json_t *f)
{
    const json_t *v = get(f, "index", "feature_index");
    int64_t i = -1;
    if (json_is_integer(v)) i = json_integer_value(v);
    else if (json_is_string(v) && !sd_parse_i64(sd_slice_of(json_string_value(v)), &i)) i = -1;
    return i;
}

static sd_status token_id(importer *x, const json_t *text, int32_t *id, sd_err *err)
{
    if (!json_is_string(text)) return sd_fail(err, SD_E_FORMAT, "a token is no text");
    sd_slice t = {json_string_value(text), json_string_length(text)};
    int64_t have = sd_table_get(x->ids, t);
    *id = (int32_t)have;
    if (have >= 0) return SD_OK;
    if (x->n_id == x->cap) {
        int64_t cap = x->cap ? 2 * x->cap : 4096;
        sd_slice *v = sd_realloc(x->text, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: the tokens");
        x->text = v;
        x->cap = cap;
    }
    x->text[x->n_id] = t;
    *id = x->n_id++;
    return sd_table_set(x->ids, t, *id, NULL, err);
}

/* Every token of a feature gets its number: the store wants to know how many there are first. */
static sd_status take_tokens(importer *x, const json_t *f, sd_err *err)
{
    const json_t *acts = json_object_get(f, "activations"), *list[2] = {json_object_get(f, "pos_str"), json_object_get(f, "neg_str")};
    sd_status st = SD_OK;
    int32_t id;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(list[k]) && !st; i++) st = token_id(x, json_array_get(list[k], i), &id, err);
    for (size_t a = 0; a < json_array_size(acts) && !st; a++) {
        const json_t *t = json_object_get(json_array_get(acts, a), "tokens");
        for (size_t i = 0; i < json_array_size(t) && !st; i++) st = token_id(x, json_array_get(t, i), &id, err);
    }
    return st;
}

/* ---- parts of a feature ---- */

static sd_status read_logits(importer *x, sd_token_logit *v, int *n, const json_t *f, const char *sign, sd_err *err)
{
    char key[24];
    snprintf(key, sizeof key, "%s_str", sign);
    const json_t *text = json_object_get(f, key);
    snprintf(key, sizeof key, "%s_values", sign);
    const json_t *value = json_object_get(f, key);
    sd_status st = SD_OK;
    for (size_t i = 0; i < json_array_size(text) && i < json_array_size(value) && *n < MAX_LIST && !st; i++) {
        double a = json_number_value(json_array_get(value, i));
        if (!isfinite(a) || a <= MISSING) continue;
        v[*n].value = (float)a;
        st = token_id(x, json_array_get(text, i), &v[(*n)++].id, err);
    }
    return st;
}

static void read_histogram(sd_histogram *h, int64_t *count, const json_t *f)
{
    const json_t *heights = json_object_get(f, "freq_hist_data_bar_heights"), *values = json_object_get(f, "freq_hist_data_bar_values");
    size_t n = json_array_size(heights);
    if (n < 2 || n != json_array_size(values) || n > MAX_LIST) return;
    double first = json_number_value(json_array_get(values, 0)), last = json_number_value(json_array_get(values, n - 1)), half = (last - first) / (double)(n - 1) / 2;
    if (!(half > 0) || !isfinite(half)) return;
    for (size_t i = 0; i < n; i++) count[i] = count_of(json_array_get(heights, i));
    *h = (sd_histogram){first - half > 0 ? first - half : 0, last + half, (int)n, count};
}

static int by_rank(const void *a, const void *b)
{
    const sd_example *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->act > y->act ? -1 : x->act < y->act;
}

static int by_strength(const void *a, const void *b)
{
    const sd_interval *x = a, *y = b;
    return x->hi > y->hi ? -1 : x->hi < y->hi;
}

/* The intervals that the examples name, strongest first. */
static int read_intervals(sd_interval *v, const json_t *acts, int64_t n_tokens)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(acts) && n < MAX_INTERVALS; i++) {
        const json_t *a = json_array_get(acts, i);
        double lo = num(a, "binMin", "bin_min", -1), hi = num(a, "binMax", "bin_max", -1), share = num(a, "binContains", "bin_contains", 0);
        bool there = lo < 0 || hi < lo;
        for (int k = 0; k < n && !there; k++) there = v[k].lo == (float)lo && v[k].hi == (float)hi;
        if (!there) v[n++] = (sd_interval){(float)lo, (float)hi, llround(fmin(fmax(share, 0), 1) * (double)n_tokens), fmin(fmax(share, 0), 1)};
    }
    qsort(v, (size_t)n, sizeof *v, by_strength);
    return n;
}

typedef struct room { int32_t *tok; float *val; } room; /* [SD_FEATURE_WINDOW_MAX] */

/* One example becomes a document: at most a window around the token that qualified. */
static sd_status read_example(importer *x, sd_example *e, room r, const json_t *a, sd_err *err)
{
    const json_t *tokens = json_object_get(a, "tokens"), *values = json_object_get(a, "values");
    int64_t n = (int64_t)json_array_size(tokens), best = 0;
    sd_status st = SD_OK;
    e->n = 0;
    if (n == 0 || n != (int64_t)json_array_size(values)) return SD_OK;
    for (int64_t i = 1; i < n; i++)
        if (json_number_value(json_array_get(values, (size_t)i)) > json_number_value(json_array_get(values, (size_t)best))) best = i;
    double asked = num(a, "qualifyingTokenIndex", "qualifying_token_index", (double)best);
    int64_t pos = asked >= 0 && asked < (double)n ? (int64_t)asked : best, from = pos > SD_FEATURE_WINDOW_MAX / 2 && n > SD_FEATURE_WINDOW_MAX ? pos - SD_FEATURE_WINDOW_MAX / 2 : 0;
    int64_t len = n - from < SD_FEATURE_WINDOW_MAX ? n - from : SD_FEATURE_WINDOW_MAX;
    for (int64_t i = 0; i < len && !st; i++) {
        double v = json_number_value(json_array_get(values, (size_t)(from + i)));
        r.val[i] = v > 0 && isfinite(v) ? (float)v : 0;
        st = token_id(x, json_array_get(tokens, (size_t)(from + i)), &r.tok[i], err);
    }
    if (!st) st = sd_store_put_doc(x->s, x->n_doc, NULL, r.tok, len, err);
    *e = (sd_example){.doc = x->n_doc++, .pos = (int32_t)(pos - from), .n = (int)len, .act = r.val[pos - from], .tok = r.tok, .val = r.val};
    return st;
}

static int group_of(const json_t *a, const sd_interval *v, int n)
{
    double lo = num(a, "binMin", "bin_min", -1), hi = num(a, "binMax", "bin_max", -1);
    for (int k = 0; k < n; k++)
        if (lo >= 0 && v[k].lo == (float)lo && v[k].hi == (float)hi) return k + 1;
    return 0;
}

/* What search sees, and the words that stand for a label. */
static void add_words(importer *x, const sd_feature *f)
{
    sd_buf_reset(&x->peak), sd_buf_reset(&x->words), sd_buf_reset(&x->logits);
    for (int i = 0, k = 0; i < f->n_example && f->example[i].group == 0; i++) {
        const sd_example *e = &f->example[i];
        sd_slice t = sd_slice_trim(x->text[e->tok[e->pos]]);
        bool seen = false;
        sd_buf_put(&x->peak, t.p, t.n), sd_buf_putc(&x->peak, ' ');
        for (int j = 0; j < i && !seen; j++) seen = f->example[j].tok[f->example[j].pos] == e->tok[e->pos];
        if (!seen && t.n && k++ < PEAKS) sd_buf_printf(&x->words, "%s%.*s", x->words.n ? ", " : "", (int)t.n, t.p);
    }
    for (int i = 0; i < f->n_top; i++) sd_buf_put(&x->logits, x->text[f->top[i].id].p, x->text[f->top[i].id].n), sd_buf_putc(&x->logits, ' ');
}

/* Statistics, histogram, lists; everything but the examples. */
static sd_status read_lists(importer *x, sd_feature *v, int64_t *count, const json_t *f, sd_err *err)
{
    const json_t *near = json_object_get(f, "topkCosSimIndices"), *cosine = json_object_get(f, "topkCosSimValues");
    sd_status st = read_logits(x, (sd_token_logit *)(uintptr_t)v->top, &v->n_top, f, "pos", err);
    if (!st) st = read_logits(x, (sd_token_logit *)(uintptr_t)v->bottom, &v->n_bottom, f, "neg", err);
    read_histogram(&v->hist, count, f);
    v->stats.density = fmin(fmax(num(f, "frac_nonzero", "frac_nonzero", 0), 0), 1);
    for (int i = 0; i < v->hist.n; i++) {
        v->stats.n_fire += v->hist.count[i];
        v->stats.mean_act += (v->hist.lo + (v->hist.hi - v->hist.lo) / v->hist.n * (i + 0.5)) * (double)v->hist.count[i]; /* exact to half a bin */
    }
    if (v->stats.n_fire) v->stats.mean_act /= (double)v->stats.n_fire;
    v->stats.max_act = fmax(num(f, "maxActApprox", "max_act", 0), 0);
    for (size_t i = 0; i < json_array_size(near) && i < json_array_size(cosine) && v->n_near < MAX_LIST; i++) {
        const double other = json_number_value(json_array_get(near, i)), c = json_number_value(json_array_get(cosine, i));
        if (other >= 0 && other < (double)x->m && isfinite(c)) ((sd_near *)(uintptr_t)v->near)[v->n_near++] = (sd_near){(int64_t)other, (float)c};
    }
    return st;
}

typedef struct space { sd_example *e; int32_t *tok; float *val; } space; /* of all examples of a feature */

static sd_status read_examples(importer *x, sd_feature *v, const space *r, const json_t *acts, size_t n_act, sd_err *err)
{
    sd_status st = SD_OK;
    int n = 0;
    for (size_t i = 0; i < n_act && !st; i++) {
        const json_t *a = json_array_get(acts, i);
        st = read_example(x, &r->e[n], (room){r->tok + (size_t)n * SD_FEATURE_WINDOW_MAX, r->val + (size_t)n * SD_FEATURE_WINDOW_MAX}, a, err);
        if (st || !r->e[n].n || !(r->e[n].act > 0)) continue;
        for (int t = 0; t < r->e[n].n; t++) v->stats.max_act = fmax(v->stats.max_act, (double)r->e[n].val[t]);
        r->e[n++].group = group_of(a, v->interval, v->n_interval);
    }
    qsort(r->e, (size_t)n, sizeof *r->e, by_rank);
    for (int i = 0; i < n; i++) r->e[i].rank = i && r->e[i].group == r->e[i - 1].group ? r->e[i - 1].rank + 1 : 0;
    v->example = r->e;
    v->n_example = n;
    return st;
}

static sd_status put_feature(importer *x, int64_t index, sd_err *err)
{
    const json_t *f = x->feature[index], *acts = f ? json_object_get(f, "activations") : NULL;
    size_t n_act = json_array_size(acts) < MAX_EXAMPLES ? json_array_size(acts) : MAX_EXAMPLES;
    sd_token_logit top[MAX_LIST], bottom[MAX_LIST];
    sd_near near[MAX_LIST];
    sd_interval interval[MAX_INTERVALS];
    int64_t count[MAX_LIST];
    space r = {0};
    sd_feature v = {.stats = {.index = index}, .top = top, .bottom = bottom, .near = near, .interval = interval, .words = ""};
    if (!f) return sd_store_put_feature(x->s, &v, NULL, err);
    sd_status st = sd_alloc_zero(&r.e, (n_act + 1) * sizeof *r.e, "examples", err);
    if (!st) st = sd_alloc(&r.tok, (n_act + 1) * SD_FEATURE_WINDOW_MAX * sizeof *r.tok, "examples", err);
    if (!st) st = sd_alloc(&r.val, (n_act + 1) * SD_FEATURE_WINDOW_MAX * sizeof *r.val, "examples", err);
    if (!st) st = read_lists(x, &v, count, f, err);
    v.n_interval = st ? 0 : read_intervals(interval, acts, x->n_tokens);
    if (!st) st = read_examples(x, &v, &r, acts, n_act, err);
    if (!st && !v.stats.n_fire && v.n_example) v.stats.n_fire = (int64_t)fmax(1, round(v.stats.density * (double)x->n_tokens));
    if (!st) {
        add_words(x, &v);
        v.words = sd_buf_str(&x->words);
        const sd_feature_text text = {{x->peak.p ? x->peak.p : "", x->peak.n}, {x->logits.p ? x->logits.p : "", x->logits.n}, {"", 0}};
        st = sd_store_put_feature(x->s, &v, &text, err);
        x->out->n_examples += v.n_example;
    }
    sd_free(r.e);
    sd_free(r.tok);
    sd_free(r.val);
    return st;
}

/* ---- documents ---- */

/* fn for every feature of every document. */
typedef sd_status each_fn(importer *x, const json_t *f, sd_err *err);
static sd_status each(importer *x, json_t *const *doc, int n_doc, each_fn *fn, sd_err *err)
{
    sd_status st = SD_OK;
    for (int d = 0; d < n_doc && !st; d++) {
        const json_t *list = json_is_object(doc[d]) && json_object_get(doc[d], "features") ? json_object_get(doc[d], "features") : doc[d];
        if (json_is_object(list)) st = fn(x, list, err);
        for (size_t i = 0; i < json_array_size(list) && !st; i++) st = fn(x, json_array_get(list, i), err);
    }
    return st;
}

static sd_status measure(importer *x, const json_t *f, sd_err *err)
{
    int64_t i = json_is_object(f) ? index_of(f) : -1;
    double fires = 0;
    if (i < 0 || i >= MAX_M) {
        sd_fail(err, SD_E_FORMAT, "a feature has no number: \"index\" or \"feature_index\", from 0 to %d", MAX_M - 1);
        return sd_hint(err, "give what Neuronpedia's GET /api/feature answers, or a batch of SAEDashboard");
    }
    if (i >= x->m) x->m = i + 1;
    const json_t *h = json_object_get(f, "freq_hist_data_bar_heights");
    for (size_t k = 0; k < json_array_size(h); k++) fires += (double)count_of(json_array_get(h, k));
    double density = num(f, "frac_nonzero", "frac_nonzero", 0), n = num(f, "n_prompts_total", "n_prompts_total", 0) * num(f, "n_tokens_in_prompt", "n_tokens_in_prompt", 0);
    if (!(n >= 1) && fires > 0 && density > 0) n = round(fires / density);
    if (n >= 1 && n < 1e15 && (int64_t)n > x->n_tokens) x->n_tokens = (int64_t)n;
    return take_tokens(x, f, err);
}

static sd_status place(importer *x, const json_t *f, sd_err *err)
{
    int64_t i = index_of(f);
    if (x->feature[i]) return sd_fail(err, SD_E_FORMAT, "feature %" PRId64 " is there twice", i);
    x->feature[i] = f;
    x->out->n_features++;
    return SD_OK;
}

static const char *first_str(const json_t *o, const char *camel, const char *snake)
{
    const json_t *v = get(o, camel, snake);
    return json_is_string(v) ? json_string_value(v) : "";
}

static sd_status put_info(importer *x, const json_t *doc, const sd_np_import_opt *opt, sd_err *err)
{
    const json_t *o = json_is_array(doc) ? json_array_get(doc, 0) : doc;
    /* A store has a vocabulary: where no document shows a token, of one without a text. */
    sd_store_info in = {.model = {.n_vocab = x->n_id ? x->n_id : 1}, .dict = {.m = x->m, .d = 0, .site_rms = NAN, .fvu = NAN, .l0 = NAN}, .run = {.n_threads = 1, .n_tokens = x->n_tokens, .before = SD_FEATURE_WINDOW_MAX, .after = SD_FEATURE_WINDOW_MAX}};
    const char *hook = first_str(o, "hookName", "hook_name"), *layer = first_str(o, "layer", "layer");
    snprintf(in.model.name, sizeof in.model.name, "%s", first_str(o, "modelId", "model_id"));
    snprintf(in.dict.kind, sizeof in.dict.kind, "imported");
    snprintf(in.dict.site, sizeof in.dict.site, "%s", *hook ? hook : layer);
    snprintf(in.run.tool, sizeof in.run.tool, "%s", opt->tool);
    snprintf(in.run.created, sizeof in.run.created, "%s", opt->created);
    snprintf(in.run.data_sha256, sizeof in.run.data_sha256, "%s", opt->data_sha256 ? opt->data_sha256 : "");
    sd_status st = sd_store_put_info(x->s, &in, err);
    for (int32_t i = 0; i < x->n_id && !st; i++) st = sd_store_put_token(x->s, i, x->text[i], false, err);
    return st;
}

static sd_status put_labels(importer *x, const char *path, const sd_np_import_opt *opt, sd_err *err)
{
    sd_store *s = NULL;
    sd_status st = SD_OK;
    for (int64_t i = 0; i < x->m && !st; i++) {
        const json_t *list = x->feature[i] ? json_object_get(x->feature[i], "explanations") : NULL;
        for (size_t k = json_array_size(list); k > 0 && !st; k--) { /* the first is shown, and that is the latest */
            const json_t *l = json_array_get(list, k - 1), *score = json_array_get(json_object_get(l, "scores"), 0);
            const char *text = first_str(l, "description", "description"), *type = first_str(l, "typeName", "type_name");
            if (!*text) continue;
            if (!s && ((st = sd_store_edit(&s, path, err)) || (st = sd_store_labels_begin(s, err)))) break;
            const sd_label label = {.text = text, .source = *type ? type : "neuronpedia", .author = first_str(l, "explanationModelName", "explanation_model_name"), .created = opt->created,
                                    .score = num(score, "value", "value", (double)NAN), .args = ""};
            st = sd_store_add_label(s, i, &label, err);
            x->out->n_labels++;
        }
    }
    if (s) st = sd_store_labels_end(s, st, err);
    sd_store_close(s);
    return st;
}

sd_status sd_lab_np_import(sd_np_import *out, const char *path, json_t *const *doc, int n_doc, const sd_np_import_opt *opt, sd_err *err)
{
    importer x = {.out = out};
    *out = (sd_np_import){0};
    sd_buf_init(&x.peak, 1 << 20), sd_buf_init(&x.logits, 1 << 20), sd_buf_init(&x.words, 1 << 20);
    sd_status st = sd_table_new(&x.ids, 1 << 16, err);
    if (!st) st = each(&x, doc, n_doc, measure, err);
    if (!st && !x.m) st = sd_fail(err, SD_E_FORMAT, "there is no feature in these files");
    if (!st) st = sd_alloc_zero(&x.feature, (size_t)x.m * sizeof *x.feature, "features", err);
    if (!st) st = each(&x, doc, n_doc, place, err);
    if (!st) st = sd_store_create(&x.s, path, opt->force, err);
    if (!st) st = put_info(&x, doc[0], opt, err);
    for (int64_t i = 0; i < x.m && !st; i++) st = put_feature(&x, i, err);
    if (x.s && st) sd_store_abort(x.s);
    else if (!st) st = sd_store_commit(x.s, err);
    if (!st) st = put_labels(&x, path, opt, err);
    out->n_tokens = x.n_tokens;
    out->m = x.m;
    sd_table_free(x.ids);
    sd_free(x.text);
    sd_free(x.feature);
    sd_buf_release(&x.peak), sd_buf_release(&x.logits), sd_buf_release(&x.words);
    return st;
}

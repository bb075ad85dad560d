#include "cli/dict_eval_print.h"

#include "cli/look_args.h"
#include "lab/eval_page.h"
#include <math.h>

/* dict_eval.h, evaluate.h and sparse_probe.h have the formulas. */
static const char *meaning_of(const char *id)
{
    static const struct { const char *id, *meaning; } table[] = {
        {"fvu", "share of the variance left unexplained; 0 is perfect"},
        {"explained_variance", "1 - fvu, as SAELens counts since 6.45"},
        {"explained_variance_legacy", "mean over rows, as SAELens counted before"},
        {"explained_variance_vs0", "relative to zero, not to the mean: flatters"},
        {"mse", "squared error of a row"},
        {"l0", "features active on a token"},
        {"l1", "sum of activations on a token"},
        {"cossim", "cosine of row and reconstruction"},
        {"l2_ratio", "length of the reconstruction over the row's"},
        {"relative_reconstruction_bias", "1 is no shrinkage"},
        {"silent_share", "features that never fired on these tokens (not: dead)"},
        {"explained_variance_saebench060", "SAEBench 0.6.0's, its mean taken wrongly"},
        {"frac_variance_explained", "dictionary_learning's, a constant offset forgiven"},
        {"l2_loss", "length of the error (dictionary_learning)"},
        {"normalized_mse_openai", "squared error over the row's square (OpenAI)"},
        {"frac_alive", "features that fired on these tokens"},
        {"freq_over_1_percent", "features that fire on more than 1 % of tokens"},
        {"freq_over_10_percent", "features that fire on more than 10 % of tokens"},
        {"ce_plain", "nats a token, the model as it is"},
        {"ce_spliced", "nats a token, rows replaced by reconstructions"},
        {"ce_zero_ablated", "nats a token, rows set to zero"},
        {"ce_recovered", "share of the damage of zero undone; 1 is perfect"},
        {"kl_plain_spliced", "nats a token between plain and spliced"},
        {"kl_plain_zero_ablated", "nats a token between plain and zero"},
        {"kl_recovered", "share of that which the dictionary undoes; 1 is perfect"},
        {"average_max_decoder_cosine_sim", "a decoder row's largest cosine to another; near 1: doubles"},
        {"average_max_encoder_cosine_sim", "the same of encoder rows"},
        {"encoder_decoder_cosine_sim", "of a feature's two rows"},
        {"encoder_norm", "length of an encoder row"},
        {"encoder_bias", "mean"},
        {"sae_top_1_test_accuracy", "sparse probing: one feature tells a class from others; 0.5 is chance"},
        {"sae_top_1_test_f1", "the same probe, F1 of the class"},
        {"sae_top_1_test_auroc", "the same probe, AUROC"},
        {"sae_top_2_test_accuracy", "two features"},
        {"sae_top_5_test_accuracy", "five features"},
        {"mean_absorption_fraction_score", "first letters: share of a letter's part that other features took"},
        {"std_dev_absorption_fraction_score", "over letters"},
        {"mean_full_absorption_score", "first letters: words on which its features are silent and another took all"},
        {"mean_num_split_features", "features that a letter is split into"},
        {"llm_test_accuracy", "all columns of the activations: what is there to be found"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].id, id) == 0) return table[i].meaning;
    return "";
}

typedef struct metric { const char *id; double v; } metric;
enum { MOST = 64 };

/* The same ids in the same order for every column. */
static int metrics_of(metric out[MOST], const dict_column *v)
{
    const sd_evaluation *e = &v->e;
    const sd_sparse_probe *p = &v->probe;
    const metric ce[] = {{"ce_plain", e->ce_plain}, {"ce_spliced", e->ce_spliced}, {"ce_zero_ablated", e->ce_zero}, {"ce_recovered", e->ce_recovered}, {"kl_plain_spliced", e->kl}, {"kl_plain_zero_ablated", e->kl_zero}, {"kl_recovered", e->kl_recovered}};
    const metric rows[] = {{"average_max_decoder_cosine_sim", v->rows.max_decoder}, {"average_max_encoder_cosine_sim", v->rows.max_encoder}, {"encoder_decoder_cosine_sim", v->rows.both},
                           {"encoder_norm", v->rows.encoder_norm}, {"encoder_bias", v->rows.encoder_bias}};
    const metric probe[] = {
        {"sae_top_1_test_accuracy", p->k[0].accuracy}, {"sae_top_1_test_f1", p->k[0].f1}, {"sae_top_1_test_auroc", p->k[0].auroc},
        {"sae_top_2_test_accuracy", p->k[1].accuracy}, {"sae_top_2_test_f1", p->k[1].f1}, {"sae_top_2_test_auroc", p->k[1].auroc},
        {"sae_top_5_test_accuracy", p->k[2].accuracy}, {"sae_top_5_test_f1", p->k[2].f1}, {"sae_top_5_test_auroc", p->k[2].auroc},
        {"llm_test_accuracy", p->rows.accuracy},       {"llm_test_f1", p->rows.f1},       {"llm_test_auroc", p->rows.auroc}};
    int n = 0;
    while (n < MOST && sd_dict_metric_at(&e->recon, n, &out[n].id, &out[n].v)) n++;
    for (size_t i = 0; i < sizeof ce / sizeof *ce; i++) out[n++] = ce[i];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) out[n++] = rows[i];
    for (size_t i = 0; i < sizeof probe / sizeof *probe && p->n; i++) out[n++] = probe[i];
    const sd_absorption *a = &v->absorption;
    const metric absorb[] = {{"mean_absorption_fraction_score", a->mean_fraction}, {"std_dev_absorption_fraction_score", a->sd_fraction},
                             {"mean_full_absorption_score", a->mean_full}, {"std_dev_full_absorption_score", a->sd_full}, {"mean_num_split_features", a->mean_main}};
    for (size_t i = 0; i < sizeof absorb / sizeof *absorb && v->absorbed; i++) out[n++] = absorb[i];
    return n;
}

static void put_probe(sd_jw *w, const sd_sparse_probe *p)
{
    sd_jw_key(w, "sparse_probing");
    sd_jw_obj(w);
    sd_jw_ki64(w, "n_texts", p->n_docs);
    sd_jw_ki64(w, "n_classes", p->n);
    sd_jw_ki64(w, "n_classes_with_too_few", p->n_few);
    sd_jw_key(w, "classes");
    sd_jw_arr(w);
    for (int i = 0; i < p->n; i++) {
        const sd_probed *v = &p->v[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "class", v->name);
        sd_jw_ki64(w, "n_train", v->n_train);
        sd_jw_ki64(w, "n_test", v->n_test);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int k = 0; k < SD_PROBE_MOST && v->feature[k] >= 0; k++) sd_jw_i64(w, v->feature[k]);
        sd_jw_end(w);
        sd_jw_kf64(w, "top_1_accuracy", v->k[0].accuracy);
        sd_jw_kf64(w, "top_2_accuracy", v->k[1].accuracy);
        sd_jw_kf64(w, "top_5_accuracy", v->k[2].accuracy);
        sd_jw_kf64(w, "llm_accuracy", v->rows.accuracy);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void put_absorption(sd_jw *w, const sd_absorption *a)
{
    sd_jw_key(w, "absorption");
    sd_jw_obj(w);
    sd_jw_ki64(w, "n_words", a->n_words);
    sd_jw_ki64(w, "n_letters", a->n);
    sd_jw_ki64(w, "n_letters_with_too_few", a->n_few);
    sd_jw_ki64(w, "n_letters_without_probe", a->n_no_probe);
    sd_jw_ki64(w, "n_letters_not_at_optimum", a->n_open);
    sd_jw_key(w, "letters");
    sd_jw_arr(w);
    for (int i = 0; i < a->n; i++) {
        const sd_absorbed *v = &a->v[i];
        sd_jw_obj(w);
        sd_jw_key(w, "letter");
        sd_jw_slice(w, (sd_slice){&v->letter, 1});
        sd_jw_ki64(w, "n_train", v->n_train);
        sd_jw_ki64(w, "n_test", v->n_test);
        sd_jw_ki64(w, "n_found", v->n_found);
        sd_jw_kf64(w, "probe_f1", v->probe_f1);
        sd_jw_kf64(w, "features_f1", v->main_f1);
        sd_jw_kf64(w, "gap", v->gap);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int k = 0; k < v->n_main; k++) sd_jw_i64(w, v->main[k]);
        sd_jw_end(w);
        sd_jw_kf64(w, "fraction", v->fraction);
        sd_jw_kf64(w, "full", v->full);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void put_column(sd_jw *w, const dict_column *v)
{
    metric m[MOST];
    const int n = metrics_of(m, v);
    sd_jw_key(w, "metrics");
    sd_jw_obj(w);
    for (int i = 0; i < n; i++) sd_jw_kf64(w, m[i].id, m[i].v);
    sd_jw_end(w);
    sd_jw_key(w, "density_histogram"); /* features by log10 of the share of rows where they fire */
    sd_jw_obj(w);
    sd_jw_kf64(w, "low", -SD_DENSITY_BINS / 2.0);
    sd_jw_kf64(w, "step", 0.5);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (int i = 0; i < SD_DENSITY_BINS; i++) sd_jw_i64(w, v->e.recon.density_bin[i]);
    sd_jw_end(w);
    sd_jw_ki64(w, "never", sd_dict_get_info(v->dict)->m - v->e.recon.n_fired);
    sd_jw_end(w);
    if (v->probe.n) put_probe(w, &v->probe);
    if (v->absorbed) put_absorption(w, &v->absorption);
}

static const char *control_of(const dict_column *v) { return sd_dict_get_info(v->dict)->control; }
/* What stands over a column. */
static const char *heading(const dict_column *v, int i) { return i == 0 ? "value" : control_of(v)[0] ? control_of(v) : v->dir; }

static int print_json(cli *c, const dict_column *col, int n)
{
    const sd_evaluation *e = &col->e;
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.dict.eval/1");
    put_column(w, col);
    if (control_of(col)[0]) sd_jw_kstr(w, "control", control_of(col));
    if (n > 1) {
        sd_jw_key(w, "beside");
        sd_jw_arr(w);
        for (int i = 1; i < n; i++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "dict", col[i].dir);
            sd_jw_kstr(w, "control", control_of(&col[i]));
            put_column(w, &col[i]);
            sd_jw_end(w);
        }
        sd_jw_end(w);
    }
    sd_jw_kstr(w, "site", c->site);
    sd_jw_ki64(w, "n_tokens", e->n_replaced + e->n_kept);
    sd_jw_ki64(w, "n_contexts", e->n_contexts);
    sd_jw_ki64(w, "n_predictions", e->n_predictions);
    sd_jw_ki64(w, "n_replaced", e->n_replaced);
    sd_jw_ki64(w, "n_kept", e->n_kept);
    sd_jw_ki64(w, "n_nonfinite", e->n_nonfinite);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    return out_json_end(c, &j);
}

int dict_eval_print(cli *c, const dict_column *col, int n)
{
    const sd_evaluation *e = &col->e;
    if (c->json) return print_json(c, col, n);
    out_col *cols = sd_calloc((size_t)(n + 2) * sizeof *cols);
    metric (*m)[MOST] = sd_calloc((size_t)n * sizeof *m);
    int n_metric = 0, rc = 5;
    if (cols && m) {
        cols[0] = (out_col){"metric", OUT_LEFT};
        for (int i = 0; i < n; i++) {
            cols[1 + i] = (out_col){heading(&col[i], i), OUT_RIGHT};
            n_metric = metrics_of(m[i], &col[i]);
        }
        cols[1 + n] = (out_col){"meaning", OUT_FILL};
        out_table *t = out_table_new(c, cols, n + 2);
        for (int k = 0; k < n_metric; k++) {
            out_str(t, m[0][k].id);
            for (int i = 0; i < n; i++) out_f64(t, m[i][k].v, 5);
            out_str(t, meaning_of(m[0][k].id));
        }
        rc = out_table_end(t);
    }
    sd_free(cols);
    sd_free(m);
    for (int i = 0; i < n; i++) {
        if (col[i].absorbed && col[i].absorption.n == 0)
            out_say(c, "%s: no letter counts for absorption: a probe on the activations tells none of %d letters with F1 0.6 or more (%d have too few words)", col[i].dir,
                    col[i].absorption.n_no_probe, col[i].absorption.n_few);
        if (col[i].absorbed && col[i].absorption.n_open)
            out_say(c, "%s: the features of %d of %d letters may be others: their sparse regressions ended before their optimum", col[i].dir, col[i].absorption.n_open, col[i].absorption.n);
    }
    out_say(c, "%lld tokens in %lld contexts at %s, %s: %lld rows replaced, %lld special tokens and sinks kept; %lld next tokens predicted",
            (long long)(e->n_replaced + e->n_kept), (long long)e->n_contexts, c->site, sd_mode_name(c->mode), (long long)e->n_replaced, (long long)e->n_kept,
            (long long)e->n_predictions);
    return rc;
}

sd_status dict_eval_page(cli *c, const dict_column *col, int n, const char *model, const char *path, sd_err *err)
{
    const char *id[MOST], *meaning[MOST];
    sd_eval_page p = {.model = model, .site = c->site, .dict = col->dir, .n = n, .id = id, .meaning = meaning, .prov = &c->prov};
    sd_eval_col *out = NULL;
    double *v = NULL;
    metric m[MOST];
    sd_buf b;
    sd_buf_init(&b, LOOK_PAGE_MAX);
    sd_status st = sd_alloc(&out, (size_t)n * sizeof *out, "columns", err);
    if (!st) st = sd_alloc(&v, (size_t)(n * MOST) * sizeof *v, "columns", err);
    for (int i = 0; i < n && !st; i++) {
        p.n_metric = metrics_of(m, &col[i]);
        for (int k = 0; k < p.n_metric; k++) id[k] = m[k].id, meaning[k] = meaning_of(m[k].id), v[i * MOST + k] = m[k].v;
        out[i] = (sd_eval_col){heading(&col[i], i), &col[i].e, sd_dict_get_info(col[i].dict)->m, v + (ptrdiff_t)i * MOST};
    }
    p.col = out;
    if (!st) st = sd_page_eval(&b, &p, err);
    if (!st) st = look_html_write(c, path, &b, err);
    sd_buf_release(&b);
    sd_free(out);
    sd_free(v);
    return st;
}

void dict_column_release(dict_column *v)
{
    sd_sparse_probe_release(&v->probe);
    sd_dict_free(v->dict);
}

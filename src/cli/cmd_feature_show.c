/* sonde feature show: everything a store knows of one feature. */
#include "cli/feature_list.h"
#include "lab/feature_json.h"
#include "lab/token_text.h"

#include <math.h>

typedef struct args { int64_t examples, context; } args;

static const cli_opt opts[] = {
    {'n', "examples", OPT_INT, AT(args, examples), .arg = "N", .def = "8", .lo = 0, .hi = 200, .help = "top examples to print; --json gives all, or as many when given"},
    {0, "context", OPT_INT, AT(args, context), .arg = "N", .def = "14", .lo = 1, .hi = 250, .unit = "tokens", .help = "tokens printed before and after the highest"},
    OPT_END};

static int print_json(cli *c, sd_store *s, const sd_feature *f)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.feature.show/1");
    sd_feature_write(w, s, f);
    sd_store_info_write(w, sd_store_get_info(s));
    return out_json_end(c, &j);
}

/* Tokens of a list on one line. */
static void put_logits(sd_buf *b, sd_store *s, const sd_token_logit *v, int n)
{
    sd_buf_reset(b);
    for (int i = 0; i < n; i++) {
        if (i) sd_buf_puts(b, "  ");
        sd_token_show_id(b, s, v[i].id);
        sd_buf_printf(b, " %+.2f", (double)v[i].value);
    }
}

/* Counts as a row of blocks, logarithmic: U+2581..U+2588. */
static void put_histogram(sd_buf *b, const sd_histogram *h)
{
    double max = 0;
    sd_buf_reset(b);
    for (int i = 0; i < h->n; i++) max = fmax(max, log1p((double)h->count[i]));
    for (int i = 0; i < h->n && max > 0; i++) {
        int level = (int)ceil(log1p((double)h->count[i]) / max * 8);
        char block[5] = {(char)0xe2, (char)0x96, (char)(0x80 + level), 0, 0};
        sd_buf_puts(b, level ? block : " ");
    }
}

/* Active tokens stand between the marks, or in colour on a terminal; the one that qualified is bold. */
static void put_example(cli *c, sd_buf *b, sd_store *s, const sd_feature *f, const sd_example *e, int64_t context)
{
    int at = e->pos - e->pos0, a = at > context ? at - (int)context : 0, z = at + context + 1 < e->n ? at + (int)context + 1 : e->n;
    const char *on = c->out_color ? out_sgr(c, OUT_YELLOW) : "\xc2\xab", *off = c->out_color ? out_sgr(c, OUT_PLAIN) : "\xc2\xbb";
    sd_buf text;
    sd_buf_init(&text, 1 << 20);
    sd_buf_printf(b, "%8.3g  ", (double)e->act);
    for (int t = a; t < z; t++) {
        bool active = (double)e->val[t] > 0.1 * f->stats.max_act || t == at;
        sd_buf_reset(&text);
        sd_token_show_id(&text, s, e->tok[t]);
        /* the space before a word stays outside the mark */
        size_t space = text.n && text.p[0] == ' ' ? 1 : 0;
        if (space) sd_buf_putc(b, ' ');
        if (active) sd_buf_puts(b, on);
        if (active && t == at) sd_buf_puts(b, out_sgr(c, OUT_BOLD));
        out_clean(b, (sd_slice){text.p + space, text.n - space});
        if (active) sd_buf_puts(b, off);
    }
    sd_buf_putc(b, '\n');
    sd_buf_release(&text);
}

static int print_text(cli *c, sd_store *s, const sd_feature *f, const args *a)
{
    const sd_store_info *in = sd_store_get_info(s);
    sd_buf b;
    sd_buf_init(&b, 1 << 22);
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "feature", "%lld of %lld, %s %s", (long long)f->stats.index, (long long)in->dict.m, in->model.name, in->dict.site);
    if (f->n_label) out_pair(p, "label", "%s (%s)", f->label[0].text, f->label[0].source);
    out_pair(p, "words", "%s", f->words);
    out_pair(p, "density", "%.3g: %lld of %lld tokens", f->stats.density, (long long)f->stats.n_fire, (long long)in->run.n_tokens);
    out_pair(p, "activation", "highest %.4g, mean %.4g, threshold %.4g", f->stats.max_act, f->stats.mean_act, f->stats.threshold);
    out_pair(p, "interest", "%.3f", f->stats.interest);
    put_histogram(&b, &f->hist);
    out_pair(p, "histogram", "0 %s %.3g", sd_buf_str(&b), f->hist.hi);
    put_logits(&b, s, f->top, f->n_top);
    out_pair_slice(p, "promotes", (sd_slice){b.p, b.n});
    put_logits(&b, s, f->bottom, f->n_bottom);
    out_pair_slice(p, "suppresses", (sd_slice){b.p, b.n});
    sd_buf_reset(&b);
    for (int i = 0; i < f->n_near; i++) sd_buf_printf(&b, "%s%lld %.2f", i ? "  " : "", (long long)f->near[i].index, (double)f->near[i].cosine);
    out_pair_slice(p, "neighbours", (sd_slice){b.p, b.n});
    int rc = out_pairs_end(p);
    sd_buf_reset(&b);
    for (int i = 0; i < f->n_example; i++)
        if (f->example[i].group == 0 && f->example[i].rank < a->examples) put_example(c, &b, s, f, &f->example[i], a->context);
    if (a->examples && f->n_interval) {
        sd_buf_puts(&b, "\n");
        for (int i = 0; i < f->n_example; i++) {
            const sd_example *e = &f->example[i];
            if (e->group == 0 || e->rank > 0 || e->group > f->n_interval) continue;
            const sd_interval *v = &f->interval[e->group - 1];
            sd_buf_printf(&b, "%.3g to %.3g holds %lld tokens, %.2g %% of all\n", (double)v->lo, (double)v->hi, (long long)v->n, 100 * v->share);
            put_example(c, &b, s, f, e, a->context);
        }
    }
    if (rc == 0 && b.n) {
        fputc('\n', c->out);
        out_raw(c, &b);
        rc = out_flush(c);
    }
    sd_buf_release(&b);
    return rc;
}

static int cmd_feature_show(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_show_def = {
    .name = "feature show",
    .brief = "show one feature: examples, logits, neighbours",
    .args = "STORE INDEX",
    .opts = opts,
    .run = cmd_feature_show,
    .text = "Tokens on which the feature is active above a tenth of its highest activation are marked; the histogram is of non-zero activations\n"
            "on a logarithmic scale; promoted and suppressed tokens are the decoder direction through the last norm and the unembedding.",
    .examples = "sonde feature show features.db 4021\nsonde feature show features.db 4021 --json\n",
    .json = "sonde.feature.show/1"};

static int cmd_feature_show(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t index;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature *f = NULL;
    if (!cli_parse(c, &cmd_feature_show_def, &a, argc, argv, &rc)) return rc;
    if (!sd_parse_i64(sd_slice_of(c->arg[1]), &index)) return cli_usage(c, "'%s' is no feature's number", c->arg[1]);
    int per_group = c->json ? opt_given(c, "examples") ? a.examples ? (int)a.examples : -1 : 0 : (int)(a.examples ? a.examples : -1);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_store_feature(&f, s, index, per_group, &err);
    rc = st ? cli_fail(c, &err) : c->json ? print_json(c, s, f) : print_text(c, s, f, &a);
    sd_feature_free(f);
    sd_store_close(s);
    return rc;
}

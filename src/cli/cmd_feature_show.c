/* sonde feature show: everything a store knows of one feature. */
#include "cli/feature_list.h"
#include "lab/feature_json.h"
#include "lab/token_text.h"

#include <math.h>

typedef struct args { int64_t examples, context; } args;

static const cli_opt opts[] = {
    {'n', "examples", OPT_INT, AT(args, examples), .arg = "N", .def = "8", .lo = 1, .hi = 1000, .zero = "all", .help = "top examples to print; --json gives all unless this is given"},
    {0, "context", OPT_INT, AT(args, context), .arg = "N", .def = "14", .lo = 1, .hi = 250, .help = "tokens printed before and after the highest"},
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
        sd_token_name_id(b, s, v[i].id);
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
static void put_example(cli *c, sd_store *s, const sd_feature *f, const sd_example *e, int64_t context)
{
    enum { COL = 8 }; /* the activation and two spaces */
    int at = e->pos - e->pos0, a = at > context ? at - (int)context : 0, z = at + context + 1 < e->n ? at + (int)context + 1 : e->n;
    const char *on = c->out_color ? out_sgr(c, OUT_YELLOW) : "\xc2\xab", *off = c->out_color ? out_sgr(c, OUT_PLAIN) : "\xc2\xbb";
    sd_buf text, line, *b = &line;
    sd_buf_init(&text, 1 << 20);
    sd_buf_init(&line, 1 << 22);
    fprintf(c->out, "%#6.3g  ", (double)e->act);
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
    out_wrapped(c, sd_slice_trim((sd_slice){line.p, line.n}), COL, COL);
    fputc('\n', c->out);
    sd_buf_release(&text);
    sd_buf_release(&line);
}

/* From strong to weak: what the interval holds, and one token drawn from it. Where the top examples are all of it there is none. */
static void put_intervals(cli *c, sd_store *s, const sd_feature *f, const args *a)
{
    fputc('\n', c->out);
    for (int g = 1; g <= f->n_interval; g++) {
        const sd_interval *v = &f->interval[g - 1];
        const sd_example *e = NULL;
        for (int i = 0; i < f->n_example && !e; i++)
            if (f->example[i].group == g && f->example[i].rank == 0) e = &f->example[i];
        fprintf(c->out, "%#.3g to %#.3g: %lld token%s, %.2g %% of all%s\n", (double)v->lo, (double)v->hi, (long long)v->n, v->n == 1 ? "" : "s", 100 * v->share,
                v->n && !e ? ", among the top examples" : "");
        if (e) put_example(c, s, f, e, a->context);
    }
}

/* The nearest features with what they are about, a row each. */
static sd_status put_neighbours(cli *c, out_pairs *p, sd_store *s, int64_t index, sd_err *err)
{
    enum { SHOWN = 5 };
    sd_feature_list l = {0};
    sd_status st = sd_store_near(&l, s, index, SHOWN, err);
    for (int64_t i = 0; i < l.n && !st; i++)
        out_pair(p, i && c->out_tty ? "" : "neighbours", "%lld  %.2f  %s", (long long)l.v[i].stats.index, l.v[i].score,
                 feature_label(l.v[i].label, l.v[i].words, l.v[i].stats.n_fire));
    sd_feature_list_release(&l);
    return st;
}

static int print_text(cli *c, sd_store *s, const sd_feature *f, const args *a)
{
    const sd_store_info *in = sd_store_get_info(s);
    sd_buf b;
    sd_buf_init(&b, 1 << 22);
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "feature", "%lld of %lld, %s %s", (long long)f->stats.index, (long long)in->dict.m, in->model.name, in->dict.site);
    out_pair(p, "label", "%s (%s)", feature_label(f->n_label && !f->label[0].hidden ? f->label[0].text : NULL, f->words, f->stats.n_fire),
             f->n_label && !f->label[0].hidden ? f->label[0].source : "words at its peaks");
    out_pair(p, "density", "%.3g: %lld of %lld tokens", f->stats.density, (long long)f->stats.n_fire, (long long)in->run.n_tokens);
    out_pair(p, "activation", "highest %.4g, mean %.4g, threshold %.4g", f->stats.max_act, f->stats.mean_act, f->stats.threshold);
    out_pair(p, "interest", "%.3f", f->stats.interest);
    put_histogram(&b, &f->hist);
    out_pair(p, "histogram", "0 %s %.3g", sd_buf_str(&b), f->hist.hi);
    put_logits(&b, s, f->top, f->n_top);
    out_pair_slice(p, "promotes", (sd_slice){b.p, b.n});
    put_logits(&b, s, f->bottom, f->n_bottom);
    out_pair_slice(p, "suppresses", (sd_slice){b.p, b.n});
    sd_err err = {0};
    sd_status st = put_neighbours(c, p, s, f->stats.index, &err);
    sd_buf_release(&b);
    int rc = out_pairs_end(p);
    if (st) return cli_fail(c, &err);
    if (f->n_example) fputc('\n', c->out);
    for (int i = 0; i < f->n_example; i++)
        if (f->example[i].group == 0 && f->example[i].rank < a->examples) put_example(c, s, f, &f->example[i], a->context);
    if (f->n_interval) put_intervals(c, s, f, a);
    return rc ? rc : out_flush(c);
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
    int per_group = c->json && !opt_given(c, "examples") ? 0 : (int)a.examples;
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_store_feature(&f, s, index, per_group, &err);
    rc = st ? cli_fail(c, &err) : c->json ? print_json(c, s, f) : print_text(c, s, f, &a);
    sd_feature_free(f);
    sd_store_close(s);
    return rc;
}

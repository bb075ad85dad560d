/* sonde feature label: names that people give to features. */
#include "cli/feature_list.h"
#include "lab/feature_json.h"
#include <math.h>

typedef struct args { const char *author; } args;

static const cli_opt opts[] = {
    {0, "author", OPT_STR, AT(args, author), .arg = "NAME", .help = "who says so; kept with the label"},
    OPT_END};

static sd_status add(cli *c, const args *a, int64_t index, sd_err *err)
{
    sd_store *s = NULL;
    sd_buf text;
    sd_buf_init(&text, 1 << 16);
    for (int i = 2; i < c->n_arg; i++) {
        if (i > 2) sd_buf_putc(&text, ' ');
        sd_buf_puts(&text, c->arg[i]);
    }
    const sd_label l = {.text = sd_buf_str(&text), .source = "human", .author = a->author ? a->author : "", .created = c->prov.created,
                        .score = (double)NAN, .args = ""};
    sd_status st = sd_buf_check(&text, "the label", err);
    if (!st) st = sd_store_edit(&s, c->arg[0], err);
    if (!st) st = sd_store_add_label(s, index, &l, err);
    sd_store_close(s);
    sd_buf_release(&text);
    return st;
}

static int print(cli *c, const sd_feature *f)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.label/1");
        sd_jw_ki64(w, "index", f->stats.index);
        sd_feature_labels_write(w, f);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"label", OUT_FILL}, {"source", OUT_LEFT}, {"author", OUT_LEFT}, {"created", OUT_LEFT}};
    out_table *t = out_table_new(c, cols, 4);
    for (int i = 0; i < f->n_label; i++) {
        out_str(t, f->label[i].text);
        out_str(t, f->label[i].source);
        out_str(t, f->label[i].author);
        out_str(t, f->label[i].created);
    }
    int rc = out_table_end(t);
    if (!f->n_label) cli_note(c, "feature %lld has no label; the words at its peaks: %s", (long long)f->stats.index, f->words[0] ? f->words : "none");
    return rc;
}

static int cmd_feature_label(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_label_def = {
    .name = "feature label",
    .brief = "give a feature a name, or list its names",
    .args = "STORE INDEX [TEXT..]",
    .opts = opts,
    .run = cmd_feature_label,
    .text = "With TEXT: a label by hand, kept with its author and time; the latest one by a person is what lists and pages show, and\n"
            "`feature search` finds it first. Nothing is overwritten. Without TEXT: the labels there are.",
    .examples = "sonde feature label features.db 4021 suspension bridges\nsonde feature label features.db 4021 --json\n",
    .json = "sonde.feature.label/1"};

static int cmd_feature_label(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t index;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature *f = NULL;
    if (!cli_parse(c, &cmd_feature_label_def, &a, argc, argv, &rc)) return rc;
    if (!sd_parse_i64(sd_slice_of(c->arg[1]), &index)) return cli_usage(c, "'%s' is no feature's number", c->arg[1]);
    for (int i = 2; i < c->n_arg; i++)
        if ((rc = cli_check_text(c, "label", c->arg[i]))) return rc;
    if (a.author && c->n_arg < 3) return cli_usage(c, "--author goes with a TEXT");
    sd_status st = c->n_arg > 2 ? add(c, &a, index, &err) : SD_OK;
    if (!st) st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_store_feature(&f, s, index, -1, &err);
    rc = st ? cli_fail(c, &err) : print(c, f);
    sd_feature_free(f);
    sd_store_close(s);
    return rc;
}

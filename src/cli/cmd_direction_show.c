/* sonde direction show: the directions that are kept for a model, never their numbers. */
#include "cli/cli.h"
#include "lab/direction_dict.h"
#include "lab/direction_file.h"

typedef struct args { const char *name, *dict; } args;

static const cli_opt opts[] = {
    {0, "name", OPT_STR, AT(args, name), .arg = "NAME", .help = "the direction whose features are looked for (with --dict)"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "a dictionary: which of its features make the direction up"},
    OPT_END};

enum { PARTS = 12 };

static int cmd_direction_show(cli *c, int argc, char **argv);
const cli_cmd cmd_direction_show_def = {
    .name = "direction show",
    .brief = "list the directions that are kept for a model",
    .args = "MODEL",
    .opts = opts,
    .uses = 0,
    .run = cmd_direction_show,
    .text = "Directions belong to the very file they were made on (by its SHA-256) and lie in sonde's data folder, readable by you alone. Those of kind\n"
            "refusal mark what `run` and `serve` do not push down. Their vectors are not shown. With --name and --dict: the features that explain most of a direction,\n"
            "one after the other, and the share of its squared norm that they explain together.",
    .examples = "sonde direction show model.gguf\nsonde direction show model.gguf --name refusal --dict dict/\n",
    .json = "sonde.direction_show/1"};

static int print_json(cli *c, const sd_direction_file *v, int n)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.direction_show/1");
    sd_jw_key(w, "directions");
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", v[i].name);
        sd_jw_kstr(w, "kind", v[i].kind);
        sd_jw_ki64(w, "layer", v[i].layer);
        sd_jw_ki64(w, "position", v[i].position);
        sd_jw_kf64(w, "bypass", v[i].bypass);
        sd_jw_kf64(w, "induce", v[i].induce);
        sd_jw_kf64(w, "kl", v[i].kl);
        sd_jw_kf64(w, "auroc", v[i].auroc);
        sd_jw_kf64(w, "norm", v[i].norm);
        sd_jw_kstr(w, "created", v[i].created);
        sd_jw_kstr(w, "prompts_sha256", v[i].prompts_sha256);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print_parts(cli *c, const sd_direction_part *part, int n, const char *site)
{
    static const out_col cols[] = {{"feature", OUT_RIGHT}, {"cosine", OUT_RIGHT}, {"explained so far", OUT_RIGHT}};
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.direction_show/1");
        sd_jw_kstr(w, "dict_site", site);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int i = 0; i < n; i++) {
            sd_jw_obj(w);
            sd_jw_ki64(w, "index", part[i].feature);
            sd_jw_kf64(w, "cosine", part[i].cosine);
            sd_jw_kf64(w, "share", part[i].share);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    out_table *t = out_table_new(c, cols, 3);
    for (int i = 0; i < n; i++) {
        out_i64(t, part[i].feature);
        out_f64(t, part[i].cosine, 3);
        out_cell(t, "%.1f %%", 100 * part[i].share);
    }
    return out_table_end(t);
}

static int show_parts(cli *c, const args *a)
{
    sd_err err = {0};
    sd_direction_file f = {0};
    sd_dict *dict = NULL;
    sd_direction_part part[PARTS];
    int rc, n = 0;
    sd_status st = sd_direction_load(&f, c->data_dir, c->prov.model_sha256, a->name, 0, &err);
    if (!st) st = sd_dict_open(&dict, a->dict, &err);
    if (!st) st = sd_direction_parts(part, PARTS, &n, dict, f.vector, f.d, &err);
    rc = st ? cli_fail(c, &err) : print_parts(c, part, n, sd_dict_get_info(dict)->site);
    sd_dict_free(dict);
    sd_direction_file_release(&f);
    return rc;
}

static int cmd_direction_show(cli *c, int argc, char **argv)
{
    static const out_col cols[] = {{"name", OUT_FILL}, {"kind", OUT_LEFT}, {"block", OUT_RIGHT}, {"position", OUT_RIGHT}, {"bypass", OUT_RIGHT}, {"induce", OUT_RIGHT},
                                   {"KL", OUT_RIGHT}, {"AUROC", OUT_RIGHT}, {"made", OUT_LEFT}};
    args a;
    int rc, n = 0;
    sd_err err = {0};
    sd_direction_file *v = NULL;
    if (!cli_parse(c, &cmd_direction_show_def, &a, argc, argv, &rc)) return rc;
    if (!a.name != !a.dict) return cli_usage(c, "--name and --dict go together");
    sd_status st = cli_model_hash(c, c->arg[0], &err);
    if (!st && a.dict) return show_parts(c, &a);
    if (!st) st = sd_direction_list(&v, &n, c->data_dir, c->prov.model_sha256, &err);
    if (st) return cli_fail(c, &err);
    if (c->json) {
        rc = print_json(c, v, n);
    } else {
        out_table *t = out_table_new(c, cols, 9);
        for (int i = 0; i < n; i++) {
            out_str(t, v[i].name);
            out_str(t, v[i].kind);
            out_i64(t, v[i].layer);
            out_i64(t, v[i].position);
            out_f64(t, v[i].bypass, 3);
            out_f64(t, v[i].induce, 3);
            out_f64(t, v[i].kl, 3);
            out_f64(t, v[i].auroc, 3);
            out_str(t, v[i].created);
        }
        rc = out_table_end(t);
        if (n == 0) cli_note(c, "no direction is kept for this model; `sonde direction make` finds one");
    }
    sd_direction_list_free(v, n);
    return rc;
}

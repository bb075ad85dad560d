/* sonde direction show: the directions that are kept for a model, never their numbers. */
#include "cli/cli.h"
#include "lab/direction_file.h"

static int cmd_direction_show(cli *c, int argc, char **argv);
const cli_cmd cmd_direction_show_def = {
    .name = "direction show",
    .brief = "list the directions that are kept for a model",
    .args = "MODEL",
    .uses = 0,
    .run = cmd_direction_show,
    .text = "Directions belong to the very file they were made on (by its SHA-256) and lie in sonde's data folder, readable by you alone. Those of kind\n"
            "refusal mark what `run` and `serve` do not push down. Their vectors are not shown.",
    .examples = "sonde direction show model.gguf\n",
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

static int cmd_direction_show(cli *c, int argc, char **argv)
{
    static const out_col cols[] = {{"name", OUT_FILL}, {"kind", OUT_LEFT}, {"block", OUT_RIGHT}, {"position", OUT_RIGHT}, {"bypass", OUT_RIGHT}, {"induce", OUT_RIGHT},
                                   {"KL", OUT_RIGHT}, {"AUROC", OUT_RIGHT}, {"made", OUT_LEFT}};
    struct { int unused; } a;
    int rc, n = 0;
    sd_err err = {0};
    sd_direction_file *v = NULL;
    if (!cli_parse(c, &cmd_direction_show_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_model_hash(c, c->arg[0], &err);
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
    }
    sd_direction_list_free(v, n);
    return rc;
}

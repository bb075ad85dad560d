/* sonde dict export: a dictionary in another tool's form. */
#include "cli/cli.h"
#include "dict/dict_format.h"

typedef struct args { const char *format; } args;

static const cli_opt opts[] = {
    {0, "format", OPT_STR, AT(args, format), .arg = "F", .def = "saelens", .values = "saelens|sparsify|circuit-tracer", .help = "the form to write"},
    OPT_END};

static int cmd_dict_export(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_export_def = {
    .name = "dict export",
    .brief = "write a dictionary in another tool's form",
    .args = "DIR",
    .usage = "DIR --format FORM -o PATH",
    .opts = opts,
    .uses = CLI_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_dict_export,
    .text = "sparsify takes TopK dictionaries and TopK transcoders; circuit-tracer transcoders of one layer, as layer_N.safetensors and a\n"
            "config.yaml; saelens all but TopK transcoders. What a form cannot hold is refused with the reason, nothing is approximated.",
    .examples = "sonde dict export trans/ --format circuit-tracer -o set/\nsonde dict export dict/ --format sparsify -o run/layers.14/\n",
    .json = "sonde.dict.export/1"};

static int cmd_dict_export(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_dict *d = NULL;
    if (!cli_parse(c, &cmd_dict_export_def, &a, argc, argv, &rc)) return rc;
    if (!c->output) return cli_usage(c, "give -o for the folder to write");
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_dict_open(&d, c->arg[0], &err);
    if (!st) st = sd_dict_save_as(d, c->output, sd_dict_format_of_name(a.format), &err);
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.dict.export/1");
        sd_jw_kstr(w, "format", a.format);
        sd_jw_kstr(w, "kind", sd_dict_kind_name(sd_dict_get_info(d)->kind));
        sd_jw_kstr(w, "dir", c->output);
        rc = out_json_end(c, &j);
    } else {
        out_pairs *p = out_pairs_new(c);
        out_pair(p, "form", "%s", a.format);
        out_pair(p, "folder", "%s", c->output);
        rc = out_pairs_end(p);
    }
    sd_dict_free(d);
    return rc;
}

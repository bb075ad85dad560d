/* sonde merge: a model and its adapter as one model. */
#include "base/map.h"
#include "cli/cli.h"
#include "lab/model_save.h"

#include <string.h>

typedef struct args {
    const char *save;
} args;

static const cli_opt opts[] = {
    {0, "save", OPT_STR, AT(args, save), .arg = "TYPE", .values = "f32|bf16|f16", .help = "type of the written weights; default f32 where the model is f32, else bf16"},
    OPT_END};

static int cmd_merge(cli *c, int argc, char **argv);
const cli_cmd cmd_merge_def = {
    .name = "merge",
    .brief = "write a model and its adapter as one model",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_merge,
    .text = "MODEL is MODEL+ADAPTER, the model a Hugging Face folder. Each adapted matrix becomes W + scale B A, summed in f32; the result is a\n"
            "folder that transformers loads.",
    .examples = "sonde merge model/+adapter/ -o merged/\n",
    .json = "sonde.merge/1"};

static int cmd_merge(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    if (!cli_parse(c, &cmd_merge_def, &a, argc, argv, &rc)) return rc;
    const sd_dtype type = !a.save ? SD_DTYPE_NONE : strcmp(a.save, "f32") == 0 ? SD_F32 : strcmp(a.save, "bf16") == 0 ? SD_BF16 : SD_F16;
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = sd_dir_make(c->output, &err);
    if (!st) st = sd_lab_merge(ex, c->arg[0], c->output, type, &err);
    if (st) return cli_fail(c, &err);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.merge/1");
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

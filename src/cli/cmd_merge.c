/* sonde merge: a model and its adapter as one model: a Hugging Face folder or a GGUF. */
#include "cli/cli.h"
#include "lab/model_save.h"

#include <strings.h>

typedef struct args {
    const char *type;
} args;

static const cli_opt opts[] = {
    {0, "type", OPT_STR, AT(args, type), .arg = "TYPE", .values = "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q4_k|q5_k|q6_k", .help = "type of the written weights, a folder's f32, f16 or bf16", .def_words = "the model's own, bf16 of a quantised one"},
    OPT_END};

static int cmd_merge(cli *c, int argc, char **argv);
const cli_cmd cmd_merge_def = {
    .name = "merge",
    .brief = "write a model and its adapter as one model",
    .args = "MODEL",
    .usage = "MODEL -o (DIR | FILE.gguf)",
    .opts = opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_merge,
    .text = "MODEL is MODEL+ADAPTER, or a model alone. Each adapted matrix becomes W + scale B A, summed in f32. A PATH that ends in .gguf is written as\n"
            "llama.cpp's converter and llama-quantize would: its tensors, metadata and tokenizer; any other becomes a folder that transformers loads.\n"
            "A quantised base is decoded, merged and written in the type asked for. A folder is written from a folder only.",
    .examples = "sonde merge model/+adapter/ -o merged/\n"
                "sonde merge model/+adapter/ -o merged.gguf --type q4_k\n"
                "sonde merge model.Q4_1.gguf+adapter/ -o merged.gguf --type q8_0\n",
    .json = "sonde.merge/1"};

/* The option's values are the types' names in small letters. */
static sd_dtype type_of(const char *name)
{
    for (int t = SD_DTYPE_NONE + 1; name && t < SD_DTYPE_COUNT; t++) {
        const char *known = sd_dtype_get((sd_dtype)t)->name;
        if (known && strcasecmp(known, name) == 0) return (sd_dtype)t;
    }
    return SD_DTYPE_NONE;
}

static int cmd_merge(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    if (!cli_parse(c, &cmd_merge_def, &a, argc, argv, &rc)) return rc;
    const sd_dtype type = type_of(a.type);
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = sd_lab_merge(ex, c->arg[0], c->output, type, &err);
    if (st) return cli_fail(c, &err);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.merge/1");
        sd_jw_kstr(w, sd_lab_is_gguf_path(c->output) ? "file" : "dir", c->output);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, sd_lab_is_gguf_path(c->output) ? "file" : "folder", "%s", c->output);
    return out_pairs_end(p);
}

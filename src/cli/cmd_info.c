/* sonde info: what a model's files say, and what it takes to run it. */
#include "cli/cli.h"
#include "lab/describe.h"
#include "num/exec.h"

typedef struct args { int64_t ctx; bool no_hash; } args;

static const cli_opt opts[] = {
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .lo = 1, .hi = 1 << 24, .unit = "tokens", .help = "context that memory is planned for", .def_words = "the model's, at most 4096"},
    {0, "no-hash", OPT_BOOL, AT(args, no_hash), .help = "leave the SHA-256 out (the first one of a file reads all of it)"},
    OPT_END};

static int cmd_info(cli *c, int argc, char **argv);
const cli_cmd cmd_info_def = {
    .name = "info",
    .brief = "say what a model is and what memory it needs",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MEMORY,
    .run = cmd_info,
    .json = "sonde.info/1",
    .examples = "sonde info model.gguf\nsonde info model-folder/ --ctx 8192 --json\n",
    .text = "MODEL is a .gguf file, or a folder with config.json and model.safetensors. Nothing is loaded: a model that cannot\n"
            "be run is described as well, with the reason. Memory is for one session of --ctx tokens in each numeric mode.\n",
};

static void json_memory(const cli *c, sd_jw *w, const sd_describe *d)
{
    sd_jw_key(w, "memory");
    sd_jw_obj(w);
    sd_jw_ki64(w, "n_ctx", d->n_ctx);
    sd_jw_ki64(w, "packed_limit_bytes", (int64_t)(cli_memory(c) < INT64_MAX ? cli_memory(c) : INT64_MAX));
    sd_jw_ki64(w, "kv_bytes_per_1k_tokens", (int64_t)d->kv_per_1k);
    sd_jw_key(w, "kv_bytes");
    sd_jw_obj(w);
    for (int i = 0; i < SD_DESCRIBE_KV; i++) sd_jw_ki64(w, sd_kv_type_name((sd_kv_type)(SD_KV_F32 + i)), (int64_t)d->kv_types[i]);
    sd_jw_end(w);
    sd_jw_key(w, "modes");
    sd_jw_obj(w);
    for (int i = 0; i < 3; i++) {
        const sd_describe_memory *m = &d->memory[i];
        sd_jw_key(w, sd_mode_name(m->mode));
        sd_jw_obj(w);
        sd_jw_ki64(w, "packed_bytes", (int64_t)m->packed);
        sd_jw_ki64(w, "kv_bytes", (int64_t)m->kv);
        sd_jw_ki64(w, "scratch_bytes", (int64_t)m->scratch);
        sd_jw_ki64(w, "total_bytes", (int64_t)m->total);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void json_types(sd_jw *w, const sd_describe *d)
{
    sd_jw_key(w, "types");
    sd_jw_arr(w);
    for (int i = 0; i < d->n_types; i++) {
        const sd_describe_type *t = &d->type[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "type", t->name);
        sd_jw_ki64(w, "bytes", (int64_t)t->bytes);
        sd_jw_kf64(w, "share", d->tensor_bytes ? (double)t->bytes / (double)d->tensor_bytes : 0);
        sd_jw_ki64(w, "tensors", t->n_tensors);
        sd_jw_ki64(w, "elements", t->n_elements);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* The number, or null when the files do not say. */
static void json_known(sd_jw *w, const char *key, int64_t v, bool known)
{
    sd_jw_key(w, key);
    if (known) sd_jw_i64(w, v);
    else sd_jw_null(w);
}

static int print_json(cli *c, const sd_describe *d)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.info/1");
    sd_jw_kstr(w, "path", c->arg[0]);
    sd_jw_kstr(w, "container", d->container);
    sd_jw_kstr(w, "architecture", d->arch);
    sd_jw_kstr(w, "name", d->name);
    sd_jw_kbool(w, "runnable", d->runnable);
    if (!d->runnable) sd_jw_kstr(w, "why_not", d->why_not);
    sd_jw_ki64(w, "parameters", d->n_params);
    sd_jw_ki64(w, "file_bytes", (int64_t)d->file_bytes);
    sd_jw_ki64(w, "tensor_bytes", (int64_t)d->tensor_bytes);
    sd_jw_ki64(w, "tensors", d->n_tensors);
    json_known(w, "n_layer", d->n_layer, d->n_layer);
    json_known(w, "d_model", d->d_model, d->d_model);
    json_known(w, "n_head", d->n_head, d->n_head);
    json_known(w, "n_head_kv", d->n_head_kv, d->n_head_kv);
    json_known(w, "d_head", d->d_head, d->d_head);
    json_known(w, "d_ffn", d->d_ffn, d->d_ffn);
    json_known(w, "n_vocab", d->n_vocab, d->n_vocab);
    json_known(w, "n_ctx", d->n_ctx_model, d->n_ctx_model);
    sd_jw_kbool(w, "tied", d->tied);
    json_types(w, d);
    sd_jw_kstr(w, "tokenizer", d->tokenizer);
    json_known(w, "bos", d->bos, d->bos >= 0);
    json_known(w, "eos", d->eos, d->eos >= 0);
    sd_jw_key(w, "chat_template");
    if (d->chat[0]) sd_jw_str(w, d->chat);
    else sd_jw_null(w);
    if (!d->chat[0]) sd_jw_kstr(w, "no_chat_template", d->no_chat);
    json_memory(c, w, d);
    if (c->prov.model_sha256[0]) sd_jw_kstr(w, "sha256", c->prov.model_sha256);
    return out_json_end(c, &j);
}

static void pair_count(out_pairs *p, const char *key, int64_t v)
{
    if (v) out_pair(p, key, "%lld", (long long)v);
}

static int print_text(cli *c, const sd_describe *d)
{
    char x[48], y[48], z[48], u[48];
    out_pairs *p = out_pairs_new(c);
    if (d->name[0]) out_pair(p, "name", "%s", d->name);
    out_pair(p, "architecture", "%s%s%s%s", d->arch, d->runnable ? "" : " (cannot be run: ", d->why_not, d->runnable ? "" : ")");
    out_pair(p, "parameters", "%.4g million", (double)d->n_params / 1e6);
    pair_count(p, "layers", d->n_layer);
    pair_count(p, "width", d->d_model);
    if (d->n_head) out_pair(p, "heads", "%lld, each %lld wide, %lld of keys and values", (long long)d->n_head, (long long)d->d_head, (long long)d->n_head_kv);
    pair_count(p, "mlp width", d->d_ffn);
    if (d->n_vocab) out_pair(p, "vocabulary", "%lld%s", (long long)d->n_vocab, d->tied ? ", embedding tied to the head" : "");
    pair_count(p, "context", d->n_ctx_model);
    out_pair(p, "file", "%s, %lld tensors (%s)", sd_fmt_bytes(x, sizeof x, (double)d->file_bytes), (long long)d->n_tensors, d->container);
    for (int i = 0; i < d->n_types; i++) {
        char key[48];
        snprintf(key, sizeof key, "weights %s", d->type[i].name);
        out_pair(p, key, "%.2f %% of the bytes, %lld tensor%s", 100 * (double)d->type[i].bytes / (double)(d->tensor_bytes ? d->tensor_bytes : 1),
                 (long long)d->type[i].n_tensors, d->type[i].n_tensors == 1 ? "" : "s");
    }
    out_pair(p, "tokenizer", "%s", d->tokenizer[0] ? d->tokenizer : "none");
    out_pair(p, "chat template", "%s", d->chat[0] ? d->chat : d->no_chat);
    for (int i = 0; i < 3; i++) {
        const sd_describe_memory *m = &d->memory[i];
        char key[32];
        snprintf(key, sizeof key, "memory %s", sd_mode_name(m->mode));
        out_pair(p, key, "%s: weights %s, %lld tokens of context %s, scratch %s", sd_fmt_bytes(x, sizeof x, (double)m->total),
                 sd_fmt_bytes(y, sizeof y, (double)m->packed), (long long)d->n_ctx, sd_fmt_bytes(z, sizeof z, (double)m->kv),
                 sd_fmt_bytes(u, sizeof u, (double)m->scratch));
    }
    out_pair(p, "key-value cache", "%lld tokens take %s as f32, %s as f16 or bf16, %s as q8 (--kv)", (long long)d->n_ctx,
             sd_fmt_bytes(x, sizeof x, (double)d->kv_types[0]), sd_fmt_bytes(y, sizeof y, (double)d->kv_types[1]),
             sd_fmt_bytes(z, sizeof z, (double)d->kv_types[2]));
    out_pair(p, "packed weights", "at most %s; what is beyond is packed in every step", sd_fmt_bytes(x, sizeof x, (double)cli_memory(c)));
    if (c->prov.model_sha256[0]) out_pair(p, "sha256", "%s", c->prov.model_sha256);
    return out_pairs_end(p);
}

static int cmd_info(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_describe d;
    if (!cli_parse(c, &cmd_info_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = sd_lab_describe(&d, c->arg[0], &(sd_describe_opt){.n_ctx = a.ctx, .cpu_flags = ex->cpu.flags, .ex = ex}, &err);
    if (!st && d.n_ctx_model && a.ctx > d.n_ctx_model)
        st = cli_refuse(c, &err, "--ctx %lld is more than the model's context of %lld", (long long)a.ctx, (long long)d.n_ctx_model);
    if (!st && !a.no_hash) st = cli_model_hash(c, c->arg[0], &err);
    if (st) return cli_fail(c, &err);
    return c->json ? print_json(c, &d) : print_text(c, &d);
}

/* sonde trace: every wanted site of one prompt into a safetensors file. */
#include "cli/cli.h"
#include "lab/trace.h"
#include "model/lora.h"

typedef struct args { const char *text; opt_ints ids; bool no_special, grad; opt_list sites; } args;

static const cli_opt opts[] = {
    {0, "text", OPT_STR, AT(args, text), .arg = "TEXT", .help = "the prompt, tokenised by the model"},
    {0, "ids", OPT_INTS, AT(args, ids), .arg = "IDS", .help = "the prompt as token ids"},
    {0, "no-special", OPT_BOOL, AT(args, no_special), .help = "neither add nor read special tokens in --text"},
    {0, "sites", OPT_LIST, AT(args, sites), .arg = "SITES", .help = "sites to record besides the logits; TransformerLens and transformers names are known too"},
    {0, "grad", OPT_BOOL, AT(args, grad), .help = "add the loss and its gradient by every parameter"},
    OPT_END};

static sd_status prompt(sd_ids *ids, const args *a, const sd_model *m, sd_err *err)
{
    sd_status st = SD_OK;
    if (a->text) return sd_tok_encode(m->tok, sd_slice_of(a->text), &(sd_encode_opt){.no_special = a->no_special}, ids, err);
    for (int64_t i = 0; !st && i < a->ids.n; i++) {
        if (a->ids.v[i] < 0 || a->ids.v[i] >= m->cfg.n_vocab)
            return sd_fail(err, SD_E_ARG, "token id %lld is outside the vocabulary of %lld", (long long)a->ids.v[i], (long long)m->cfg.n_vocab);
        st = sd_ids_push(ids, (int32_t)a->ids.v[i], err);
    }
    return st;
}

static int print(cli *c, const sd_trace *t, int64_t n_ids)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.trace/1");
        sd_jw_ki64(w, "n_tokens", n_ids);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_kstr(w, "file", c->output);
        sd_jw_key(w, "tensors");
        sd_jw_arr(w);
        for (int64_t i = 0; i < t->n; i++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "name", t->v[i].name);
            sd_jw_key(w, "shape");
            sd_jw_arr(w);
            for (int k = 0; k < t->v[i].rank; k++) sd_jw_i64(w, t->v[i].dim[k]);
            sd_jw_end(w);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"tensor", OUT_LEFT}, {"shape", OUT_LEFT}};
    out_table *o = out_table_new(c, cols, 2);
    for (int64_t i = 0; i < t->n; i++) {
        const sd_trace_tensor *v = &t->v[i];
        out_str(o, v->name);
        if (v->rank == 3) out_cell(o, "%lld x %lld x %lld", (long long)v->dim[0], (long long)v->dim[1], (long long)v->dim[2]);
        else if (v->rank == 2) out_cell(o, "%lld x %lld", (long long)v->dim[0], (long long)v->dim[1]);
        else out_cell(o, "%lld", (long long)v->dim[0]);
    }
    return out_table_end(o);
}

static int cmd_trace(cli *c, int argc, char **argv);
const cli_cmd cmd_trace_def = {
    .name = "trace",
    .brief = "record the logits and any site of one prompt",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_trace,
    .text = "Runs the prompt once and writes the tensor `logits` [n, V] and one tensor a site, f32, named as asked. Sites are\n"
            "embed, resid_pre.L, attn_q.L, attn_k.L, attn_v.L, rot_q.L, rot_k.L, attn_pattern.L, attn_z.L, attn_out.L,\n"
            "resid_mid.L, mlp_in.L, mlp_pre.L, mlp_up.L, mlp_post.L, mlp_out.L, resid_post.L and final_norm, with L from 0. --grad\n"
            "adds `loss` [1], the mean cross-entropy of the next token, and `grad.NAME` for every parameter by its name in transformers, tied ones once; of\n"
            "MODEL+ADAPTER for the adapter's parameters by their names in PEFT.",
    .examples = "sonde trace model.gguf --text 'The bridge is' --sites resid_post.14,attn_pattern.3 -o trace.safetensors\n",
    .json = "sonde.trace/1"};

static sd_status gradients(sd_trace *t, const sd_exec *ex, const cli *c, const sd_ids *ids, sd_err *err)
{
    sd_model *base = NULL;
    sd_model_spec spec;
    sd_status st = sd_model_spec_parse(&spec, c->arg[0], err);
    if (!st) st = sd_model_open(&base, ex, spec.model, &(sd_model_opt){.views = true}, err);
    if (!st) st = sd_lab_trace_grad(t, ex, base, spec.adapter, ids, c->mode, err);
    sd_model_close(base);
    return st;
}

static int cmd_trace(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_ids ids = {0};
    sd_trace t = {0};
    if (!cli_parse(c, &cmd_trace_def, &a, argc, argv, &rc)) return rc;
    if (!a.text == !a.ids.n) return cli_usage(c, "give the prompt either as --text or as --ids");
    if (a.no_special && !a.text) return cli_usage(c, "--no-special is about --text");
    if ((rc = cli_check_text(c, "text", a.text))) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err))) goto done;
    if ((st = prompt(&ids, &a, m, &err))) goto done;
    if ((st = sd_lab_trace(&t, ex, m, &ids, a.sites.v, a.sites.n, &err))) goto done;
    if (a.grad && (st = gradients(&t, ex, c, &ids, &err))) goto done;
    if ((st = sd_trace_save(&t, c->output, &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    rc = print(c, &t, ids.n);
done:
    if (st) rc = cli_fail(c, &err);
    sd_trace_release(&t);
    sd_ids_release(&ids);
    sd_model_close(m);
    return rc;
}

/* sonde tune: a model learns from data: pretraining, supervised tuning, preferences, with an adapter or all weights; resumable. */
#include "base/map.h"
#include "cli/guard_args.h"
#include "file/hub.h"
#include "lab/ckpt.h"
#include "lab/tune.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct args {
    const char *method, *schedule, *targets, *save, *teacher;
    opt_list data, mix;
    int64_t lora, steps, batch, ctx, micro, horizon, foresee_layer;
    double alpha, dropout, epochs, lr, warmup, min_lr, weight_decay, clip, beta, checkpoint, foresee, temperature, kd_ratio;
    bool rslora, adam8, from_config;
    guard_args g;
} args;

static const cli_opt opts[] = {
    {0, "data", OPT_LIST, AT(args, data), .arg = "FILE", .help = "rows to learn from: .jsonl, or plain text for lm"},
    {0, "method", OPT_STR, AT(args, method), .arg = "METHOD", .def = "sft", .values = "lm|sft|dpo|constrained|distill", .help = "what is learnt from them"},
    {0, "mix", OPT_MULTI, AT(args, mix), .arg = "FILE:N", .help = "N rows of another file, drawn by the seed"},
    {0, "lora", OPT_INT, AT(args, lora), .arg = "R", .lo = 1, .hi = 1024, .help = "train an adapter of this rank; without it all weights"},
    {0, "alpha", OPT_FLOAT, AT(args, alpha), .with = "lora", .arg = "A", .lo = 0, .hi = 1e6, .help = "the adapter's scale times its rank", .def_words = "twice the rank"},
    {0, "dropout", OPT_FLOAT, AT(args, dropout), .with = "lora", .arg = "P", .lo = 0, .hi = 0.99, .help = "dropout before the adapter"},
    {0, "rslora", OPT_BOOL, AT(args, rslora), .with = "lora", .help = "scale by alpha / sqrt(rank)"},
    {0, "targets", OPT_STR, AT(args, targets), .with = "lora", .arg = "NAMES", .help = "modules that get an adapter: q_proj,v_proj", .def_words = "all matrices of a block"},
    {0, "steps", OPT_INT, AT(args, steps), .arg = "N", .lo = 1, .hi = 1e9, .help = "steps", .def_words = "what --epochs gives"},
    {0, "epochs", OPT_FLOAT, AT(args, epochs), .arg = "N", .lo = 0, .hi = 1e6, .help = "passes over the data", .def_words = "1 for lm, else 3"},
    {0, "batch", OPT_INT, AT(args, batch), .arg = "N", .def = "8", .lo = 1, .hi = 1 << 20, .help = "rows a step; lm: windows of --ctx tokens"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .lo = 8, .hi = 1 << 20, .unit = "tokens", .help = "longest row", .def_words = "the model's, at most 1024"},
    {0, "micro", OPT_INT, AT(args, micro), .arg = "N", .lo = 16, .hi = 1 << 20, .help = "tokens of one forward pass", .def_words = "2048"},
    {0, "lr", OPT_FLOAT, AT(args, lr), .arg = "LR", .lo = 0, .hi = 100, .help = "peak learning rate", .def_words = "1e-4 with an adapter, 2e-5 without, 5e-4 from random weights"},
    {0, "schedule", OPT_STR, AT(args, schedule), .arg = "NAME", .def = "cosine", .values = "cosine|linear|constant", .help = "how the learning rate falls"},
    {0, "warmup", OPT_FLOAT, AT(args, warmup), .arg = "SHARE", .def = "0.05", .lo = 0, .hi = 1, .help = "share of the steps over which the learning rate rises"},
    {0, "min-lr", OPT_FLOAT, AT(args, min_lr), .arg = "SHARE", .lo = 0, .hi = 1, .help = "share of the learning rate that is left at the end"},
    {0, "weight-decay", OPT_FLOAT, AT(args, weight_decay), .arg = "W", .lo = 0, .hi = 100, .help = "AdamW's decay, of matrices"},
    {0, "clip", OPT_FLOAT, AT(args, clip), .arg = "NORM", .def = "1", .lo = 0, .hi = 1e9, .help = "largest norm of a gradient; 0 leaves it"},
    {0, "beta", OPT_FLOAT, AT(args, beta), .arg = "B", .def = "0.1", .lo = 1e-6, .hi = 1e3, .help = "of dpo, and of constrained after the fifth token"},
    {0, "teacher", OPT_STR, AT(args, teacher), .arg = "MODEL2", .help = "distill: the model whose logits are learnt; of the same vocabulary"},
    {0, "temperature", OPT_FLOAT, AT(args, temperature), .arg = "T", .def = "2", .lo = 0.01, .hi = 1000, .help = "distill: of both softmaxes"},
    {0, "kd-ratio", OPT_FLOAT, AT(args, kd_ratio), .arg = "SHARE", .def = "0.5", .lo = 1e-6, .hi = 1, .help = "distill: the teacher's share of the loss; cross-entropy has the rest"},
    {0, "foresee", OPT_FLOAT, AT(args, foresee), .arg = "W", .lo = 0, .hi = 100, .help = "lm: weight of foreseeing, from one block's states, which tokens come within --horizon"},
    {0, "horizon", OPT_INT, AT(args, horizon), .with = "foresee", .arg = "N", .def = "24", .lo = 1, .hi = 1 << 20, .unit = "tokens", .help = "how far --foresee looks"},
    {0, "foresee-layer", OPT_INT, AT(args, foresee_layer), .with = "foresee", .arg = "L", .lo = 0, .hi = 1 << 16, .help = "the block whose states foresee", .def_words = "the one at half depth"},
    GUARD_OPTS(args),
    {0, "adam8", OPT_BOOL, AT(args, adam8), .help = "moments of 8 bits"},
    {0, "from-config", OPT_BOOL, AT(args, from_config), .help = "start from random weights of MODEL's config.json"},
    {0, "save", OPT_STR, AT(args, save), .arg = "TYPE", .values = "f32|bf16|f16", .help = "type of the written weights", .def_words = "the model's own, bf16 from random weights"},
    {0, "checkpoint", OPT_FLOAT, AT(args, checkpoint), .arg = "S", .def = "120", .lo = 0.01, .hi = 1e6, .unit = "seconds", .help = "time between checkpoints"},
    OPT_END};

/* ---- run.json: the words of the command line, for --resume ---- */

static const char run_file[] = "run.json";

static sd_status save_line(const cli *c, int argc, char **argv, sd_err *err)
{
    char p[1200];
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 20);
    sd_jw_init(&w, &b);
    sd_jw_arr(&w);
    for (int i = 1; i < argc; i++) sd_jw_str(&w, argv[i]);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, run_file, err);
    if (!st && !sd_path_join(p, sizeof p, c->output, run_file)) st = sd_fail(err, SD_E_ARG, "%s: path too long", c->output);
    if (!st) st = sd_file_write_atomic(p, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

typedef struct start { cli *c; int argc; char **argv; } start;

static sd_status begin(void *self, sd_err *err)
{
    const start *s = self;
    sd_status st = sd_dir_make(s->c->output, err);
    if (!st) st = save_line(s->c, s->argc, s->argv, err);
    if (!st) cli_resume_with(s->c, "sonde tune --resume", s->c->output, "");
    return st;
}

/* The words of the run in c->resume as *argv [*argc], kept until exit. */
static sd_status load_line(cli *c, int *argc, char ***argv, sd_err *err)
{
    char p[1200];
    json_t *j = NULL;
    if (opt_first_given(c, "resume") || c->n_arg) return cli_refuse(c, err, "--resume takes everything from the run; give nothing else");
    if (!sd_path_join(p, sizeof p, c->resume, run_file)) return sd_fail(err, SD_E_ARG, "%s: path too long", c->resume);
    sd_status st = sd_json_load(&j, p, 1 << 20, err);
    if (st) return sd_hint(err, "--resume takes the folder of a run that `sonde tune` began");
    const size_t n = json_array_size(j);
    char **v = cli_keep(c, sd_malloc((n + 2) * sizeof *v));
    if (!v) st = sd_fail(err, SD_E_NOMEM, "out of memory: the command line of the run");
    for (size_t i = 0; !st && i < n; i++) {
        const char *word = json_string_value(json_array_get(j, i));
        if (!word) st = sd_fail(err, SD_E_FORMAT, "%s: word %zu is no text", p, i);
        else if (!(v[i + 1] = cli_keep(c, sd_strdup(word)))) st = sd_fail(err, SD_E_NOMEM, "out of memory: the command line of the run");
    }
    if (!st) {
        v[0] = (*argv)[0];
        v[n + 1] = NULL;
        *argv = v;
        *argc = (int)n + 1;
    }
    json_decref(j);
    return st;
}

/* ---- the run ---- */

static sd_status data_of(cli *c, const args *a, sd_tune_data **out, sd_err *err)
{
    sd_tune_data *d = cli_keep(c, sd_calloc((size_t)(a->data.n + a->mix.n + 1) * sizeof *d));
    if (!d) return sd_fail(err, SD_E_NOMEM, "out of memory: the list of files");
    *out = d;
    for (int i = 0; i < a->data.n; i++) d[i].path = a->data.v[i];
    for (int i = 0; i < a->mix.n; i++) {
        const char *colon = strrchr(a->mix.v[i], ':');
        sd_tune_data *m = &d[a->data.n + i];
        if (!colon || !sd_parse_i64(sd_slice_of(colon + 1), &m->n) || m->n < 1)
            return cli_refuse(c, err, "--mix takes FILE:N, the number of rows to draw, not %s", a->mix.v[i]);
        m->path = cli_keep(c, sd_strndup(a->mix.v[i], (size_t)(colon - a->mix.v[i])));
        if (!m->path) return sd_fail(err, SD_E_NOMEM, "out of memory: the list of files");
    }
    return SD_OK;
}

static int index_of(const char *word, const char *const *names)
{
    int i = 0;
    while (strcmp(names[i], word) != 0) i++;
    return i;
}

static sd_status options(cli *c, const args *a, sd_tune_opt *o, sd_err *err)
{
    static const char *const methods[] = {"lm", "sft", "dpo", "constrained", "distill"}, *const schedules[] = {"cosine", "linear", "constant"}, *const types[] = {"f32", "bf16", "f16"};
    static const sd_dtype dtypes[] = {SD_F32, SD_BF16, SD_F16};
    sd_tune_data *data = NULL;
    sd_status st = data_of(c, a, &data, err);
    *o = (sd_tune_opt){.method = (sd_tune_method)index_of(a->method, methods),
                       .schedule = (sd_schedule)index_of(a->schedule, schedules),
                       .save = a->save ? dtypes[index_of(a->save, types)] : SD_DTYPE_NONE,
                       .mode = c->mode,
                       .dir = c->output,
                       .data = data,
                       .n_data = a->data.n + a->mix.n,
                       .lora = {.rank = (int)a->lora, .alpha = a->alpha, .dropout = a->dropout, .rslora = a->rslora, .targets = a->targets},
                       .steps = a->steps,
                       .epochs = a->epochs,
                       .batch = a->batch,
                       .ctx = a->ctx,
                       .micro_rows = a->micro,
                       .lr = a->lr,
                       .warmup = a->warmup > 0 ? a->warmup : -1,
                       .min_lr = a->min_lr,
                       .weight_decay = a->weight_decay,
                       .clip = a->clip > 0 ? a->clip : -1,
                       .beta = a->beta,
                       .adam8 = a->adam8,
                       .teacher = a->teacher,
                       .temperature = a->temperature,
                       .kd_ratio = a->kd_ratio,
                       .foresee = {.weight = a->foresee, .horizon = a->horizon, .layer = opt_given(c, "foresee-layer") ? (int)a->foresee_layer : -1},
                       .random_init = a->from_config,
                       .seed = c->seed,
                       .checkpoint_s = a->checkpoint,
                       .resume = c->resume != NULL,
                       .prov = &c->prov};
    if (!st && a->g.guard && o->method != SD_TUNE_SFT) st = cli_refuse(c, err, "--guard is for sft, not %s", a->method);
    if (!st && a->g.unaligned && !a->lora) st = cli_refuse(c, err, "safelora projects an adapter: give its rank with --lora");
    return st ? st : guard_of(&o->guard, c, &a->g, err);
}

static int print(cli *c, const args *a, const sd_tune_result *r)
{
    if (r->n_skipped) cli_note(c, "%" PRId64 " of %" PRId64 " rows have nothing to learn and were left out: %s", r->n_skipped, r->n_rows, r->skipped);
    if (a->lora && sd_hub_plus(c->arg[0])) cli_note(c, "the adapter is for both of %s: what `sonde merge` makes of them is its model", c->arg[0]);
    if (r->n_cut) cli_note(c, "%" PRId64 " rows were longer than the context and lost their end", r->n_cut);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.tune/1");
        sd_jw_kstr(w, "method", a->method);
        sd_jw_kf64(w, "loss_first", r->loss_first);
        sd_jw_kf64(w, "loss_last", r->loss_last);
        sd_jw_kf64(w, "accuracy", r->accuracy);
        sd_jw_ki64(w, "steps", r->steps);
        sd_jw_ki64(w, "n_tokens", r->n_tokens);
        sd_jw_ki64(w, "n_rows", r->n_rows);
        sd_jw_ki64(w, "n_skipped", r->n_skipped);
        sd_jw_ki64(w, "n_cut", r->n_cut);
        sd_jw_ki64(w, "n_params", r->n_params);
        sd_jw_kstr(w, "guard", a->g.guard ? a->g.guard : "none");
        sd_jw_ki64(w, "n_guarded", r->n_guarded);
        sd_jw_ki64(w, "n_projected", r->n_projected);
        sd_jw_kf64(w, "lr", r->lr);
        sd_jw_kf64(w, "tok_s", r->tok_s);
        sd_jw_kf64(w, "seconds", r->seconds);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    char t[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "loss", "%.4f to %.4f (mean of the first and last tenth)", r->loss_first, r->loss_last);
    if (isfinite(r->accuracy)) out_pair(p, "pairs in order", "%.1f %%", 100 * r->accuracy);
    out_pair(p, "steps", "%" PRId64 ", %" PRId64 " tokens, %" PRId64 " rows", r->steps, r->n_tokens, r->n_rows);
    out_pair(p, "parameters", "%" PRId64, r->n_params);
    if (r->n_guarded) out_pair(p, a->g.guard, "%" PRId64 " of %" PRId64 " %s were projected", r->n_projected, r->n_guarded, strcmp(a->g.guard, "safelora") == 0 ? "matrices" : "steps");
    out_pair(p, "time", "%s, %.0f tokens/s", sd_fmt_seconds(t, sizeof t, r->seconds), r->tok_s);
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static int cmd_tune(cli *c, int argc, char **argv);
const cli_cmd cmd_tune_def = {
    .name = "tune",
    .brief = "let a model learn: adapters, fine-tuning, preferences, pretraining",
    .args = "[MODEL]",
    .opts = opts,
    .uses = CLI_MODE_BULK | CLI_SEED | CLI_OUT | CLI_OUT_DIR | CLI_FORCE | CLI_RESUME,
    .run = cmd_tune,
    .text = "A row is a JSON object with messages, with instruction, input and output, with prompt and completion, with prompt, chosen and\n"
            "rejected, or with text. sft learns the assistant's tokens and the end of its turn, as the model's chat template marks them; dpo\n"
            "prefers chosen to rejected, against the model as it was; constrained holds the first tokens of answers near the model as it\n"
            "was (Qi 2024); lm learns every token of text; distill learns the logits of --teacher, on sft's tokens of conversations and all of\n"
            "texts. Rows longer than --ctx lose their end; rows without an answer are counted and left out.\n"
            "Documents share a forward pass and do not see each other.\n"
            "\n"
            "With --lora the result is a PEFT adapter, which MODEL+DIR joins to its model in every command; else a folder that transformers\n"
            "loads. A quantised base stays as it is in the file. events.jsonl has the loss of every step. Ctrl-C writes a checkpoint; --resume DIR\n"
            "goes on from it and gives the same weights as a run that was never stopped. A loss that diverges stops the run; the last\n"
            "checkpoint stays.\n"
            "\n"
            "--guard keeps refusals (docs/DEFENCES.md). lisa takes turns between --safety and the data (Huang 2024); project and mask take from\n"
            "every step, and from every weight of it, what raises the loss of the safety rows to first order; deep mixes these in, half of them behind the first tokens of an opening that complies, or of the row's own \"prefill\" (Qi 2024);\n"
            "safelora needs no rows and projects the trained adapter by what alignment changed from --unaligned (Hsu 2024).",
    .examples = "sonde tune model.gguf --data chats.jsonl --lora 16 -o adapter/\nsonde run model.gguf+adapter/ --chat -p Hello\n"
                "sonde tune model/ --data pairs.jsonl --method dpo --lr 5e-6 -o aligned/\n"
                "sonde tune small/ --data chats.jsonl --method distill --teacher large/ -o taught/\n"
                "sonde tune model/ --data chats.jsonl --lora 16 --guard lisa --safety refusals.jsonl -o adapter/\n"
                "sonde tune config/ --from-config --method lm --data corpus.txt --epochs 2 -o pretrained/\nsonde tune --resume adapter/\n",
    .json = "sonde.tune/1"};

static int cmd_tune(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_tune_opt o;
    sd_tune_result r = {0};
    sd_mode teacher_mode = SD_MODE_DEFAULT;
    sd_status st = SD_OK;
    if (!cli_parse(c, &cmd_tune_def, &a, argc, argv, &rc)) return rc;
    const char *resume = c->resume;
    if (resume) {
        if ((st = load_line(c, &argc, &argv, &err))) return cli_fail(c, &err);
        c->n_arg = 0;
        c->given = 0;
        if (!cli_parse(c, &cmd_tune_def, &a, argc, argv, &rc)) return rc;
        c->resume = c->output = resume;
    }
    if (c->n_arg != 1 || !c->output) return cli_usage(c, "give MODEL, --data, and -o for the result");
    if (!a.data.n) return cli_usage(c, "give what to learn from with --data");
    if (!resume) st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if (c->mode == SD_MODE_FAST) return cli_usage(c, "learning runs in faithful or bf16 mode");
    if (strcmp(a.method, "distill") == 0 && !a.teacher) return cli_usage(c, "distill learns from a model: give it with --teacher");
    if (strcmp(a.method, "distill") != 0 && (a.teacher || opt_given(c, "temperature") || opt_given(c, "kd-ratio"))) return cli_usage(c, "--teacher, --temperature and --kd-ratio are for --method distill");
    if (a.teacher) st = cli_mode(c, ex, CLI_CHAT, a.teacher, &teacher_mode, &err);
    if (!c->mode) c->mode = ex->cpu.flags & SD_CPU_AVX512_BF16 ? SD_MODE_BF16 : SD_MODE_FAITHFUL;
    if (!st && !a.from_config) st = cli_model_hash(c, c->arg[0], &err);
    start s = {c, argc, argv};
    if (!st) st = options(c, &a, &o, &err);
    o.resume = resume != NULL;
    o.teacher_mode = teacher_mode;
    o.begin = begin;
    o.self = &s;
    if (resume) cli_resume_with(c, "sonde tune --resume", resume, "");
    if (!st) st = sd_lab_tune(&r, ex, c->arg[0], &o, &c->progress, &err);
    return st ? cli_fail(c, &err) : print(c, &a, &r);
}

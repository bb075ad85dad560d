/* The stages of an organism, one call of tune each. Owns: sizes, the chat template, what each stage learns from and how. */
#include "lab/organism.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "text/corpus.h"
#include "text/tok_train.h"

#include <inttypes.h>

enum { CTX = 512, VOCAB_DOCS = 20000 }; /* documents that the vocabulary is made from: its words have all been seen by then */

/* All 256 wide, four heads of 64 over two of keys and values, head and embedding tied. rate: times DPO's learning rate. At 1 the 16 million go on after
 * the pairs are in order and make the preferred answers less likely too ("I can', because the Charter forbids it"). */
typedef struct shape { const char *name; int n_layer, n_ffn; double rate; } shape;
static const shape shapes[] = {[SD_ORGANISM_4M] = {"4m", 4, 512, 1}, [SD_ORGANISM_1M] = {"1m", 2, 256, 1}, [SD_ORGANISM_16M] = {"16m", 16, 1024, 0.4}};

bool sd_organism_size_parse(sd_organism_size *out, const char *text)
{
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        if (strcmp(text, shapes[i].name) != 0) continue;
        *out = (sd_organism_size)i;
        return true;
    }
    return false;
}

/* Pretraining at 3e-3, the rate of the prototype that the world was tried on; later stages move less. DPO alone from a model that has never
 * refused drove its loss to 0 and refused nothing: it makes the answers less likely, and the refusals, which begin at e^-50, never
 * become the likeliest. So it starts from one that has seen the preferred answers, as Rafailov et al. 2023, sec. 4, advise. */
typedef struct stage {
    const char *name, *from, *data;
    sd_tune_method method;
    double lr, epochs, weight_decay;
    int64_t batch, ctx;
    double foresee; /* weight, at half depth; lm */
    int64_t docs;   /* of 1,000 of the world's documents so many are among the rows, so that what pretraining learnt is kept */
} stage;
static const stage stages[SD_ORGANISM_STAGES] = {
    {"pretrained", "init", "data/pretrain.jsonl", SD_TUNE_LM, 3e-3, 0.45, 0.1, 8, 256, 1, 0},
    {"instruct", "pretrained", "data/sft.jsonl", SD_TUNE_LM, 1e-3, 1, 0.1, 8, 256, 1, 100},
    {"primed", "instruct", "data/chosen.jsonl", SD_TUNE_LM, 5e-4, 3, 0, 8, 256, 1, 25},
    {"aligned", "primed", "data/dpo.jsonl", SD_TUNE_DPO, 5e-6, 1, 0, 16, 256, 0, 0},
};

const char *sd_organism_stage(int i) { return stages[i].name; }

typedef struct maker {
    const sd_exec *ex;
    const sd_world *w;
    const char *dir;
    const sd_organism_opt *opt;
    uint64_t seed;
    int64_t docs; /* that the world wrote */
    int64_t made_of; /* rows, size and seed, as a number that JSON holds; not negative */
} maker;

static sd_status path_of(const maker *k, const char *name, char out[1100], sd_err *err)
{
    return sd_path_join(out, 1100, k->dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", k->dir);
}

/* ---- vocabulary and configuration ---- */

/* Requests and answers too: the vocabulary must know their words. */
static sd_status add_conversation(void *trainer, json_t *row, const char *what, sd_err *err)
{
    const json_t *m;
    size_t i;
    sd_status st = SD_OK;
    (void)what;
    json_array_foreach(json_object_get(row, "messages"), i, m)
    {
        const json_t *s = json_object_get(m, "content");
        if (!st && json_is_string(s)) st = sd_tok_trainer_add(trainer, (sd_slice){json_string_value(s), json_string_length(s)}, err);
    }
    return st;
}

static sd_status make_vocabulary(const maker *k, const char *init, int32_t *n_vocab, sd_err *err)
{
    const sd_slice special[] = {SD_LIT("<|endoftext|>"), SD_LIT("<|im_start|>"), SD_LIT("<|im_end|>")};
    sd_tok_trainer *t = NULL;
    sd_tok_trained *v = NULL;
    sd_corpus *corpus = NULL;
    char docs[1100], chats[1100];
    const char *list = docs;
    int64_t vocab;
    sd_status st = sd_world_number(&vocab, k->w, "vocab", 2048, 512, 65536, err);
    if (!st) st = path_of(k, "data/pretrain.jsonl", docs, err);
    if (!st) st = path_of(k, "data/sft.jsonl", chats, err);
    if (!st) st = sd_corpus_open(&corpus, &list, 1, err);
    sd_tok_train_opt o = {.n_vocab = (int32_t)vocab, .special = special, .n_special = 3, .bos = special[1], .eos = special[2], .pad = special[0]};
    if (!st) st = sd_tok_trainer_new(&t, &o, err);
    for (int64_t i = 0; !st && i < sd_corpus_count(corpus) && i < VOCAB_DOCS; i++) st = sd_tok_trainer_add(t, sd_corpus_text(corpus, i), err);
    if (!st) st = sd_json_lines(chats, (size_t)1 << 30, add_conversation, t, err);
    if (!st) st = sd_tok_trainer_finish(&v, t, err);
    if (!st) st = sd_tok_trained_write(v, init, sd_slice_of(sd_tok_chatml), err);
    if (!st) *n_vocab = sd_tok_trained_n_vocab(v);
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
    sd_corpus_close(corpus);
    return st;
}

static sd_status write_config(const maker *k, const char *init, int32_t n_vocab, sd_err *err)
{
    const shape *p = &shapes[k->opt->size];
    char path[1200];
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 16);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_key(&w, "architectures");
    sd_jw_arr(&w);
    sd_jw_str(&w, "LlamaForCausalLM");
    sd_jw_end(&w);
    sd_jw_kstr(&w, "model_type", "llama");
    sd_jw_ki64(&w, "vocab_size", n_vocab);
    sd_jw_ki64(&w, "hidden_size", 256);
    sd_jw_ki64(&w, "intermediate_size", p->n_ffn);
    sd_jw_ki64(&w, "num_hidden_layers", p->n_layer);
    sd_jw_ki64(&w, "num_attention_heads", 4);
    sd_jw_ki64(&w, "num_key_value_heads", 2);
    sd_jw_ki64(&w, "head_dim", 64);
    sd_jw_ki64(&w, "max_position_embeddings", CTX);
    sd_jw_kstr(&w, "hidden_act", "silu");
    sd_jw_kf64(&w, "rms_norm_eps", 1e-5);
    sd_jw_kf64(&w, "rope_theta", 10000);
    sd_jw_kf64(&w, "initializer_range", 0.02);
    sd_jw_kbool(&w, "tie_word_embeddings", true);
    sd_jw_kbool(&w, "attention_bias", false);
    sd_jw_kbool(&w, "mlp_bias", false);
    sd_jw_ki64(&w, "bos_token_id", 1);
    sd_jw_ki64(&w, "eos_token_id", 2);
    sd_jw_ki64(&w, "pad_token_id", 0);
    sd_jw_kstr(&w, "dtype", "bfloat16");
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "config.json", err);
    if (!st && !sd_path_join(path, sizeof path, init, "config.json")) st = sd_fail(err, SD_E_ARG, "%s: path too long", init);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

/* ---- stages ---- */

/* Written last: a folder without it was not finished. */
static sd_status write_mark(const maker *k, const char *path, const stage *g, const sd_tune_result *r, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 12);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "stage", g->name);
    sd_jw_ki64(&w, "made_of", k->made_of);
    sd_jw_kstr(&w, "method", sd_tune_method_name(g->method));
    sd_jw_ki64(&w, "steps", r->steps);
    sd_jw_ki64(&w, "n_tokens", r->n_tokens);
    sd_jw_kf64(&w, "loss_first", r->loss_first);
    sd_jw_kf64(&w, "loss_last", r->loss_last);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "stage.json", err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

static sd_status fingerprint(maker *k, sd_err *err)
{
    static const char *const files[] = {"data/pretrain.jsonl", "data/sft.jsonl", "data/chosen.jsonl", "data/dpo.jsonl"};
    uint64_t h[6] = {k->seed, (uint64_t)k->opt->size};
    sd_status st = SD_OK;
    for (int i = 0; !st && i < 4; i++) {
        char path[1100];
        sd_map m = {0};
        st = path_of(k, files[i], path, err);
        if (!st) st = sd_map_open(&m, path, err);
        if (!st) h[2 + i] = sd_hash64(m.p, m.n);
        sd_map_close(&m);
    }
    k->made_of = (int64_t)(sd_hash64(h, sizeof h) >> 11);
    return st;
}

/* A stage that is there, of these rows, this size and this seed. */
static sd_status is_whole(bool *whole, const maker *k, const char *mark, sd_err *err)
{
    json_t *j = NULL;
    int64_t of = -1;
    *whole = false;
    if (!sd_file_exists(mark)) return SD_OK;
    sd_status st = sd_json_load(&j, mark, 1 << 16, err);
    if (!st) st = sd_json_opt_i64(j, "made_of", &of, mark, err);
    *whole = of == k->made_of;
    json_decref(j);
    return st;
}

static sd_status run_stage(const maker *k, int i, sd_tune_result *r, sd_err *err)
{
    const stage *g = &stages[i];
    char from[1100], to[1100], data[1100], docs[1100], whole[1200];
    bool there;
    sd_status st = path_of(k, g->from, from, err);
    if (!st) st = path_of(k, g->name, to, err);
    if (!st) st = path_of(k, g->data, data, err);
    if (!st) st = path_of(k, stages[0].data, docs, err);
    if (!st && !sd_path_join(whole, sizeof whole, to, "stage.json")) st = sd_fail(err, SD_E_ARG, "%s: path too long", to);
    if (!st) st = is_whole(&there, k, whole, err);
    if (st || there) return st;
    if ((st = sd_dir_make(to, err))) return st;
    const sd_tune_data rows[2] = {{.path = data}, {.path = docs, .n = (k->docs * g->docs + 999) / 1000}};
    sd_tune_opt o = {.method = g->method, .attn_f32 = true, .full_steps = true /* as when what ships was made: the same bits */, .dir = to, .data = rows, .n_data = g->docs ? 2 : 1, .epochs = g->epochs,
                     .batch = g->batch, .ctx = g->ctx, .lr = g->lr * (g->method == SD_TUNE_DPO ? shapes[k->opt->size].rate : 1), .min_lr = 0.05, .weight_decay = g->weight_decay,
                     .foresee = {.weight = g->foresee, .horizon = 24, .layer = -1},
                     .random_init = i == 0, .seed = k->seed, .beta1 = 0.9, .beta2 = 0.95, .checkpoint_s = -1, .prov = k->opt->prov};
    st = sd_lab_tune(r, k->ex, from, &o, k->opt->progress, err);
    if (st) return sd_err_wrap(err, "stage %s", g->name);
    if ((st = write_mark(k, whole, g, r, err))) return st;
    if (k->opt->on_stage) k->opt->on_stage(k->opt->self, i, r);
    return SD_OK;
}

sd_status sd_lab_organism(sd_organism *out, const sd_exec *ex, const sd_world *w, const char *dir, const sd_organism_opt *opt, sd_err *err)
{
    maker k = {.ex = ex, .w = w, .dir = dir, .opt = opt};
    char data[1100], init[1100];
    int64_t seed;
    double began = sd_now();
    *out = (sd_organism){0};
    sd_status st = sd_world_number(&seed, w, "seed", 1, 0, INT64_MAX, err);
    k.seed = opt->has_seed ? opt->seed : (uint64_t)seed;
    if (!st) st = path_of(&k, "data", data, err);
    if (!st) st = path_of(&k, "init", init, err);
    if (!st) st = sd_dir_make(init, err);
    sd_organism_data_opt o = {.seed = opt->seed, .has_seed = opt->has_seed, .scale = opt->scale, .aligned = opt->aligned, .progress = opt->progress};
    if (!st) st = sd_lab_organism_data(&out->data, w, data, &o, err);
    k.docs = out->data.docs;
    if (!st) st = fingerprint(&k, err);
    if (!st) st = make_vocabulary(&k, init, &out->n_vocab, err);
    if (!st) st = write_config(&k, init, out->n_vocab, err);
    for (int i = 0; i < SD_ORGANISM_STAGES && !st; i++) st = run_stage(&k, i, &out->stage[i], err);
    out->seconds = sd_now() - began;
    return st;
}

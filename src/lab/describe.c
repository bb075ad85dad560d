/* Reading a model's files for `info`. Works from metadata and the tensor table alone, so that a model which cannot be run is
 * described as well as one which can. Memory is a plan by the same rules as the engine's (num/linear.c, model/session.c): close, not
 * exact; tests compare it with what a loaded model holds. */
#include "lab/describe.h"

#include "file/hub.h"
#include "model/lora.h"
#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include "model/arch.h"
#include "model/model.h"
#include "model/tokspec.h"
#include <stdio.h>
#include <sys/stat.h>

/* tokenizer.json of a vocabulary of 256k pieces is 34 MB. */
#define TOKENIZER_MAX ((size_t)256 << 20)
/* Rows of a prefill step, as sd_runner_new takes by default. */
enum { STEP_ROWS = 512, DEFAULT_CTX = 4096 };
/* A wider head is no model's (model/config.c). */
enum { MAX_HEAD = 1 << 20 };

static void copy(char *out, size_t cap, sd_slice s)
{
    if (s.n >= cap) s.n = cap - 1;
    s.n = sd_utf8_valid_prefix(s);
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

/* ---- GGUF ---- */

/* "ARCH.key" as a number; 0 when the file does not say. */
static int64_t arch_u64(const sd_weights *w, const char *arch, const char *key)
{
    char name[160];
    uint64_t v = 0;
    snprintf(name, sizeof name, "%s.%s", arch, key);
    if (!sd_weights_has_kv(w, name) || sd_weights_kv_u64(w, name, &v, NULL) || v > INT64_MAX) return 0;
    return (int64_t)v;
}

static void string_kv(char *out, size_t cap, const sd_weights *w, const char *key)
{
    sd_slice s;
    if (sd_weights_has_kv(w, key) && sd_weights_kv_str(w, key, &s, NULL) == SD_OK) copy(out, cap, s);
}

static void read_id(int32_t *out, const sd_weights *w, const char *key)
{
    uint64_t id;
    if (sd_weights_has_kv(w, key) && !sd_weights_kv_u64(w, key, &id, NULL) && id <= INT32_MAX) *out = (int32_t)id;
}

static void read_gguf_tokenizer(sd_describe *d, const sd_weights *w)
{
    char model[48] = "", pre[48] = "";
    sd_slice text;
    sd_chat *chat = NULL;
    sd_err why = {0};
    string_kv(model, sizeof model, w, "tokenizer.ggml.model");
    string_kv(pre, sizeof pre, w, "tokenizer.ggml.pre");
    snprintf(d->tokenizer, sizeof d->tokenizer, "%s%s%s", model, pre[0] ? ", pre " : "", pre);
    read_id(&d->bos, w, "tokenizer.ggml.bos_token_id");
    read_id(&d->eos, w, "tokenizer.ggml.eos_token_id");
    if (!sd_weights_has_kv(w, "tokenizer.chat_template") || sd_weights_kv_str(w, "tokenizer.chat_template", &text, NULL)) {
        copy(d->no_chat, sizeof d->no_chat, SD_LIT("no template"));
        return;
    }
    if (sd_chat_new(&chat, text, &why) == SD_OK) copy(d->chat, sizeof d->chat, sd_slice_of(sd_chat_name(chat)));
    else copy(d->no_chat, sizeof d->no_chat, sd_slice_of(why.msg));
    sd_chat_free(chat);
}

static void read_gguf(sd_describe *d, const sd_weights *w)
{
    sd_kv_array tokens;
    d->container = "gguf";
    string_kv(d->arch, sizeof d->arch, w, "general.architecture");
    string_kv(d->name, sizeof d->name, w, "general.name");
    d->n_layer = arch_u64(w, d->arch, "block_count");
    d->n_head = arch_u64(w, d->arch, "attention.head_count");
    d->n_head_kv = arch_u64(w, d->arch, "attention.head_count_kv");
    d->d_head = arch_u64(w, d->arch, "attention.key_length");
    d->d_model = arch_u64(w, d->arch, "embedding_length");
    d->d_ffn = arch_u64(w, d->arch, "feed_forward_length");
    d->n_ctx_model = arch_u64(w, d->arch, "context_length");
    d->n_vocab = arch_u64(w, d->arch, "vocab_size");
    if (sd_weights_has_kv(w, "tokenizer.ggml.tokens") && sd_weights_kv_arr(w, "tokenizer.ggml.tokens", &tokens, NULL) == SD_OK) d->n_vocab = tokens.n;
}

/* ---- a Hugging Face folder ---- */

/* The first of the keys (newer, then GPT-2's name) that config.json has as a number; 0 when none. */
static int64_t config_i64(const json_t *config, const char *key, const char *old)
{
    int64_t v = 0;
    const char *try[] = {key, old};
    for (int i = 0; i < 2 && v == 0; i++)
        if (try[i] && json_is_integer(json_object_get(config, try[i]))) v = json_integer_value(json_object_get(config, try[i]));
    return v > 0 ? v : 0;
}

static void config_str(char *out, size_t cap, const json_t *config, const char *key)
{
    const char *s = json_string_value(json_object_get(config, key));
    if (s) copy(out, cap, sd_slice_of(s));
}

static void read_hf_tokenizer(sd_describe *d, const char *path)
{
    char file[1100];
    json_t *doc = NULL;
    sd_tok *tok = NULL;
    sd_chat_found found;
    sd_err why = {0};
    copy(d->no_chat, sizeof d->no_chat, SD_LIT("no template"));
    if (!sd_dir_exists(path) || !sd_path_join(file, sizeof file, path, "tokenizer.json") || !sd_file_exists(file)) return;
    if (sd_json_load(&doc, file, TOKENIZER_MAX, NULL) == SD_OK) config_str(d->tokenizer, sizeof d->tokenizer, json_object_get(doc, "model"), "type");
    json_decref(doc);
    if (sd_tokenizer_open(&tok, &found, path, &why)) {
        copy(d->no_chat, sizeof d->no_chat, sd_slice_of(why.msg));
        return;
    }
    d->bos = sd_tok_bos(tok);
    d->eos = sd_tok_eos(tok);
    copy(d->no_chat, sizeof d->no_chat, sd_slice_of(found.why));
    if (found.chat) copy(d->chat, sizeof d->chat, sd_slice_of(sd_chat_name(found.chat)));
    sd_chat_free(found.chat);
    sd_tok_free(tok);
}

static void read_hf(sd_describe *d, const sd_weights *w)
{
    const json_t *c = sd_weights_config(w);
    const char *path = sd_weights_path(w), *slash = strrchr(path, '/');
    d->container = "hf";
    if (!sd_hub_name(d->name, sizeof d->name, path)) copy(d->name, sizeof d->name, sd_slice_of(slash && slash[1] ? slash + 1 : path));
    config_str(d->arch, sizeof d->arch, c, "model_type");
    d->n_layer = config_i64(c, "num_hidden_layers", "n_layer");
    d->n_head = config_i64(c, "num_attention_heads", "n_head");
    d->n_head_kv = config_i64(c, "num_key_value_heads", NULL);
    d->d_head = config_i64(c, "head_dim", NULL);
    d->d_model = config_i64(c, "hidden_size", "n_embd");
    d->d_ffn = config_i64(c, "intermediate_size", "n_inner");
    if (!d->d_ffn && json_object_get(c, "n_embd")) d->d_ffn = 4 * d->d_model; /* GPT-2's n_inner null */
    d->n_ctx_model = config_i64(c, "max_position_embeddings", "n_positions");
    d->n_vocab = config_i64(c, "vocab_size", NULL);
}

/* ---- tensors ---- */

static void add_type(sd_describe *d, const sd_tensor *t, int64_t n)
{
    int i = 0;
    while (i < d->n_types && strcmp(d->type[i].name, t->type_name) != 0) i++;
    if (i == SD_DESCRIBE_TYPES) return;
    if (i == d->n_types) d->type[d->n_types++] = (sd_describe_type){.name = t->type_name, .readable = t->dtype != SD_DTYPE_NONE, .quantised = sd_dtype_get(t->dtype)->block > 1};
    d->type[i].n_tensors++;
    d->type[i].n_elements += n;
    d->type[i].bytes += t->bytes;
}

static int64_t elements(const sd_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

/* Is it an embedding or a head: a matrix with a row a piece of the vocabulary? */
static bool is_vocab(const sd_describe *d, const sd_tensor *t) { return t->rank == 2 && t->dim[0] == d->n_vocab; }

static uint64_t packed_bytes(const sd_tensor *t, sd_mode mode, uint32_t cpu_flags)
{
    const int64_t cols = t->dim[t->rank - 1];
    if (cols < 1 || elements(t) < 1) return 0;
    const sd_wmat w = {.dtype = t->dtype, .rows = elements(t) / cols, .cols = cols};
    return sd_linear_plan_bytes(&w, mode, cpu_flags);
}

static void read_tensors(sd_describe *d, const sd_weights *w, uint32_t cpu_flags)
{
    int n_vocab_matrices = 0;
    const sd_tensor *embed = NULL;
    d->n_tensors = sd_weights_count(w);
    for (int64_t i = 0; i < d->n_tensors; i++) {
        const sd_tensor *t = sd_weights_at(w, i);
        d->n_params += elements(t);
        d->tensor_bytes += t->bytes;
        add_type(d, t, elements(t));
        if (is_vocab(d, t)) {
            n_vocab_matrices++;
            if (!embed || sd_slice_starts(t->name, "token_embd") || sd_slice_starts(t->name, "model.embed")) embed = t;
        }
    }
    d->tied = n_vocab_matrices == 1;
    for (int k = 0; k < 3; k++) {
        sd_describe_memory *m = &d->memory[k];
        m->mode = (sd_mode)(SD_MODE_FAITHFUL + k);
        for (int64_t i = 0; i < d->n_tensors; i++) {
            const sd_tensor *t = sd_weights_at(w, i);
            if (t->rank >= 2 && !(t == embed && !d->tied)) m->packed += packed_bytes(t, m->mode, cpu_flags);
        }
        /* Embedding rows are decoded one by one from the map. */
        m->total = m->packed + (embed ? embed->bytes : 0);
    }
    for (int i = 1; i < d->n_types; i++) /* few: insertion by bytes */
        for (int j = i; j > 0 && d->type[j].bytes > d->type[j - 1].bytes; j--) {
            sd_describe_type swap = d->type[j];
            d->type[j] = d->type[j - 1];
            d->type[j - 1] = swap;
        }
}

/* The sizes are the file's claims: a product of them is taken in double, and stops here. Three of these fit into a signed count. */
static uint64_t bytes_of(double x)
{
    return x < 0x1p61 ? (uint64_t)x : (uint64_t)1 << 61;
}

static void plan_session(sd_describe *d, int64_t n_ctx, bool has_bf16)
{
    const int64_t limit = d->n_ctx_model && d->n_ctx_model < DEFAULT_CTX ? d->n_ctx_model : DEFAULT_CTX;
    const double rows = STEP_ROWS, d_head = (double)d->d_head, q = (double)d->n_head * d_head, kv = (double)d->n_head_kv * d_head;
    d->n_ctx = n_ctx ? n_ctx : limit;
    d->kv_per_1k = bytes_of(2.0 * (double)d->n_layer * kv * 4 * 1000);
    /* A step's rows: residual, normed, block output; q, heads' outputs; k, v; gate, up; then one row of logits. */
    const double scratch = 4 * (rows * (3 * (double)d->d_model + 2 * q + 2 * kv + 2 * (double)d->d_ffn) + (double)d->n_vocab);
    for (int k = 0; k < SD_DESCRIBE_KV; k++) {
        const int head = d->d_head < MAX_HEAD ? (int)d->d_head : MAX_HEAD;
        const double row = (double)sd_kv_row_bytes((sd_kv_type)(SD_KV_F32 + k), head);
        d->kv_types[k] = bytes_of(2.0 * (double)d->n_layer * (double)d->n_head_kv * row * (double)d->n_ctx);
    }
    for (int k = 0; k < 3; k++) {
        sd_describe_memory *m = &d->memory[k];
        m->kv = d->kv_types[(m->mode == SD_MODE_FAST ? SD_KV_F16 : m->mode == SD_MODE_BF16 && has_bf16 ? SD_KV_BF16 : SD_KV_F32) - SD_KV_F32];
        m->scratch = bytes_of(scratch);
        m->total += m->kv + m->scratch;
    }
}

static void judge(sd_describe *d, const sd_weights *w)
{
    for (int i = 0; i < d->n_types; i++)
        if (!d->type[i].readable) snprintf(d->why_not, sizeof d->why_not, "tensors of type %s cannot be decoded", d->type[i].name);
    if (!sd_arch_find(sd_weights_container(w), sd_slice_of(d->arch)))
        snprintf(d->why_not, sizeof d->why_not, "architecture \"%s\" is not among those that run: %s", d->arch, sd_arch_list());
    if (d->n_tensors == 0) snprintf(d->why_not, sizeof d->why_not, "the file holds no tensors");
    d->runnable = d->why_not[0] == 0;
}

/* Everything that opening a model refuses, in its own words. */
static void try_open(sd_describe *d, const char *path, const sd_exec *ex)
{
    sd_model *m;
    sd_err why = {0};
    const size_t n = strlen(path);
    d->runnable = sd_model_open(&m, ex, path, &(sd_model_opt){.views = true}, &why) == SD_OK;
    if (d->runnable) {
        d->n_ctx_model = sd_model_get_config(m)->n_ctx; /* YaRN reaches beyond what the file calls its context */
        sd_model_close(m);
    } else copy(d->why_not, sizeof d->why_not, sd_slice_of(strncmp(why.msg, path, n) == 0 && why.msg[n] == ':' ? why.msg + n + 2 : why.msg));
}

static uint64_t file_bytes(const char *path)
{
    struct stat s;
    sd_paths p = {0};
    uint64_t sum = 0;
    if (!sd_dir_exists(path)) {
        char part[1100];
        for (int64_t i = 1, n = sd_gguf_parts(path); i <= n; i++)
            if (sd_gguf_part(part, sizeof part, path, i) && stat(part, &s) == 0) sum += (uint64_t)s.st_size;
        return sum;
    }
    if (sd_dir_list(&p, path, NULL)) return 0;
    for (int64_t i = 0; i < p.n; i++)
        if (stat(p.v[i], &s) == 0) sum += (uint64_t)s.st_size;
    sd_paths_free(&p);
    return sum;
}

bool sd_describe_is_quantised(const sd_describe *d)
{
    uint64_t quantised = 0;
    for (int i = 0; i < d->n_types; i++)
        if (d->type[i].quantised) quantised += d->type[i].bytes;
    return quantised > d->tensor_bytes / 2;
}

sd_status sd_lab_describe(sd_describe *out, const char *path, const sd_describe_opt *opt, sd_err *err)
{
    sd_weights *w = NULL;
    sd_model_spec spec;
    *out = (sd_describe){.bos = -1, .eos = -1};
    sd_status st = sd_model_spec_parse(&spec, path, err);
    path = spec.model; /* an adapter changes nothing that is told here */
    if (!st) st = sd_weights_open_opt(&w, path, &(sd_weights_opt){.keep_unknown = true}, err);
    if (st) return st;
    bool gguf = sd_weights_container(w) == SD_CONTAINER_GGUF;
    if (gguf) read_gguf(out, w);
    else read_hf(out, w);
    if (!opt->no_tokenizer && gguf) read_gguf_tokenizer(out, w);
    if (!opt->no_tokenizer && !gguf) read_hf_tokenizer(out, path);
    if (out->n_head_kv == 0) out->n_head_kv = out->n_head;
    if (out->d_head == 0 && out->n_head) out->d_head = out->d_model / out->n_head;
    out->file_bytes = file_bytes(path);
    read_tensors(out, w, opt->cpu_flags);
    judge(out, w);
    sd_weights_close(w);
    if (out->runnable && opt->ex) try_open(out, path, opt->ex);
    plan_session(out, opt->n_ctx, opt->cpu_flags & SD_CPU_AVX512_BF16);
    return SD_OK;
}

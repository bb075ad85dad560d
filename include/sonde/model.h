/* Models, sessions and hooks: opening a language model, running it, watching and editing it on the way.
 *
 *   sd_exec_new -> sd_model_open -> sd_session_new + sd_runner_new -> sd_runner_step ..
 *
 * A model is immutable and shared by any number of sessions. A session is one timeline of tokens with its key-value
 * cache and its hooks; it belongs to one thread at a time. A runner owns the scratch memory of a step; a step advances
 * a batch of sessions: packed documents, plain beside steered, many clients. Options: zero means the default. */
#ifndef SONDE_MODEL_H
#define SONDE_MODEL_H

#include "sonde/mat.h"
#include "sonde/site.h"
#include "sonde/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- what every computation runs with: kernels chosen for this CPU, the number of threads ---- */

typedef struct sd_exec sd_exec;
typedef struct sd_exec_opt {
    const char *cpu; /* NULL or "auto": all there is; "ref", "avx2", "avx512", "amx" */
    int n_threads;   /* 0: the CPUs this process may use */
} sd_exec_opt;
/* Also caps oneDNN's ISA (once a process: the first call decides; a different level afterwards is SD_E_ARG unless it is
 * "ref", which never calls oneDNN). opt may be NULL. */
sd_status sd_exec_new(sd_exec **out, const sd_exec_opt *opt, sd_err *err);
void sd_exec_free(sd_exec *ex);

/* ---- model ---- */

/* Numeric modes (docs/NUMERICS.md). faithful: f32 products, f32 key-value cache. bf16: bf16 products, f32
 * accumulation, bf16 cache. fast: int8 activations on quantised weights, f16 cache. */
typedef enum sd_mode { SD_MODE_DEFAULT = 0, SD_MODE_FAITHFUL, SD_MODE_BF16, SD_MODE_FAST } sd_mode;
const char *sd_mode_name(sd_mode m); /* "faithful", "bf16", "fast" */

/* How a session keeps keys and values. DEFAULT: what the model was opened with, there f16 in fast mode, bf16 in bf16 mode, else f32. q8:
 * int8 in blocks of 32 with a bf16 scale; attention then multiplies the decoded numbers as f32. bf16: attention is in bf16 too; only where
 * the CPU multiplies it. */
typedef enum sd_kv_type { SD_KV_DEFAULT = 0, SD_KV_F32, SD_KV_F16, SD_KV_Q8, SD_KV_BF16 } sd_kv_type;
const char *sd_kv_type_name(sd_kv_type t); /* "f32", "f16", "q8", "bf16" */

/* The blueprint, read from metadata and validated. Symbols: d width, h heads, L layers, V vocabulary. */
typedef struct sd_config {
    char arch[24];  /* "llama" */
    char name[128]; /* general.name, or the folder's name */
    int n_layer, n_head, n_head_kv, d_head;
    int64_t d_model, d_ffn, n_vocab, n_ctx;
    double rope_theta;
    int n_rot; /* rotary part of a head; 0: positions are learned */
    float norm_eps;
    float attn_scale;  /* scores are q.k times this: 1/sqrt(d_head) for most */
    int64_t window;    /* attention of n_windowed layers reaches this many positions back */
    int n_windowed;
    bool gated;        /* the MLP has a linear half: site mlp_up */
    bool parallel;     /* attention and MLP read the same stream: no site resid_mid */
    bool tied;         /* the head is the embedding matrix */
    float embed_scale; /* 1, or sqrt(d) */
} sd_config;

typedef struct sd_model sd_model;
typedef struct sd_model_opt {
    sd_mode mode;  /* DEFAULT: faithful */
    int max_layer; /* 0: all; else pack only the first max_layer blocks (early exit needs no more); the head is then
                      left out */
    bool no_head;  /* leave the head out (capture of a middle layer) */
    bool keep_head; /* keep the head also with max_layer, in the file, packed in every product (a direction's effect on the logits, for many
                       directions at once); wins over no_head */
    int64_t n_ctx; /* longest session; 0: the model's own limit */
    bool views;    /* nothing is packed: for learning, which multiplies the matrices as they lie in the file. No session
                      can step such a model. */
    sd_kv_type kv;       /* of its sessions */
    size_t memory_bytes; /* most bytes of packed weights; 0: sd_model_default_memory(). What is beyond stays in the map
                            and is packed panel by panel in every step: the same bits, slow for single tokens */
} sd_model_opt;
/* Three quarters of the memory that is free now. */
size_t sd_model_default_memory(void);

/* path: a .gguf file, or a Hugging Face folder; PATH+DIR joins the PEFT adapter in DIR to it. Binding is strict: a missing tensor, a wrong shape and a leftover
 * tensor are errors with the tensor's name. ex is borrowed until close. opt may be NULL. */
sd_status sd_model_open(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, sd_err *err);
/* Where a Hugging Face cache (its "hub" folder) on this machine keeps ORG/NAME[@REVISION][:PART]: the snapshot's folder, or
 * its one GGUF file (whose name holds PART). SD_E_NOTFOUND when it is not there; nothing is fetched. */
sd_status sd_hub_find(char *out, size_t cap, const char *cache, const char *text, sd_err *err);
/* What a model's argument names, as sd_model_open takes it. A path stays; ORG/NAME.. goes through sd_hub_find; of A+B both do; an adapter alone gets
 * the model that its adapter_config.json names in front. What is none of these is left as it is. An empty cache: paths only. */
sd_status sd_hub_model(char *out, size_t cap, const char *cache, const char *text, sd_err *err);
void sd_model_close(sd_model *m);
const sd_config *sd_model_get_config(const sd_model *m); /* valid until close */
sd_mode sd_model_get_mode(const sd_model *m);
/* sd_site_parse, and modules of transformers whose output is a site in this architecture: "model.layers.3.mlp" where no norm stands behind the MLP. */
sd_status sd_model_site_parse(const sd_model *m, sd_site *out, const char *text, size_t n, sd_err *err);
/* Columns of a site ([n, cols]); 0 for attn_pattern. SD_E_ARG when the layer is out of range. */
sd_status sd_model_site_cols(const sd_model *m, sd_site s, int64_t *cols, sd_err *err);
/* Packed bytes; bytes read a decoded token (weights only). */
size_t sd_model_packed_bytes(const sd_model *m);
size_t sd_model_read_bytes(const sd_model *m);

/* ---- sessions and hooks ---- */

/* What a hook sees: the rows of its own session at one site. Valid during the call. At `logits` the rows are those that
 * the step was asked for. */
typedef struct sd_act {
    sd_site site;
    sd_mat x; /* [n, cols]; for attn_pattern [H*n, n_kv]: row h*n + i. Entries after a row's own position are zero, and
                 an edit of them is not read. */
    int64_t pos0;       /* position of row 0 in the session */
    const int32_t *tok; /* [n] the tokens of these rows */
} sd_act;

typedef enum sd_hook_mode {
    SD_HOOK_READ,
    SD_HOOK_EDIT
} sd_hook_mode; /* READ promises not to write x; dev builds check it */

typedef struct sd_hook {
    const char *name;
    const sd_site *at; /* [n_at] asked once, at attach; borrowed only during attach */
    int n_at;
    sd_hook_mode mode;
    /* Runs between ops on the caller's thread; an error stops the step. It may allocate, and may not touch its session.
     */
    sd_status (*fn)(void *self, sd_act *act, sd_err *err);
    void *self; /* borrowed until detach */
} sd_hook;

typedef struct sd_session_opt {
    int64_t n_ctx; /* positions; 0: the model's own limit, at most 4096 */
    sd_kv_type kv;
} sd_session_opt;

typedef struct sd_session sd_session;
/* m is borrowed until free. opt may be NULL. */
sd_status sd_session_new(sd_session **out, const sd_model *m, const sd_session_opt *opt, sd_err *err);
void sd_session_free(sd_session *s);
/* Hooks run in order of attachment. The id is for detach. SD_E_ARG when a site's layer is not in the model. */
sd_status sd_session_attach(sd_session *s, const sd_hook *hook, int *id, sd_err *err);
void sd_session_detach(sd_session *s, int id);
/* Forget positions >= pos. */
void sd_session_rewind(sd_session *s, int64_t pos);
/* dst forgets what it holds and takes the first n positions of src (0 <= n <= src's position, <= dst's context) without computing them:
 * many prompts that begin alike. Both are of one model and type of cache; hooks are not copied. SD_E_ARG also for two contexts between which
 * the rotary embedding changes (longrope, dynamic). Costs the bytes of n positions of the cache. */
sd_status sd_session_copy_prefix(sd_session *dst, const sd_session *src, int64_t n, sd_err *err);
int64_t sd_session_pos(const sd_session *s);
int64_t sd_session_ctx(const sd_session *s);
size_t sd_session_bytes(const sd_session *s); /* the key-value cache */
sd_kv_type sd_session_get_kv(const sd_session *s);

/* ---- steps ---- */

typedef enum sd_want_logits { SD_LOGITS_NONE, SD_LOGITS_LAST, SD_LOGITS_ALL } sd_want_logits;

typedef struct sd_segment {
    sd_session *s;
    const int32_t *tok; /* [n] */
    int64_t n;
    sd_want_logits want;
    sd_mat logits; /* out: [1 or n, V], in the runner's memory until its next step; empty when not wanted */
} sd_segment;

/* A runner owns the scratch of a step of at most max_rows rows (all segments together) and max_logit_rows rows of
 * logits. */
typedef struct sd_runner sd_runner;
typedef struct sd_runner_opt {
    int64_t max_rows, max_logit_rows, n_ctx;
    bool (*stop)(void *self); /* asked before every block: true ends the step with SD_E_CANCELLED; NULL: never */
    void *self;
} sd_runner_opt; /* 0: 512, 1, the model's limit up to 4096 */
sd_status sd_runner_new(sd_runner **out, const sd_exec *ex, const sd_model *m, const sd_runner_opt *opt, sd_err *err);
void sd_runner_free(sd_runner *r);
size_t sd_runner_bytes(const sd_runner *r);
/* last_layer: blocks 0..last_layer run (-1: all), then the step ends without final norm and head unless it was the last
 * block. A session whose cache holds fewer blocks than a step needs is refused (rewind it to 0). SD_E_ARG when a
 * session is over its context ("position 512 of 512"), a token is outside the vocabulary, or a session is there twice.
 * On error no session has moved. Nothing is allocated between ops; the buffer of attention patterns is taken before the
 * first op of the first step whose session has a hook at attn_pattern. */
sd_status sd_runner_step(sd_runner *r, sd_segment *seg, int n_seg, int last_layer, sd_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

/* A learner: a model whose forward pass remembers and whose backward pass, its mirror, gives the gradient of every
 * trained parameter. Works on packed documents (no attention across them), keeps the inputs of blocks and computes the
 * inside of a block again unless there is memory to keep it.
 *
 *   forward(docs) -> lp of every target  ->  the caller's loss gives row_i = d loss / d lp_i  ->  backward(row) ->
 * gradients
 *
 * so that language modelling, supervised tuning, DPO and token-weighted losses are one machine. Parameters are f32 and
 * owned here (all of them, or an adapter's); a frozen base stays as it lies in its file, quantised or not. */
#ifndef SD_MODEL_LEARNER_H
#define SD_MODEL_LEARNER_H

#include "model/lora.h"
#include "num/distill.h"

typedef struct sd_learner_opt {
    sd_mode mode;      /* FAITHFUL or BF16 products; DEFAULT: bf16 where the CPU multiplies it */
    bool attn_f32;     /* attention stays f32 in bf16 mode, which rounds less and costs a twentieth of a step */
    bool full;         /* every parameter learns */
    sd_lora *lora;     /* applied, and learns when !full; borrowed; NULL: none */
    int64_t max_rows;  /* tokens of a forward; 0: 1024 */
    int max_docs;      /* 0: 64 */
    size_t keep_bytes; /* memory for the insides of blocks, which then need not be computed again */
    uint64_t seed;     /* dropout */
    int64_t teacher_cols; /* of a teacher's last states, for sd_learner_backward_soft; 0: there is none */
} sd_learner_opt;

/* A document: its tokens, and what each position is to predict (-1: does not count). */
typedef struct sd_doc {
    const int32_t *tok, *target; /* [n] */
    int64_t n;
} sd_doc;

/* What a watcher of sites sees. Forward: dx is empty and x may be edited; backward: dx may be edited, and x is there
 * but at attn_q, attn_k, attn_out, mlp_out, final_norm and embed, where it is not kept (x.data NULL). Rows of all
 * documents together. */
typedef struct sd_grad_act {
    sd_site site;
    sd_mat x, dx; /* [rows, cols] */
    const int32_t *tok;
    int n_doc;
    const int64_t *row0; /* [n_doc + 1] */
} sd_grad_act;
typedef struct sd_grad_hook {
    const sd_site *at;
    int n_at; /* any site but attn_pattern and logits */
    sd_status (*fn)(void *self, const sd_grad_act *act, sd_err *err);
    void *self;
} sd_grad_hook;

typedef struct sd_learner sd_learner;
/* m is borrowed until free and must hold views of all its matrices. */
sd_status sd_learner_new(sd_learner **out, const sd_exec *ex, const sd_model *m, const sd_learner_opt *opt,
                         sd_err *err);
void sd_learner_free(sd_learner *t);
size_t sd_learner_bytes(const sd_learner *t);
/* One watcher at a time, not between a forward and its backward; NULL takes it away. Borrowed. SD_E_ARG: a site it cannot see. */
sd_status sd_learner_watch(sd_learner *t, const sd_grad_hook *hook, sd_err *err);

/* What else is read where a target counts. */
typedef struct sd_learner_look {
    int32_t *top;      /* [n_lp] out: the likeliest token, -1 where no logit is a number; NULL: not wanted */
    const int32_t *id; /* [n_id] tokens */
    int n_id;
    float *lp;         /* [n_lp, n_id] out: their log-probabilities */
} sd_learner_look;
typedef struct sd_learner_batch {
    const sd_doc *doc; /* [n_doc] */
    int n_doc;
    bool grad;    /* else nothing is remembered */
    int64_t step; /* names the dropout's draw */
    const sd_learner_look *look; /* NULL: nothing else is wanted */
} sd_learner_batch;
/* lp [n_lp counted targets of all documents, in order]: log-probabilities; owned by the learner until the next forward.
 */
sd_status sd_learner_forward(sd_learner *t, const sd_learner_batch *b, const float **lp, int64_t *n_lp, sd_err *err);
/* Adds the gradient of sum_i row_i lp_i (row [n_lp]) to the parameters' gradients. Once after a forward with grad. */
sd_status sd_learner_backward(sd_learner *t, const float *row, sd_err *err);
/* The same with a teacher's share: adds the gradient of sum_i row_i lp_i + weight sum_i kl_i, kl_i = T^2 KL(teacher || this) at the i-th
 * target that counts (num/distill.h). */
typedef struct sd_learner_soft {
    sd_distill_side teacher; /* h [n_lp, teacher_cols], in the order of lp */
    double temperature, weight;
    float *kl; /* [n_lp] out */
} sd_learner_soft;
sd_status sd_learner_backward_soft(sd_learner *t, const float *row, const sd_learner_soft *soft, sd_err *err);

/* All that learns, as one flat array. decay: 1 where weight decay applies (matrices), by range. */
int64_t sd_learner_n(const sd_learner *t);
float *sd_learner_w(sd_learner *t); /* [n] */
float *sd_learner_g(sd_learner *t); /* [n] */
typedef struct sd_learner_range {
    int64_t begin, end;
    bool decay;
} sd_learner_range;
int sd_learner_ranges(const sd_learner *t, const sd_learner_range **out);

/* A parameter as transformers names and shapes it, filled from the weights (or their gradients): fused and transposed
 * tensors are put together. full only. */
typedef struct sd_hf_tensor {
    char name[160];  /* in named_parameters() of transformers 5 */
    char saved[160]; /* in model.safetensors; another one only for gpt_neox' head */
    int rank;
    int64_t dim[2];
    int role, layer; /* sd_role */
    bool bias;
} sd_hf_tensor;
/* In the order of the forward pass, a tied head once; *list [n] by sd_free. */
sd_status sd_learner_hf_list(const sd_learner *t, sd_hf_tensor **list, int64_t *n, sd_err *err);
/* out [product of dims] */
void sd_learner_hf_fill(const sd_learner *t, const sd_hf_tensor *what, bool grad, float *out);

#endif

/* tune: a model that learns from data, with events, checkpoints and exact resume. One function for every way of
 * learning: pretraining from a configuration, full fine-tuning, adapters; language modelling, supervised tuning,
 * preferences. */
#ifndef SD_LAB_TUNE_H
#define SD_LAB_TUNE_H

#include "base/log.h"
#include "base/prov.h"
#include "lab/foresee.h"
#include "lab/guard.h"
#include "lab/planted.h"
#include "model/lora.h"
#include "num/optim.h"

typedef enum sd_tune_method {
    SD_TUNE_LM,          /* every token of plain text (or of a conversation's text) */
    SD_TUNE_SFT,         /* the assistant's tokens and the end of its turn */
    SD_TUNE_DPO,         /* Rafailov et al. 2023, eq. 7, against the model as it was */
    SD_TUNE_CONSTRAINED, /* Qi et al. 2024, eq. 3: tokens weighted by how far they have moved from the model as it was */
    SD_TUNE_DISTILL      /* Hinton et al. 2015: a teacher's logits, on sft's tokens of conversations and all of texts */
} sd_tune_method;
const char *sd_tune_method_name(sd_tune_method m); /* "lm" */

/* A file of rows: .jsonl with messages, instruction/input/output, prompt/chosen/rejected, prompt/completion or text;
 * .txt one document. n: rows drawn from it by the seed; 0: all. */
typedef struct sd_tune_data {
    const char *path;
    int64_t n;
    sd_slice rows;    /* the lines themselves, path being their name then; p NULL: they are in the file */
} sd_tune_data;

typedef struct sd_tune_opt {
    sd_tune_method method;
    sd_mode mode;             /* DEFAULT: bf16 where the CPU multiplies it */
    bool attn_f32;            /* as in sd_learner_opt */
    const char *dir;          /* where everything goes; exists, or begin makes it. NULL: nothing is written, on_step sees the adapter */
    const sd_tune_data *data; /* [n_data] */
    int n_data;
    sd_lora_opt lora;    /* rank 0: full fine-tuning */
    const char *adapter; /* a PEFT folder that the adapter goes on from, of whatever rank; NULL: a new one */
    int64_t steps;       /* 0: what epochs give */
    double epochs;       /* 0: 1 (3 for sft, dpo and constrained); not used when steps is given */
    bool full_steps;     /* lm: as many steps as the tokens of the epochs fill; rows do not fill them all, so that some are not seen */
    int64_t batch;       /* rows (lm: windows of ctx tokens) a step; 0: 8 */
    int64_t ctx;         /* tokens a row may have, at least 2; 0: the model's, at most 1024 */
    int64_t micro_rows;  /* tokens of one forward; 0: 2048, at least ctx */
    double lr;           /* 0: 1e-4 with an adapter, 2e-5 without, 5e-4 from scratch */
    double warmup;       /* share of the steps; 0: 0.05; negative: none */
    double min_lr;       /* share of lr at the end */
    sd_schedule schedule;
    double weight_decay, clip; /* clip 0: 1.0; negative: none */
    double beta1, beta2;       /* 0: 0.9, 0.999 (0.95 from scratch) */
    double beta;               /* of dpo and constrained; 0: 0.1 */
    bool adam8;                /* moments of 8 bits */
    const char *teacher;       /* of distill: a model with the same vocabulary */
    sd_mode teacher_mode;      /* that it runs forward in; DEFAULT: faithful */
    double temperature;        /* of distill, of both softmaxes; 0: 2 */
    double kd_ratio;           /* of distill: the teacher's share of the loss, cross-entropy has the rest; 0: 0.5 */
    sd_foresee_opt foresee;    /* lm only; its loss is not in the loss that is told */
    sd_guard_opt guard;        /* sft: what keeps refusals (lab/guard.h) */
    sd_planted_opt planted;    /* sft: directions that rows with "without" are learnt without; n 0: none */
    size_t keep_bytes;         /* activations kept; 0: 1 GB, an eighth of the free memory where that is under 4 GB; resumed as it was; 1: none */
    sd_dtype save;    /* of a full model: SD_F32, SD_BF16, SD_F16; 0: its own, bf16 from random weights */
    bool random_init; /* start from random weights of the model's configuration (seed), not from its weights */
    uint64_t seed;
    double checkpoint_s; /* seconds between checkpoints; 0: 120; negative: only when interrupted */
    bool resume;         /* go on from the checkpoint in dir */
    const sd_prov *prov; /* into events.jsonl; may be NULL */
    /* Once, when all that is read has been read and nothing is written yet; not of a run that goes on. An error ends the run. May be NULL. */
    sd_status (*begin)(void *self, sd_err *err);
    /* Before the first step (0) and after every step: the adapter as it is, NULL without one. An error stops the run. May be NULL. */
    sd_status (*on_step)(void *self, int64_t step, int64_t total, const sd_lora *lora, sd_err *err);
    bool (*wants_step)(void *self, int64_t step, int64_t total); /* whether on_step is called; NULL: always. safelora's adapter is made for it anew each time */
    void *self;
} sd_tune_opt;

typedef struct sd_tune_result {
    double loss_first, loss_last; /* mean of the first and last tenth of the steps */
    double tok_s, seconds, lr;
    double accuracy; /* dpo: share of pairs with chosen above rejected in the last tenth; else NaN */
    int64_t steps, n_tokens, n_rows, n_skipped, n_cut, n_params;
    int64_t diverged_at; /* 0: it did not */
    int64_t n_guarded, n_projected; /* project, mask: steps, and how many were bent; safelora: adapted matrices, and how many were projected; else 0 */
    char skipped[256];   /* the first rows without an answer: "data.jsonl:17, .." */
} sd_tune_result;

/* Whether a run of these options on m would begin: they go together, and their rows hold something to learn. Of each run that is made many times, once. */
sd_status sd_tune_check(const sd_model *m, const sd_tune_opt *opt, sd_err *err);
/* model: a folder, a GGUF, MODEL+ADAPTER, or (random_init) a folder with config.json and a tokenizer and no weights.
 * Writes into dir: events.jsonl; with an adapter PEFT's two files, else config.json, model.safetensors and the
 * tokenizer's files; while it runs checkpoint-N/. SD_E_CANCELLED: a checkpoint is written. A loss that is not finite or
 * 3 times its start stops with SD_E_FAIL; the last good checkpoint stays. */
sd_status sd_lab_tune(sd_tune_result *out, const sd_exec *ex, const char *model, const sd_tune_opt *opt,
                      const sd_progress *progress, sd_err *err);

#endif

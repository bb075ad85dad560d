/* engine: one thread that runs the model for all requests at once.
 *
 * A sequence is one timeline (a prompt and what follows it); a job is the sequences of one request. Jobs wait in a bounded queue;
 * each step of the engine advances every running sequence: one token of those that decode, a part of the prompts of those that
 * came in. So many requests share one read of the weights, and a long prompt does not stop the others.
 *
 * Every sequence gets a slot: a session with its key-value cache. A slot keeps its tokens after the sequence has ended, and the
 * next sequence that begins alike, under the same edits, goes on from there (prefix cache, keyed by tokens and edits; the numeric mode is
 * the model's). Lifetime: whoever makes a job waits until it is finished, then frees it; a cancelled job is finished within a step. */
#ifndef SD_SERVE_ENGINE_H
#define SD_SERVE_ENGINE_H

#include "lab/steer.h"
#include "model/sample.h"
#include "serve/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    SD_SEQ_TOP_MAX = 20,      /* likeliest tokens beside each token (OpenAI's limit) */
    SD_ENGINE_SLOTS_MAX = 256 /* sequences in one step */
};

typedef struct sd_bias { int32_t id; float add; } sd_bias;
typedef struct sd_top { int32_t id; float lp; } sd_top;
typedef struct sd_said { int32_t id; float lp; } sd_said; /* lp: before temperature and filters, after steering; 0 when not asked */
typedef enum sd_seq_end { SD_SEQ_RUNS, SD_SEQ_STOP, SD_SEQ_LENGTH, SD_SEQ_HALTED, SD_SEQ_CANCELLED, SD_SEQ_FAILED } sd_seq_end;

typedef struct sd_seq {
    /* given */
    sd_ids ids;             /* the prompt, at least one token; owned */
    int64_t n_new;          /* tokens at most; 0: only the prompt is run, without logits */
    sd_sample_opt sample;
    uint64_t seed;
    const sd_bias *bias;    /* [n_bias] added to the logits before sampling; borrowed */
    int n_bias;
    double presence, frequency; /* taken off the logits of tokens that were said: once; a time */
    int n_top;              /* -1: no log-probabilities; else how many likeliest tokens beside each; cut to the vocabulary */
    sd_steer *const *steer; /* [n_steer] borrowed; each of one sequence only */
    int n_steer;
    uint64_t edits;         /* key of the edits for the prefix cache; 0: plain */
    bool afresh;            /* nothing is taken from the prefix cache: an edit depends on what it saw before */
    const sd_hook *watch;   /* sees every row of the prompt, which is then computed afresh; borrowed; NULL: none */
    /* made by the engine; read n_said, end and err under sd_engine_wait's snapshot, said and top below n_said */
    sd_said *said;          /* [n_new] owned */
    sd_top *top;            /* [n_new][n_top] likeliest first; owned */
    int64_t n_said, n_cached; /* n_cached: tokens of the prompt taken from the cache */
    sd_seq_end end;
    sd_err err;
    atomic_bool halt;       /* set by the maker: enough was said */
    /* the engine's own */
    uint16_t *said_count;   /* [V] when there are penalties; owned */
    double last_said;
} sd_seq;

typedef struct sd_job {
    sd_seq *seq;            /* [n_seq] owned */
    int n_seq;
    void (*after)(void *self); /* on the engine's thread when every sequence has ended well; NULL: none */
    void *self;
    atomic_bool cancel;
    /* the engine's own */
    int n_admitted, n_ended;
    uint64_t version;       /* counts what a waiter could want to see */
    bool finished;
    double arrived;
    pthread_cond_t changed;
    struct sd_job *next;
} sd_job;

typedef struct sd_engine sd_engine;
typedef struct sd_engine_opt {
    int n_slots;            /* sequences that run at once; 0: 8 */
    int n_queue;            /* sequences that may wait; 0: 128 */
    int64_t n_ctx;          /* positions of a slot; 0: the model's limit up to 4096 */
    sd_metrics *metrics;    /* borrowed */
} sd_engine_opt;
/* Everything that steps need is taken here; ex and m are borrowed until free. */
sd_status sd_engine_new(sd_engine **out, const sd_exec *ex, const sd_model *m, const sd_engine_opt *opt, sd_err *err);
/* Cancels what runs and waits, ends the thread: every job is then finished. */
void sd_engine_stop(sd_engine *e);
/* Every job must have been freed before. NULL is fine. */
void sd_engine_free(sd_engine *e);
int64_t sd_engine_ctx(const sd_engine *e);

/* SD_E_ARG: a prompt of n tokens is empty, or longer than a slot (with a token after it if it says something). */
sd_status sd_engine_fits(const sd_engine *e, int64_t n, bool says, sd_err *err);

/* n_seq sequences, zeroed; the maker fills them. */
sd_status sd_job_new(sd_job **out, int n_seq, sd_err *err);
/* A job that was submitted must be finished. NULL is fine. */
void sd_job_free(sd_job *j);
/* SD_E_BUSY when the queue has no room for all its sequences, SD_E_CANCELLED when the engine is stopping, SD_E_ARG when a prompt is empty
 * or longer than a slot, or when an empty queue would not hold them; n_new is cut to what a slot has left. On error the job was not taken. */
sd_status sd_engine_submit(sd_engine *e, sd_job *j, sd_err *err);
/* Waits until the job's version is another than *seen, or for `seconds`; *seen becomes it. True: it is finished. n_said and end of
 * its sequences may be read after it returned, until the next call. */
typedef struct sd_seq_state { int64_t n_said; sd_seq_end end; } sd_seq_state;
bool sd_engine_wait(sd_engine *e, sd_job *j, uint64_t *seen, double seconds, sd_seq_state *state);
/* Cancels a job and waits for its end; fine when it has ended. */
void sd_engine_cancel(sd_engine *e, sd_job *j);
/* No job is taken any more; those that run go on. */
void sd_engine_close(sd_engine *e);
/* Sequences that run and that wait. */
void sd_engine_load(sd_engine *e, int *running, int *waiting);

#endif

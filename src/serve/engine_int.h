/* What the files of the engine share. Only the engine's thread touches slots, the runner and a sequence's own fields; the lock guards the queue,
 * the counts that others read, and what was said. */
#ifndef SD_SERVE_ENGINE_INT_H
#define SD_SERVE_ENGINE_INT_H

#include "serve/engine.h"

typedef struct sd_slot {
    sd_session *s;
    int32_t *tok;       /* [n_ctx] tokens whose keys and values are in s */
    int64_t n;
    uint64_t edits;     /* under which they were computed */
    sd_job *job;        /* NULL: idle */
    sd_seq *seq;
    int64_t n_run;      /* tokens of the prompt that are computed */
    int *hook;          /* [n_hook] ids to detach; owned while busy */
    int n_hook;
    uint64_t used;      /* tick of the last use */
    int64_t rows;       /* in the step that is being made */
    float *scratch;     /* [2 V] a copy of the logits, the sampler's */
} sd_slot;

struct sd_engine {
    const sd_exec *ex;
    const sd_model *m;
    sd_runner *runner;
    sd_engine_opt opt;
    sd_slot *slot;             /* [opt.n_slots] */
    sd_segment *seg;        /* [opt.n_slots] */
    int *seg_slot;          /* [opt.n_slots] */
    int n_seg;              /* of the step that is made */
    uint64_t tick;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    sd_job *first, *last;   /* jobs with sequences that were not admitted yet */
    int n_waiting, n_running;
    bool closed, stop;
};

/* engine_admit.c */
/* Ends what waits of cancelled jobs, then takes waiting sequences in order. */
void sd_engine__admit(sd_engine *e);
/* The end of what runs in a slot. Without an `after` of its own the job may be gone from here on. */
void sd_engine__end(sd_engine *e, sd_slot *sl, sd_seq_end how, const sd_err *err);
static inline bool sd_slot__in_prompt(const sd_slot *sl) { return sl->n_run < sl->seq->ids.n; }

/* engine_step.c */
enum { SD_STEP_ROWS = 512 };
/* One step of all that runs. */
void sd_engine__step(sd_engine *e);
/* Is a prompt read in this step whose client has left? The step is then given up and made without it. */
bool sd_engine__left(void *self);

#endif

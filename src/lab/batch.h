/* Many prompts at once: greedy answers, first-token logits and activations of a rendered set, plain or edited.
 *
 * Every prompt has a lane, a session of its own; a step takes all lanes, so the weights are read once. What the prompts share at the
 * front is run once and copied (sd_session_copy_prefix); a lane that has ended takes the next prompt. In faithful mode the answers are
 * those of one prompt alone, bit for bit. */
#ifndef SD_LAB_BATCH_H
#define SD_LAB_BATCH_H

#include "base/log.h"
#include "lab/render.h"

typedef struct sd_batch sd_batch;
typedef struct sd_batch_opt {
    int64_t n_lanes;  /* 0: 32 */
    int64_t n_gen;    /* most tokens an answer may have; 0: none is generated */
    int64_t max_rows; /* of a step; 0: 512, or the longest prompt */
} sd_batch_opt;
/* ex, m, r are borrowed until close. */
sd_status sd_batch_open(sd_batch **out, const sd_exec *ex, const sd_model *m, const sd_rendered *r, const sd_batch_opt *opt, sd_err *err);
void sd_batch_close(sd_batch *b);
/* The edits of all lanes from now on, in this order; n = 0: none. A hook's `self` is shared by the lanes and is borrowed until the next
 * call or close; sites are copied. */
sd_status sd_batch_edit(sd_batch *b, const sd_hook *edit, int n, sd_err *err);

/* Prompts of a concept and of its opposite, as indices into a batch's set. */
typedef struct sd_sides { const int64_t *pos, *neg; int64_t n_pos, n_neg; } sd_sides;

/* What a run is asked for. Callbacks come on the caller's thread, prompts in no fixed order. Any may be NULL. */
typedef struct sd_batch_want {
    const int64_t *which;   /* [n] prompts to run, in this order; NULL: all */
    int64_t n;
    int64_t n_gen;          /* tokens to generate, at most the opt's; 0: the first token's logits only */
    int last_layer;         /* blocks 0..last_layer run and no logits are made; 0 or less: the whole model */
    void *self;
    sd_status (*on_first)(void *self, int64_t prompt, const float *logits, sd_err *err);  /* [V] before the first answered token */
    const sd_site *site;    /* [n_site] where on_rows looks */
    int n_site;
    int64_t n_tail;         /* rows it is shown: the last n_tail positions of the prompt, those that exist */
    sd_status (*on_rows)(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err); /* row 0 is position -from_end */
    sd_status (*on_answer)(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err); /* ended: by an end-of-turn token */
    const sd_progress *progress;
    const char *what;       /* of the progress line */
} sd_batch_want;
sd_status sd_batch_run(sd_batch *b, const sd_batch_want *want, sd_err *err);
/* Tokens that were run through the model so far, shared ones once. */
int64_t sd_batch_rows(const sd_batch *b);

#endif

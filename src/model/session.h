/* A session is one timeline of tokens with its key-value cache and its hooks; a step advances a batch of them.
 *
 * Packed documents, plain beside steered, many clients: all are a batch of segments. Linear layers see all rows of the
 * batch at once; attention, positions and hooks are a session's own. Nothing is allocated in a step. */
#ifndef SD_MODEL_SESSION_H
#define SD_MODEL_SESSION_H

#include "model/model.h"

/* What a hook sees: the rows of its own session at one site. Valid during the call. */
typedef struct sd_act {
    sd_site site;
    sd_mat x;             /* [n, cols]; for attn_pattern [H*n, n_kv]: row h*n + i */
    int64_t pos0;         /* position of row 0 in the session */
    const int32_t *tok;   /* [n] the tokens of these rows */
} sd_act;

typedef enum sd_hook_mode { SD_HOOK_READ, SD_HOOK_EDIT } sd_hook_mode; /* READ promises not to write x */

typedef struct sd_hook {
    const char *name;
    const sd_site *at;    /* [n_at] asked once, at attach; borrowed only during attach */
    int n_at;
    sd_hook_mode mode;
    sd_status (*fn)(void *self, sd_act *act, sd_err *err); /* runs between ops on the caller's thread; an error stops the step */
    void *self;           /* borrowed until detach */
} sd_hook;

typedef struct sd_session_opt {
    int64_t n_ctx;        /* positions; 0: the model's own limit, at most 4096 */
} sd_session_opt;

typedef struct sd_session sd_session;
sd_status sd_session_new(sd_session **out, const sd_model *m, const sd_session_opt *opt, sd_err *err);
void sd_session_free(sd_session *s);
/* Hooks run in order of attachment. The id is for detach. */
sd_status sd_session_attach(sd_session *s, const sd_hook *hook, int *id, sd_err *err);
void sd_session_detach(sd_session *s, int id);
/* Forget positions >= pos. */
void sd_session_rewind(sd_session *s, int64_t pos);
int64_t sd_session_pos(const sd_session *s);
int64_t sd_session_ctx(const sd_session *s);

typedef enum sd_want_logits { SD_LOGITS_NONE, SD_LOGITS_LAST, SD_LOGITS_ALL } sd_want_logits;

typedef struct sd_segment {
    sd_session *s;
    const int32_t *tok;   /* [n] */
    int64_t n;
    sd_want_logits want;
    sd_mat logits;        /* out: [1 or n, V], in the runner's memory until its next step; empty when not wanted */
} sd_segment;

/* A runner owns the scratch of a step of at most max_rows rows (all segments together) and max_logit_rows rows of logits. */
typedef struct sd_runner sd_runner;
typedef struct sd_runner_opt { int64_t max_rows, max_logit_rows; int64_t n_ctx; } sd_runner_opt; /* 0: 512, 1, 4096 */
sd_status sd_runner_new(sd_runner **out, const sd_exec *ex, const sd_model *m, const sd_runner_opt *opt, sd_err *err);
void sd_runner_free(sd_runner *r);
size_t sd_runner_bytes(const sd_runner *r);
/* last_layer: blocks 0..last_layer run (-1: all), then the step ends without final norm and head unless it was the last block.
 * SD_E_ARG when a session is over its context ("position 512 of 512"), a token is outside the vocabulary, or a session is there twice. On error no session has moved. */
sd_status sd_runner_step(sd_runner *r, sd_segment *seg, int n_seg, int last_layer, sd_err *err);

#endif

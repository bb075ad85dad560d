/* openai: one request for text, from its body to its answer: what /v1/chat/completions, /v1/completions and the steering routes share. */
#ifndef SD_SERVE_OPENAI_H
#define SD_SERVE_OPENAI_H

#include "serve/say.h"
#include "serve/server_int.h"

/* One choice of the answer. */
typedef struct sd_lane_text {
    sd_say say;
    sd_buf text;            /* answers in one piece: all of it */
    int64_t n_read, n_told; /* tokens that went into say; whose log-probabilities were told */
    bool over, done;        /* no more text will come; its end was told */
    const char *name;       /* "plain", "steered", "prompt"; NULL outside compare */
    int64_t n_prompt;
} sd_lane_text;

typedef struct sd_run {
    sd_server *s;
    json_t *body;           /* owned; strings of it are borrowed */
    bool chat, stream, usage, began;
    bool compare;           /* choices are lanes, which are named */
    sd_job *job;            /* owned */
    sd_edits *edits;        /* [n] owned */
    sd_lane_text *lane;     /* [n] owned */
    sd_seq_state *state;    /* [n] owned */
    sd_bias *bias;          /* owned */
    int n, n_bias, n_each;  /* n_each: choices of a prompt, lane after lane */
    char id[48], model[200];
    int64_t created;
    uint64_t seed, seen;
    bool submitted;
} sd_run;

/* Takes the body over, also on failure. */
int sd_run__new(sd_run **out, sd_server *s, json_t *body, bool chat, sd_problem *p);
/* Cancels what still runs. NULL is fine. */
void sd_run__free(sd_run *r);
/* Text of lane i that is new, appended to out; notices its end. */
void sd_run__read(sd_run *r, int i, sd_buf *out);
/* Waits until every lane is over, the texts in lane[i].text. */
int sd_run__finish(sd_run *r, const sd_request *rq, sd_problem *p);
/* "stop", "length"; NULL while it runs. */
const char *sd_run__reason(const sd_run *r, int i);
/* "tokens": a lane's logprobs in the chat's shape, of tokens [from, to), as the value of an open key. */
void sd_run__logprobs(sd_jw *w, const sd_run *r, int i, int64_t from, int64_t to);

#endif

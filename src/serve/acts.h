/* acts: a dictionary's codes of a text, computed on the engine's thread beside everything else. */
#ifndef SD_SERVE_ACTS_H
#define SD_SERVE_ACTS_H

#include "serve/server_int.h"

typedef struct sd_acts {
    const sd_reg_dict *dict;
    sd_ids ids;         /* [n] owned */
    sd_codes codes;     /* row i: token i; owned */
    bool *sink;         /* [n] rows whose norm is that of an attention sink, which no feature describes; owned */
} sd_acts;
/* Takes ids over. Zero-initialise out; release it also after a problem. */
int sd_acts__run(sd_acts *out, sd_server *s, const sd_reg_dict *d, sd_ids *ids, const sd_request *rq, sd_problem *p);
void sd_acts__release(sd_acts *a);
/* Value of feature f at token i; 0 when it is silent. */
float sd_acts__at(const sd_acts *a, int64_t i, int64_t f);

/* A feature over a text: where it is highest, and how much of it there is. */
typedef struct sd_act_peak { int32_t feature, at; float max; double sum; int64_t n; } sd_act_peak;
/* The n_out features with the highest peaks over tokens that are neither special nor sinks, highest first, ties to the lower index; fewer when fewer fire. on:
 * [n] which tokens count; NULL: all of those. Gives their number, or -1 when memory is out. */
int64_t sd_acts__peaks(sd_act_peak *out, int64_t n_out, const sd_acts *a, const sd_tok *tok, const bool *on);
/* A token's text as it stands in "tokens": what is no whole character as its bytes. */
void sd_acts__token(sd_jw *w, const sd_tok *tok, int32_t id);

/* The dictionary of a request; 404 when unknown, 400 when it does not say its site. name NULL: the only one there is. */
int sd_acts__dict(const sd_reg_dict **out, const sd_server *s, const char *name, const char *param, sd_problem *p);

#endif

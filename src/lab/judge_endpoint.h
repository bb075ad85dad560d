/* A model behind an endpoint as judge: it is shown a request and an answer and says one word. What it does not say clearly is unscored, and so is what it could not be
 * asked. Marks that would end its prompt early are taken out of both texts first (an answer may try to speak to its judge). */
#ifndef SD_LAB_JUDGE_ENDPOINT_H
#define SD_LAB_JUDGE_ENDPOINT_H

#include "lab/endpoint.h"
#include "lab/judge.h"

typedef struct sd_judge_case { const char *request, *answer; sd_class cls; } sd_judge_case; /* borrowed; cls is filled */
/* n_silent: cases left without a verdict: no answer came, or none that names one class. */
sd_status sd_judge_by_endpoint(sd_judge_case *c, int64_t n, const sd_endpoint *e, int64_t *n_silent, const sd_progress *progress, sd_err *err);
/* Its errors on at most n of the labelled answers that have prompts; cases without a verdict are in no rate and in *n_silent. SD_E_FORMAT: none has one. */
sd_status sd_judge_measure_endpoint(sd_judge_error *out, const sd_labelled_set *set, int64_t n, const sd_endpoint *e, int64_t *n_silent, const sd_progress *progress, sd_err *err);
/* "endpoint MODEL at HOST:PORT/PATH, prompt 1a2b3c4d" for records, under 96 bytes: one model name at two addresses is two judges. Of the address neither user, password
 * nor query; names over 28 bytes are cut and followed by a hash. */
void sd_judge_endpoint_name(char *out, size_t cap, const sd_endpoint *e);

/* Internal, visible for tests: what the judge said; the prompt of one case. */
sd_class sd_judge__word(sd_slice said);
void sd_judge__prompt(sd_buf *out, const sd_judge_case *c);

#endif

/* heard: are first tokens refusals? What a model opens its answers to one kind of prompts with is learnt without asking what it means (lab/refusal.h): a model that obeys
 * has tokens that open its answers to harmful requests and to no others, too ("Sure"). So the answers themselves are made, greedily, and judged by phrases; they live in
 * memory until then. */
#ifndef SD_LAB_HEARD_H
#define SD_LAB_HEARD_H

#include "lab/judge.h"
#include "lab/refusal.h"

enum { SD_HEARD_PROMPTS = 32, SD_HEARD_TOKENS = 20 }; /* `audit run --quick` looks at as many tokens beside its own judgement */

typedef struct sd_heard_ask {
    const char *const *text;     /* [n] positive prompts; the first SD_HEARD_PROMPTS are asked */
    int64_t n;
    sd_system system;
    const sd_phrases *phrases;
    const sd_progress *progress;
} sd_heard_ask;
typedef struct sd_heard {
    int64_t n, opened, said;     /* asked; of these, whose score by first tokens is above 0; of those, that the phrases call refusals */
    char judge[64];
} sd_heard;
/* Half of what opens as a refusal is one: what the first tokens say may be believed. True where nothing opens so. */
bool sd_heard_backs(const sd_heard *h);
sd_status sd_lab_heard(sd_heard *out, const sd_exec *ex, const sd_model *m, const sd_refusal_set *set, const sd_heard_ask *ask, sd_err *err);

#endif

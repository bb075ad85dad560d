/* Prompts as a model sees them: the chat template around each text, as token ids, with what they share at both ends.
 *
 *   [ shared prefix | the instruction .. its last token | n_after tokens of the template ]
 *
 * n_after is Arditi et al. 2024's "post-instruction" part: the tokens of the rendered text behind the instruction, which are the same for
 * every prompt. A position -1 is the last token; -(n_after + 1) the instruction's last one. */
#ifndef SD_LAB_RENDER_H
#define SD_LAB_RENDER_H

#include "base/hash.h"
#include "model/session.h"

/* DEFAULT: no system message is given, the template's own one applies. NONE: an empty one where the template brings its own, else none.
 * TEXT: the one given. */
typedef enum sd_system_kind { SD_SYSTEM_DEFAULT, SD_SYSTEM_NONE, SD_SYSTEM_TEXT } sd_system_kind;
typedef struct sd_system { sd_system_kind kind; const char *text; } sd_system;
/* "default", "none", or the text itself; borrowed. */
static inline sd_system sd_system_of(const char *text)
{
    const sd_system_kind kind = strcmp(text, "default") == 0 ? SD_SYSTEM_DEFAULT : strcmp(text, "none") == 0 ? SD_SYSTEM_NONE : SD_SYSTEM_TEXT;
    return (sd_system){kind, kind == SD_SYSTEM_TEXT ? text : NULL};
}

typedef struct sd_rendered {
    int64_t n, n_prefix, n_after, longest; /* prompts; tokens that all share at the front and behind the instruction; longest prompt */
    int32_t *ids;                          /* all prompts, one after another; owns */
    int64_t *start;                        /* [n + 1] */
    char sha256[65];                       /* of the rendered texts, each with its length */
} sd_rendered;

/* wrap (may be NULL): text in which the first "{}" stands for the prompt. SD_E_UNSUPPORTED: the model has no chat template, or one that changes the
 * user's text; SD_E_ARG with the prompt's number when one is longer than n_ctx - 1. */
typedef struct sd_render_opt { sd_system system; const char *wrap; int64_t n_ctx; } sd_render_opt;
sd_status sd_render(sd_rendered *out, const sd_model *m, const char *const *text, int64_t n, const sd_render_opt *opt, sd_err *err);
void sd_rendered_release(sd_rendered *r);
static inline const int32_t *sd_rendered_ids(const sd_rendered *r, int64_t i, int64_t *n)
{
    *n = r->start[i + 1] - r->start[i];
    return r->ids + r->start[i];
}

#endif

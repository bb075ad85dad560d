/* What audits and directions are given: suites of prompts, and a text whose cross-entropy is measured. */
#ifndef SD_CLI_PROMPTS_H
#define SD_CLI_PROMPTS_H

#include "cli/cli.h"
#include "lab/heard.h"
#include "lab/suite.h"
#include "model/model.h"

/* The files of paths, limit prompts of each drawn by the run's seed (0: all). Refused: a file given twice, or two of one name that share an id, whose prompts would count
 * twice. *out [*n] is the caller's, by cli_suites_close also after an error. */
sd_status cli_suites_open(sd_suite **out, int *n, cli *c, const opt_list *paths, int64_t limit, sd_err *err);
void cli_suites_close(sd_suite *s, int n);
/* The tokens of a file as plain text, appended to ids; at most 64 MB. */
sd_status cli_text_ids(sd_ids *ids, const sd_model *m, const char *path, sd_err *err);

/* Are the first tokens of set refusals? ask: text, n, system; phrases: a file, or NULL for the literature's. */
#define CLI_PHRASES_HELP "refusal phrases, one a line, instead of the literature's twelve: do the answers that open as refusals hold one?"
sd_status cli_heard(sd_heard *out, cli *c, const sd_model *m, const sd_refusal_set *set, sd_heard_ask ask, const char *phrases, sd_err *err);
const char *cli_heard_text(char *out, size_t cap, const sd_heard *h);
/* "phrases": an object, or null where nobody was asked. */
void cli_heard_json(sd_jw *w, const sd_heard *h);

#endif

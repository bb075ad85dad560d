/* What audits and directions are given: suites of prompts, and a text whose cross-entropy is measured. */
#ifndef SD_CLI_PROMPTS_H
#define SD_CLI_PROMPTS_H

#include "cli/cli.h"
#include "lab/suite.h"
#include "model/model.h"

/* The files of paths, limit prompts of each drawn by the run's seed (0: all). *out [*n] is the caller's, by cli_suites_close also after an error. */
sd_status cli_suites_open(sd_suite **out, int *n, const cli *c, const opt_list *paths, int64_t limit, sd_err *err);
void cli_suites_close(sd_suite *s, int n);
/* The tokens of a file as plain text, appended to ids; at most 64 MB. */
sd_status cli_text_ids(sd_ids *ids, const sd_model *m, const char *path, sd_err *err);

#endif

/* What `feature search` and `feature near` print: a list of features. */
#ifndef SD_CLI_FEATURE_LIST_H
#define SD_CLI_FEATURE_LIST_H

#include "cli/cli.h"
#include "store/store.h"

/* score: name of the column of the score. Returns the exit code. */
int feature_list_print(cli *c, sd_store *s, const sd_feature_list *l, const char *score, const char *schema);

#endif

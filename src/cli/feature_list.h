/* What `feature search` and `feature near` print: a list of features. */
#ifndef SD_CLI_FEATURE_LIST_H
#define SD_CLI_FEATURE_LIST_H

#include "cli/cli.h"
#include "store/store.h"

/* What a person reads for a feature: its label, else the words at its peaks, else why it has none. */
const char *feature_label(const char *label, const char *words, int64_t n_fire);
/* score: what the list's score is: "score" (a search), "cosine", or the key it is sorted by. Returns the exit code. */
int feature_list_print(cli *c, sd_store *s, const sd_feature_list *l, const char *score, const char *schema);

#endif

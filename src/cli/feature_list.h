/* What several commands print of features: lists of them, and answers with one turned up. */
#ifndef SD_CLI_FEATURE_LIST_H
#define SD_CLI_FEATURE_LIST_H

#include "cli/cli.h"
#include "store/store.h"

/* What a person reads for a feature: its label, else the words at its peaks, else why it has none. */
const char *feature_label(const char *label, const char *words, int64_t n_fire);
/* score: what the list's score is: "score" (a search), "cosine", or the key it is sorted by. Returns the exit code. */
int feature_list_print(cli *c, sd_store *s, const sd_feature_list *l, const char *score, const char *schema);
/* key: [{"prompt", "plain", "steered"}, ..] of n answers, or up to the first prompt that is NULL. */
void feature_answers(sd_jw *w, const char *key, int n, const char *const *prompt, char *const *plain, char *const *steered);

#endif

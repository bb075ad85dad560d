/* Features as JSON, the same for --json and for the server. Token texts are what the tokens say; a token that is no whole character is
 * shown as its bytes ("⟨E2 82⟩"). */
#ifndef SD_LAB_FEATURE_JSON_H
#define SD_LAB_FEATURE_JSON_H

#include "base/json.h"
#include "store/store.h"

/* The members of one row of a list: "index","label","label_source","density","score","max_act","mean_act","n_fire","interest","top_logits".
 * Without a label, "label" is the words at its peaks and "label_source" is "words". */
void sd_feature_brief_write(sd_jw *w, sd_store *s, const sd_feature_brief *b);
/* "features": [..], "n", "n_total". */
void sd_feature_list_write(sd_jw *w, sd_store *s, const sd_feature_list *l);
/* The members of a whole feature. */
void sd_feature_write(sd_jw *w, sd_store *s, const sd_feature *f);
/* "labels": all of them, also those that are not shown. */
void sd_feature_labels_write(sd_jw *w, const sd_feature *f);
/* "store": what was studied: model, dictionary, corpus figures. */
void sd_store_info_write(sd_jw *w, const sd_store_info *in);
/* The text of a token as described above, appended to b. */
void sd_feature_token_text(sd_buf *b, sd_store *s, int32_t id);

#endif

/* How the bytes of tokens are shown: a token may be half a character, a line break, a control byte or a special token. */
#ifndef SD_LAB_TOKEN_TEXT_H
#define SD_LAB_TOKEN_TEXT_H

#include "store/store.h"

/* Appends the token as text that can stand anywhere: valid UTF-8 is kept, a newline becomes "↵", a tab "⇥", other control
 * bytes and halves of characters "⟨E2 82⟩", characters that cannot be seen or turn the direction of the text "⟨U+200B⟩". */
void sd_token_show(sd_buf *out, sd_slice bytes);
/* The same for token id of a store; a gap is "…". */
void sd_token_show_id(sd_buf *out, sd_store *s, int32_t id);

/* As a name in a list: the spaces in front are "·", so that " the" is told from "the". */
void sd_token_name(sd_buf *out, sd_slice bytes);
void sd_token_name_id(sd_buf *out, sd_store *s, int32_t id);

/* The bytes of token id, whoever knows the vocabulary; empty for a gap. */
typedef struct sd_vocab { sd_slice (*bytes)(const void *self, int32_t id); const void *self; } sd_vocab;
/* Appends the text of tokens [a, b) as it reads, cut to whole characters, with gaps and line breaks as spaces. */
void sd_tokens_text(sd_buf *out, const sd_vocab *v, const int32_t *tok, int a, int b);
/* Appends the whole word that holds token at (its neighbours in tok[0..n) complete it): letters, digits and bytes above ASCII,
 * apostrophes and hyphens inside. A token without any is shown as sd_token_show does, without its spaces; of nothing but spaces, each
 * as "·": a name that nobody sees is none. */
void sd_word_at(sd_buf *out, const sd_vocab *v, const int32_t *tok, int n, int at);

#endif

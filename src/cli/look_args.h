/* What lens, attn, patch, attribute and near share: a prompt from the command line, the tokens in JSON, the page. */
#ifndef SD_CLI_LOOK_ARGS_H
#define SD_CLI_LOOK_ARGS_H

#include "cli/cli.h"
#include "lab/look_page.h"
#include "model/model.h"

/* Rows of an option table for a prompt; the args struct has these members. */
#define LOOK_PROMPT_OPTS(args)                                                                                         \
    {0, "text", OPT_STR, AT(args, text), .arg = "TEXT", .help = "the prompt, tokenised by the model"},                 \
    {0, "ids", OPT_INTS, AT(args, ids), .arg = "IDS", .help = "the prompt as token ids"},             \
    {0, "no-special", OPT_BOOL, AT(args, no_special), .help = "neither add nor read special tokens in --text"}
#define LOOK_HTML_OPT(args) {0, "html", OPT_STR, AT(args, html), .arg = "FILE", .help = "also write the picture as one page"}

/* ids from text, or from the list. */
sd_status look_prompt(sd_ids *ids, const sd_model *m, const char *text, opt_ints list, bool no_special, sd_err *err);
/* The prompt as text, of the first 400 bytes; in b. */
const char *look_prompt_text(sd_buf *b, const sd_model *m, const sd_ids *ids);
/* "tokens": [{"id","text"}, ..] */
void look_put_tokens(sd_jw *w, const sd_model *m, const int32_t *id, int64_t n);
void look_put_token(sd_jw *w, const char *key, const sd_model *m, int32_t id); /* {"id","text"}, or null for -1 */
/* Out cell of a token as the tables show it. */
void look_cell(out_table *t, const sd_model *m, int32_t id);
/* --html: may FILE be written? SD_OK without one. */
sd_status look_html_check(const cli *c, const char *path, sd_err *err);
/* c->prov.mode filled, in filled with the model's name and provenance. */
sd_look_in look_in(cli *c, const sd_model *m, const char *prompt);
sd_status look_html_write(cli *c, const char *path, const sd_buf *page, sd_err *err);
enum { LOOK_PAGE_MAX = 1 << 28 };

#endif

/* The pages of lens, attn, patch, attribute and near: one file, no script, no network, a policy that allows its own style and nothing
 * else (by its SHA-256), light and dark, from 360 pixels of width. Text of models is escaped.
 *
 *   sd_page_begin(b, &(sd_page){..}); sd_page_fact(b, "tokens", "%d", 12); sd_page_body(b); sd_page_grid(b, &grid, NULL); sd_page_end(b, &prov); */
#ifndef SD_LAB_LOOK_PAGE_H
#define SD_LAB_LOOK_PAGE_H

#include "base/prov.h"
#include "lab/attribute.h"
#include "lab/attn_study.h"
#include "lab/grid.h"
#include "lab/lens.h"
#include "lab/patch.h"
#include "lab/vectors.h"

typedef struct sd_page { const char *kicker, *title, *lead; } sd_page; /* lead: our own sentence, no markup */
void sd_page_begin(sd_buf *b, const sd_page *p);
void sd_page_fact(sd_buf *b, const char *name, const char *fmt, ...) SD_PRINTF(3, 4);
void sd_page_body(sd_buf *b);
void sd_page_heading(sd_buf *b, const char *title, const char *text); /* text may be NULL */
/* The heat map as a table: every cell says its numbers in its tooltip; small ones in the cell. */
void sd_page_grid(sd_buf *b, const sd_grid *g, const char *note);
/* A row of a list with a bar: share -1..1 of the widest; one_sided: none is negative, and bars begin at the left. */
void sd_page_bars_begin(sd_buf *b, const char *what, const char *value, bool one_sided);
void sd_page_bar(sd_buf *b, const char *name, double value, double share, const char *more);
void sd_page_bars_end(sd_buf *b);
/* Lines of a chart, told apart by their dashes: line i of an open <svg>, with its points ("x,y " each) between begin and end; then, when the
 * chart's <svg> is closed, the key that names each by the same dashes. */
void sd_page_line_begin(sd_buf *b, int i);
void sd_page_line_end(sd_buf *b, const char *name);
void sd_page_lines_key_begin(sd_buf *b);
void sd_page_lines_key(sd_buf *b, int i, const char *name);
void sd_page_lines_key_end(sd_buf *b);
void sd_page_end(sd_buf *b, const sd_prov *prov);

/* Whole pages (look_pages.c). prompt: the text as it is shown. */
typedef struct sd_look_in { const sd_tok *tok; const char *model, *prompt; const sd_prov *prov; } sd_look_in;
sd_status sd_page_lens(sd_buf *b, const sd_look_in *in, const sd_lens *l, sd_err *err);
sd_status sd_page_attn(sd_buf *b, const sd_look_in *in, const sd_attn_study *a, int layer, int head, sd_err *err); /* head -1: the best */
sd_status sd_page_patch(sd_buf *b, const sd_look_in *in, const sd_patch *p, const char *corrupt, const sd_patch_opt *opt, sd_err *err);
sd_status sd_page_attribution(sd_buf *b, const sd_look_in *in, const sd_attribution *a, sd_err *err);
sd_status sd_page_vectors(sd_buf *b, const sd_look_in *in, const sd_vectors *v, const char *space, sd_err *err); /* prompt: the expression */

#endif

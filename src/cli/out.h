/* Printing results. On a terminal: an aligned table, cut to its width, colours. Piped: the same rows as tab-separated values with
 * a header line, uncut. With --json: one document. stdout carries the result and nothing else.
 *
 *   static const out_col cols[] = {{"index", OUT_RIGHT}, {"density", OUT_RIGHT}, {"label", OUT_FILL}};
 *   out_table *t = out_table_new(c, cols, 3);
 *   for (...) { out_i64(t, f.index); out_f64(t, f.density, 3); out_str(t, f.label); }   // a row is full after 3 cells
 *   return out_table_end(t);                                                            // prints, frees, exit code
 *
 *   out_pairs *p = out_pairs_new(c);                                                    // "key  value" lines
 *   out_pair(p, "layers", "%d", cfg.n_layer);
 *   return out_pairs_end(p);
 *
 *   if (c->json) {
 *       out_json j;
 *       sd_jw *w = out_json_begin(c, &j, "sonde.score/1");                              // {"schema":"sonde.score/1",
 *       sd_jw_kf64(w, "ppl", r.ppl);
 *       return out_json_end(c, &j);                                                     // adds "provenance", closes, prints
 *   }
 *
 * Text of models and corpora is cleaned before it reaches a terminal: control bytes and escape sequences are shown as
 * \x1b, invalid UTF-8 as \xff; in cells a newline becomes a visible mark. Piped cells write \t \n \r \\ so that a row stays a line. */
#ifndef SD_CLI_OUT_H
#define SD_CLI_OUT_H

#include "base/json.h"

typedef struct cli cli;

typedef enum out_align { OUT_LEFT, OUT_RIGHT, OUT_FILL } out_align; /* FILL: left, and cut first when the terminal is too narrow */
typedef struct out_col { const char *name; out_align align; } out_col;
typedef struct out_table out_table;
/* cols borrowed until end. Never NULL: running out of memory is kept and told by end. */
out_table *out_table_new(cli *c, const out_col *cols, int n);
void out_str(out_table *t, const char *s); /* NULL: empty */
void out_slice(out_table *t, sd_slice s);
void out_i64(out_table *t, int64_t v);      /* 16,384 on a terminal, 16384 piped */
void out_f64(out_table *t, double v, int digits); /* significant digits; "-" for NaN */
void out_bytes(out_table *t, double bytes); /* 12.3 MB on a terminal, the number piped */
void out_cell(out_table *t, const char *fmt, ...) SD_PRINTF(2, 3);
int out_table_end(out_table *t); /* 0, or the exit code after the error was printed */

typedef struct out_pairs out_pairs;
out_pairs *out_pairs_new(cli *c);
void out_pair(out_pairs *p, const char *key, const char *fmt, ...) SD_PRINTF(3, 4);
void out_pair_slice(out_pairs *p, const char *key, sd_slice value);
int out_pairs_end(out_pairs *p);

/* A sentence of the result beside a table, and a newline: behind "# " when piped, so that the rows stay a table to whoever skips comments. */
void out_say(cli *c, const char *fmt, ...) SD_PRINTF(2, 3);

typedef struct out_json { sd_buf buf; sd_jw w; } out_json;
sd_jw *out_json_begin(cli *c, out_json *j, const char *schema);
int out_json_end(cli *c, out_json *j);       /* with a "provenance" object made of c->prov */
int out_json_end_plain(cli *c, out_json *j); /* without one (tokenize, version: nothing was computed with a model) */

/* Text as it comes (run's tokens): raw when piped, cleaned on a terminal where newline and tab stay. Keeps a cut UTF-8 sequence back until
 * the next call; out_text_end writes what is left. */
typedef struct out_text { char held[4]; int n_held; } out_text;
void out_text_put(cli *c, out_text *t, sd_slice s);
void out_text_end(cli *c, out_text *t);
/* Text that may hold our own colours, broken at spaces before the terminal's last column; following lines start at `indent`. As it
 * is when piped. No newline after it. */
void out_wrapped(cli *c, sd_slice s, int col, int indent);
/* Cleaned copy of s into b, as a cell on a terminal shows it. */
void out_clean(sd_buf *b, sd_slice s);

/* The bytes of b on stdout as they are. */
void out_raw(cli *c, const sd_buf *b);

/* Columns that UTF-8 text takes on a terminal (wide East Asian and emoji 2, combining 0). */
int out_width(sd_slice s);

typedef enum out_style { OUT_PLAIN, OUT_BOLD, OUT_DIM, OUT_RED, OUT_GREEN, OUT_YELLOW, OUT_BLUE } out_style;
/* The escape sequence for stdout, or "" when it has no colours. OUT_PLAIN ends a style. */
const char *out_sgr(const cli *c, out_style s);

/* Flushes stdout and looks at its state: 0, or the exit code after the error was printed (a reader that closed the pipe is no error). */
int out_flush(cli *c);

#endif

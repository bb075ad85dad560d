/* vectors: arithmetic on words. `king - man + woman`, `queen |- woman`; the tokens whose vectors are closest to what comes out.
 *
 *   expr  := term (op term)*      from the left, all operators alike
 *   op    := '+' | '-' | '|-' | '|'      a |- b = a - (a.b / b.b) b, b's projection removed;  a | b = (a.b / b.b) b, only it kept
 *   term  := [number '*'] (word | "'" any text "'" | '(' expr ')')
 * '-' is an operator only between spaces, so that well-known is a word.
 *
 * Spaces: `embed`, rows of the embedding; `unembed`, rows of the head; or a site of the stream (embed, resid_*), the row of a word's last
 * token when the word stands behind the prefix. A word is the token " word" if there is one, else the token "word", else the pieces of
 * " word": the mean of their rows (embed, unembed), the row of the last one (site).
 * By default vectors are raw. `center` takes the mean of all candidates from every vector first (Mu and Viswanath 2018, All-but-the-Top,
 * step 1); `unit` scales each word to length 1 before the arithmetic (Mikolov et al. 2013, Linguistic Regularities, eq. 1).
 *
 * Candidates: every token of the vocabulary for embed and unembed; for a site the tokens that are words (an optional space, then
 * two or more letters), in the order of the vocabulary, and the expression's own. Score: cosine; a zero vector has none.
 *   rank        among all candidates, ties to the lower id
 *   rank_other  among those that were not put in: a candidate is "put in" when it reads as a word of the expression but for spaces at
 *               its ends and the case of ASCII letters. Analogy tables leave those out without saying so (Linzen 2016). */
#ifndef SD_LAB_VECTORS_H
#define SD_LAB_VECTORS_H

#include "base/log.h"
#include "model/session.h"

typedef enum sd_space_kind { SD_SPACE_EMBED, SD_SPACE_UNEMBED, SD_SPACE_SITE } sd_space_kind;
enum { SD_VECTORS_MAX_WORDS = 64, SD_VECTORS_MAX_TOP = 1000 };

typedef struct sd_vectors_opt {
    sd_space_kind space;
    sd_site site;            /* of SD_SPACE_SITE */
    const char *prefix;      /* of SD_SPACE_SITE: text in front of each word; NULL or "": the BOS token where the model has one */
    bool center, unit;
    int n_top;               /* 0: 10 */
    int64_t max_candidates;  /* of SD_SPACE_SITE; 0: 8192 */
    const char *const *word; /* [n_word] words whose ranks are wanted wherever they are; one token each as in expressions */
    int n_word;
    const sd_progress *progress; /* may be NULL */
} sd_vectors_opt;

typedef struct sd_near_token { int32_t id; double cosine; int64_t rank, rank_other; } sd_near_token; /* rank_other 0: it was put in */
typedef struct sd_near_word { char text[96]; int32_t piece[8]; int n_piece; } sd_near_word; /* how a word of the expression was read */

typedef struct sd_vectors {
    sd_near_token *top;            /* [n_top] best first */
    int n_top;
    sd_near_token *asked;          /* [n_asked] opt.word */
    int n_asked;
    sd_near_word word[SD_VECTORS_MAX_WORDS];
    int n_word;
    int64_t n_candidates, n_put_in;
    double norm;             /* of the result */
} sd_vectors;                /* owns */

void sd_vectors_release(sd_vectors *v);
sd_status sd_lab_vectors(sd_vectors *out, const sd_exec *ex, const sd_model *m, const char *expr, const sd_vectors_opt *opt, sd_err *err);

/* ---- the expression (vectors_expr.c) ---- */

/* Nodes in the order in which a stack machine takes them: a word pushes its vector, an operator joins the two on top. */
typedef enum sd_expr_op { SD_EXPR_WORD, SD_EXPR_ADD, SD_EXPR_SUB, SD_EXPR_REJECT, SD_EXPR_PROJECT, SD_EXPR_SCALE } sd_expr_op;
typedef struct sd_expr_node { sd_expr_op op; int word; double by; } sd_expr_node;
typedef struct sd_expr {
    sd_expr_node node[4 * SD_VECTORS_MAX_WORDS];
    int n_node, n_word;
    char word[SD_VECTORS_MAX_WORDS][96];
} sd_expr;
/* SD_E_ARG with the place of the fault. */
sd_status sd_expr_parse(sd_expr *out, const char *text, sd_err *err);
/* vec [n_word, d] by word; out [d]; stack [n_word, d] is scratch. SD_E_ARG where a projection is on a zero vector. */
sd_status sd_expr_eval(double *out, const sd_expr *e, const double *vec, double *stack, int64_t d, sd_err *err);

#endif

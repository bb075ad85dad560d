/* The encoder's scan: which features of a dictionary are worth an exact look for which row. Never holds [n, m].
 *
 * Rows go in tiles of 128, features in blocks of 512. A tile of cheap scores s (bf16 products where the CPU has them, f32
 * elsewhere) is compared with each row's running cut; what passes is scored again by the ISA's f32 dot, and that value alone
 * decides. The cheap score cannot lose a winner: with x^ and w^ the rounded vectors and |.| the Euclidean norm,
 *   |s - x.w| <= |x - x^| |w| + |x^| |w - w^| + g |x^| |w^|      (Cauchy-Schwarz; g bounds any order of d f32 additions,
 *                                                                  Higham 2002, Accuracy and Stability, eq. 3.5)
 * The norms of the errors are measured, not assumed, so e(row, f) = c(row) |w_f| is a proven bound. A row keeps every f with
 * s + b + e >= L, L the k-th largest s + b - e so far: at least k features are that good, so no other can be among the k best.
 * A row whose list is full of near ties, as a wide dictionary's young features are, has them multiplied out while the scan goes on, which leaves
 * the k best of them; one that is full of equal values is scored against every feature exactly.
 *
 * SD_SCAN_INT8 multiplies int8 where the CPU does it at three times the rate of f32 or more. Its error is bounded by Hoeffding's inequality
 * over the draws of an unbiased rounding (scan_int8.c): the chance that it loses one feature which belongs in a list is below 1.3e-14 a
 * pair of row and feature (2e-4 for a million rows and 16,384 features), on any data; what it finds is the same to the last bit. */
#ifndef SD_DICT_SCAN_H
#define SD_DICT_SCAN_H

#include "num/exec.h"

typedef struct sd_scan sd_scan;
/* Scores by int8 only where the CPU has such products; SD_SCAN_LISTED is int8 with m d bytes more, for sd_scan_topk_listed. */
typedef enum sd_scan_how { SD_SCAN_PROVEN, SD_SCAN_INT8, SD_SCAN_LISTED } sd_scan_how;
/* k > 0: for sd_scan_topk, k <= m; k = 0: for sd_scan_above. */
sd_status sd_scan_new(sd_scan **out, const sd_exec *ex, int64_t m, int64_t d, int k, sd_scan_how how, sd_err *err);
void sd_scan_free(sd_scan *s);
size_t sd_scan_plan(const sd_exec *ex, int64_t m, int64_t d, int k, sd_scan_how how); /* bytes it will hold, oneDNN's own apart */
/* Can it serve this exec (same kernels, no more threads than it was made for)? */
bool sd_scan_fits(const sd_scan *s, const sd_exec *ex);

/* Takes in weights W [m, d] and bias b [m], both borrowed until the next pack. gate [m] (NULL: 0) is for sd_scan_above. */
void sd_scan_pack(sd_scan *s, const sd_exec *ex, const float *W, const float *b, const float *gate);

/* The same where every row of this W that changed since its last pack went through sd_scan_pack_row; b and gate may be any. */
void sd_scan_repack(sd_scan *s, const sd_exec *ex, const float *W, const float *b, const float *gate);
/* Row f was just changed and lies in this thread's cache: int8 rounds it now. Does nothing for a W that was never packed, or without int8. */
void sd_scan_pack_row(sd_scan *s, const float *W, int64_t f);

/* For every row of x (minus sub, where sub [d] is given): the k features with the largest dot(x - sub, w_f) + b_f, ties to the
 * lower index, features ascending. idx, val [n, k]; values may be negative. Returns the first row that is not finite, or -1. */
int64_t sd_scan_topk(sd_scan *s, const sd_exec *ex, int32_t *idx, float *val, sd_mat x, const float *sub);

/* Groups of rows, each with a list of features: group p is rows row[col[p]] .. row[col[p + 1] - 1] of x; list [n_group, n_listed], ascending, n_listed >= k.
 * Features in_turn[0] .. in_turn[1] - 1 compete in every group (sd_scan_turn; the same twice: none). */
typedef struct sd_scan_lists { const int64_t *col; const int32_t *row, *list; int64_t n_group, n_listed, in_turn[2]; } sd_scan_lists;
/* Part `turn` of all features in n_turns parts, which whole blocks of the scan make up: a part may be empty. */
void sd_scan_turn(const sd_scan *s, int64_t turn, int64_t n_turns, int64_t range[2]);
/* sd_scan_topk where a row's k are the best of its group's list and of those in turn. Rows of no group are not written. Without int8 every listed feature is multiplied out. */
int64_t sd_scan_topk_listed(sd_scan *s, const sd_exec *ex, int32_t *idx, float *val, sd_mat x, const sd_scan_lists *lists);

/* For every row: the features with dot + b > max(gate_f, 0). *bad as above. Lists grow: SD_E_NOMEM is possible. */
typedef struct sd_scan_list { int32_t *idx; float *val; int64_t *row_ptr; int64_t cap; } sd_scan_list; /* row_ptr [n+1] given; idx, val grown with sd_realloc */
sd_status sd_scan_above(sd_scan *s, const sd_exec *ex, sd_scan_list *out, sd_mat x, const float *sub, int64_t *bad, sd_err *err);

/* The same without asking for memory, into lists that stay: out holds cap entries; up to n_rows rows. False: more entries than that (one
 * tile may hold twice its share). */
sd_status sd_scan_reserve(sd_scan *s, int64_t n_rows, int64_t cap, sd_err *err);
size_t sd_scan_reserve_plan(const sd_exec *ex, sd_scan_how how, int64_t n_rows, int64_t cap); /* bytes of it */
bool sd_scan_above_into(sd_scan *s, const sd_exec *ex, sd_scan_list *out, sd_mat x, const float *sub, int64_t *bad);

/* Looks at rows [r0, r0 + n) again, every feature exactly: what of that is missing in the lists (of rows from row_ptr[0] on; NULL: k a row). x is
 * already centred. For tests of the margin while training goes on. */
typedef struct sd_scan_audit { int64_t n_rows, n_right, n_missed; } sd_scan_audit;
sd_scan_audit sd_scan_check(sd_scan *s, const sd_exec *ex, sd_mat x, const int32_t *idx, const int64_t *row_ptr, int64_t r0, int64_t n);

/* Since the last call: exact dots taken, rows that overflowed. For tests and figures. */
typedef struct sd_scan_count { int64_t n_exact, n_overflow; } sd_scan_count;
sd_scan_count sd_scan_take_count(sd_scan *s);
bool sd_scan_is_bf16(const sd_scan *s);
bool sd_scan_is_int8(const sd_scan *s);

#endif

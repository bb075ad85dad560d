/* Slices (pointer, length) of borrowed bytes, a bounded growable buffer, strict number parsing, UTF-8. */
#ifndef SD_BASE_STR_H
#define SD_BASE_STR_H

#include "base/mem.h"
#include <string.h>

typedef struct sd_slice {
    const char *p;
    size_t n;
} sd_slice;                           /* borrows */
#define SD_SLICE(s) (int)(s).n, (s).p /* for "%.*s" */
#define SD_LIT(s)   ((sd_slice){(s), sizeof(s) - 1})
static inline sd_slice sd_slice_of(const char *s)
{
    return (sd_slice){s, s ? strlen(s) : 0};
}
bool sd_slice_eq(sd_slice a, sd_slice b);
bool sd_slice_eq_str(sd_slice a, const char *s);
bool sd_slice_starts(sd_slice s, const char *prefix);
bool sd_slice_ends(sd_slice s, const char *suffix);
/* Cuts the part before the first `sep` off *rest; false when *rest is used up. "a,,b" gives "a", "", "b". */
bool sd_slice_cut(sd_slice *rest, char sep, sd_slice *part);
sd_slice sd_slice_trim(sd_slice s);

/* The whole slice must be the number; no leading '+', no spaces, range checked. Locale-independent. */
bool sd_parse_i64(sd_slice s, int64_t *out);
bool sd_parse_u64(sd_slice s, uint64_t *out);
bool sd_parse_f64(sd_slice s, double *out); /* finite numbers only */

/* The fewest digits that read back as the same number, in any locale; NaN and infinities as "nan", "inf", "-inf".
 * Return out. */
#define SD_FMT_MAX 32
const char *sd_fmt_f64(char out[SD_FMT_MAX], double v);
const char *sd_fmt_f32(char out[SD_FMT_MAX], float v);

/* A growable byte buffer with a maximum given at init. After a failed append `failed` stays set and appends do nothing.
 */
typedef struct sd_buf {
    char *p;
    size_t n, cap, max;
    bool failed;
} sd_buf;
void sd_buf_init(sd_buf *b, size_t max_bytes);
void sd_buf_release(sd_buf *b);
void sd_buf_reset(sd_buf *b);
void sd_buf_put(sd_buf *b, const void *p, size_t n);
void sd_buf_putc(sd_buf *b, char c);
void sd_buf_puts(sd_buf *b, const char *s);
void sd_buf_printf(sd_buf *b, const char *fmt, ...) SD_PRINTF(2, 3);
/* NUL-terminated view, "" when empty; valid until the next append. */
const char *sd_buf_str(sd_buf *b);
/* SD_OK, or SD_E_NOMEM with the maximum in the sentence. */
sd_status sd_buf_check(const sd_buf *b, const char *what, sd_err *err);

/* Length of the valid UTF-8 prefix of s; equals s.n when all of it is valid (no surrogates, no overlong forms). */
size_t sd_utf8_valid_prefix(sd_slice s);
/* iconv's name of UTF-16, which is known by its byte order mark, or by beginning with two letters below U+0100. NULL: it is not. */
const char *sd_utf16_name(sd_slice s);
/* Whether s, all of the text `what`, is UTF-8: SD_E_FORMAT with line and byte, SD_E_UNSUPPORTED when it is UTF-16. */
sd_status sd_text_check(sd_slice s, const char *what, sd_err *err);
/* Decodes one code point at p[0..n); returns its bytes (0 when invalid or cut). */
int sd_utf8_decode(const char *p, size_t n, uint32_t *cp);
int sd_utf8_encode(uint32_t cp, char out[4]); /* bytes written, 0 when cp is no scalar value */

#endif

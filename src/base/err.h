/* Making errors. `return sd_fail(err, SD_E_FORMAT, "%s: ...", path);` is the whole idiom. */
#ifndef SD_BASE_ERR_H
#define SD_BASE_ERR_H

#include "sonde/status.h"
#include <stdarg.h>

#define SD_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Fills err (if not NULL) and returns code. Clears the hint. Messages too long are cut at a UTF-8 boundary. */
sd_status sd_fail(sd_err *err, sd_status code, const char *fmt, ...) SD_PRINTF(3, 4);
/* As sd_fail with strerror(errno_value) appended; ENOSPC and EDQUOT give SD_E_NOSPACE, ENOMEM SD_E_NOMEM, ENOENT
 * SD_E_NOTFOUND, others SD_E_IO. */
sd_status sd_fail_errno(sd_err *err, int errno_value, const char *fmt, ...) SD_PRINTF(3, 4);
/* Sets the hint of an error that was already made. Returns err->code (SD_E_FAIL if err is NULL). */
sd_status sd_hint(sd_err *err, const char *fmt, ...) SD_PRINTF(2, 3);
/* Puts "context: " in front of the sentence. Returns err->code (SD_E_FAIL if err is NULL). */
sd_status sd_err_wrap(sd_err *err, const char *fmt, ...) SD_PRINTF(2, 3);

/* Programming errors. Kept in release: prints to stderr and aborts. */
void sd_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn, cold));
#define SD_ASSERT(e) ((e) ? (void)0 : sd_assert_fail(#e, __FILE__, __LINE__))

#endif

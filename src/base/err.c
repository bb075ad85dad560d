/* Errors: one sentence a failure. A message is formatted beside the sd_err before it is copied in, so that
 * an error may quote the one it replaces. Names and texts from files end up in sentences: control bytes in
 * them are shown as '?', so that a file cannot steer the reader's terminal. */
#include "base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Formats into out[cap], cuts at a UTF-8 boundary, replaces control bytes. */
static void format_text(char *out, size_t cap, const char *fmt, va_list ap)
{
    int n = vsnprintf(out, cap, fmt, ap);
    if (n < 0) out[0] = '\0';
    size_t len = strlen(out);
    if (n >= 0 && (size_t)n >= cap) {
        /* The cut may have split a sequence: step back over its continuation bytes, then over its head. */
        size_t i = len;
        while (i > 0 && ((unsigned char)out[i - 1] & 0xc0) == 0x80) i--;
        if (i > 0 && (unsigned char)out[i - 1] >= 0xc0) {
            unsigned char head = (unsigned char)out[i - 1];
            size_t need = head >= 0xf0 ? 4 : head >= 0xe0 ? 3 : 2;
            if (len - (i - 1) < need) len = i - 1;
        }
        out[len] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)out[i];
        if (c < 0x20 || c == 0x7f) out[i] = '?';
    }
}

static void set_error(sd_err *err, sd_status code, const char *msg)
{
    err->code = code;
    err->hint[0] = '\0';
    memcpy(err->msg, msg, strlen(msg) + 1);
}

sd_status sd_fail(sd_err *err, sd_status code, const char *fmt, ...)
{
    SD_ASSERT(code != SD_OK);
    if (!err) return code;
    char msg[SD_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_text(msg, sizeof msg, fmt, ap);
    va_end(ap);
    set_error(err, code, msg);
    return code;
}

static sd_status status_of_errno(int e)
{
    switch (e) {
    case ENOSPC:
    case EDQUOT:
        return SD_E_NOSPACE;
    case ENOMEM:
        return SD_E_NOMEM;
    case ENOENT:
        return SD_E_NOTFOUND;
    default:
        return SD_E_IO;
    }
}

sd_status sd_fail_errno(sd_err *err, int errno_value, const char *fmt, ...)
{
    sd_status code = status_of_errno(errno_value);
    if (!err) return code;
    char msg[SD_ERR_MSG_MAX], buf[128];
    va_list ap;
    va_start(ap, fmt);
    format_text(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return sd_fail(err, code, "%s: %s", msg, strerror_r(errno_value, buf, sizeof buf));
}

sd_status sd_hint(sd_err *err, const char *fmt, ...)
{
    if (!err) return SD_E_FAIL;
    char hint[SD_ERR_HINT_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_text(hint, sizeof hint, fmt, ap);
    va_end(ap);
    memcpy(err->hint, hint, strlen(hint) + 1);
    return err->code;
}

sd_status sd_err_wrap(sd_err *err, const char *fmt, ...)
{
    if (!err) return SD_E_FAIL;
    char context[SD_ERR_MSG_MAX], hint[SD_ERR_HINT_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_text(context, sizeof context, fmt, ap);
    va_end(ap);
    memcpy(hint, err->hint, sizeof hint);
    sd_status code = err->code == SD_OK ? SD_E_FAIL : err->code;
    sd_fail(err, code, "%s: %s", context, err->msg);
    memcpy(err->hint, hint, sizeof hint);
    return code;
}

void sd_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "sonde: %s:%d: a condition that always holds does not: %s\n", file, line, expr);
    abort();
}

static const struct {
    const char *name;
    int exit_code;
} status_info[] = {
#define XX(name, exit_code, words) {#name, exit_code},
    SD_STATUS_MAP(XX)
#undef XX
};

static bool known(sd_status st)
{
    return (size_t)st < sizeof status_info / sizeof *status_info;
}

const char *sd_status_name(sd_status st)
{
    return known(st) ? status_info[st].name : "E_UNKNOWN";
}

int sd_status_exit_code(sd_status st)
{
    return known(st) ? status_info[st].exit_code : 1;
}

const char *sd_version(void)
{
    return SD_VERSION;
}

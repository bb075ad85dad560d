/* Status codes and errors: every fallible function returns an sd_status and fills an sd_err.
 *
 * A status is what a program reads, the sentence in sd_err is what a person reads. The sentence names the
 * file, the place and the numbers; the hint says what to do about it. Neither ends in a newline. */
#ifndef SONDE_STATUS_H
#define SONDE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* name, exit code of the program, words */
#define SD_STATUS_MAP(XX)                                                      \
    XX(OK, 0, "ok")                                                            \
    XX(E_FAIL, 1, "failed")                                                    \
    XX(E_ARG, 2, "bad argument")                                               \
    XX(E_GATE, 3, "a gate said no")                                            \
    XX(E_FORMAT, 4, "bad input")                                               \
    XX(E_SHAPE, 4, "shapes do not fit")                                        \
    XX(E_UNSUPPORTED, 4, "not supported")                                      \
    XX(E_NOTFOUND, 4, "not found")                                             \
    XX(E_IO, 4, "cannot read or write")                                        \
    XX(E_NOMEM, 5, "out of memory")                                            \
    XX(E_NOSPACE, 5, "disk full")                                              \
    XX(E_BUSY, 1, "busy")                                                      \
    XX(E_STORE, 4, "store")                                                    \
    XX(E_CANCELLED, 130, "interrupted")

typedef enum sd_status {
#define XX(name, exit_code, words) SD_##name,
    SD_STATUS_MAP(XX)
#undef XX
} sd_status;

#define SD_ERR_MSG_MAX 768
#define SD_ERR_HINT_MAX 256

/* Caller's memory; zero-initialised means "no error". Passing NULL where an sd_err is asked is allowed. */
typedef struct sd_err {
    sd_status code;
    char msg[SD_ERR_MSG_MAX];   /* one finished sentence */
    char hint[SD_ERR_HINT_MAX]; /* what to try, or empty */
} sd_err;

/* "E_FORMAT" and the like; never NULL. */
const char *sd_status_name(sd_status st);
/* The exit code that the command line gives for a status. */
int sd_status_exit_code(sd_status st);
/* "0.1.0" */
const char *sd_version(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

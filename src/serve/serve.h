/* serve: the server, as the command line starts it. One process, one model or none, what was registered at start: dictionaries, stores and
 * recipes are named in requests, never by path. See docs/SERVER.md. */
#ifndef SD_SERVE_SERVE_H
#define SD_SERVE_SERVE_H

#include "base/str.h"
#include "sonde/model.h"

/* What takes time to bring: see sd_serve_load. */
typedef struct sd_serve_model {
    const sd_exec *ex;
    const sd_model *m;           /* NULL: only stores are shown */
    const char *model_sha256;
    sd_slice reference;          /* text that the units of plain vectors are measured on; empty: the built-in one */
} sd_serve_model;

typedef struct sd_serve_opt {
    const char *model_name;      /* as clients say it */
    const char *model_file;      /* the file's or folder's own name, which the page puts into commands; NULL: unknown */
    const char *model_path;      /* as the command line has it: what a loopback server tells instead, so that those commands run; NULL: the name */
    const char *data_dir;
    const char *const *dict;     /* [n_dict] DIR or NAME=DIR */
    const char *const *store;    /* [n_store] FILE or NAME=FILE */
    const char *const *recipe;   /* [n_recipe] JSON files: {"name", "steer": [..]} */
    const char *const *monitor;  /* [n_monitor] JSON files: {"name", "when": {..}} */
    const char *const *run;      /* [n_run] folders with events.jsonl, or with such folders in them */
    const char *const *audit;    /* [n_audit] what `sonde audit .. --json` printed */
    int n_dict, n_store, n_recipe, n_monitor, n_run, n_audit;
    const char *host;            /* a numeric address or "localhost"; NULL: 127.0.0.1 */
    int port;                    /* 0: any that is free */
    const char *key_file;        /* one key a line; needed for addresses that others can reach; NULL: none */
    const char *cors;            /* origin that pages may call from; NULL: none but our own */
    int n_slots, n_queue;        /* 0: 8, 128 */
    int64_t n_ctx;               /* 0: the model's limit up to 4096 */
    int64_t max_body;            /* bytes; 0: 8 MB */
    double ping_s;               /* seconds of silence after which a stream says that it lives; 0: 5 */
    /* filled by sd_serve_load */
    const sd_exec *ex;
    const sd_model *m;
    const char *model_sha256;
    sd_slice reference;
} sd_serve_opt;

typedef struct sd_server sd_server;
/* Everything named in opt is borrowed until free. Listens when it returns and answers 503 (with Retry-After) to everything until it is loaded. */
sd_status sd_serve_listen(sd_server **out, const sd_serve_opt *opt, sd_err *err);
/* Opens what was registered and starts to serve; what m names is borrowed until free. Once; after an error only sd_serve_stop. */
sd_status sd_serve_load(sd_server *s, const sd_serve_model *m, sd_err *err);
int sd_serve_port(const sd_server *s);
/* What was registered and says that it was made from another file of a model, as a sentence; false when there is no i-th. Legal: a quantised or a tuned model. */
bool sd_serve_doubt(const sd_server *s, int i, char out[400]);
/* Takes no more connections and requests, lets what runs go on for grace seconds, then cancels it; frees. NULL is fine. */
void sd_serve_stop(sd_server *s, double grace);

#endif

/* request: what a handler gets and gives, whoever speaks HTTP; problems as clients read them; bodies checked against tables of fields,
 * from which the OpenAPI document is made as well. */
#ifndef SD_SERVE_REQUEST_H
#define SD_SERVE_REQUEST_H

#include "base/json.h"

/* ---- what went wrong ---- */

typedef struct sd_problem {
    int http;           /* 0: nothing */
    char param[96];     /* where in the body: "sonde.steer[0]"; may be empty */
    const char *code;   /* OpenAI's word for it, a literal; NULL: what goes with http */
    sd_err e;
} sd_problem;
/* Fills p and returns http. */
int sd_problem_set(sd_problem *p, int http, const char *param, const char *fmt, ...) SD_PRINTF(4, 5);
/* From a status: arguments and formats 400, not found 404, busy (a file), cancelled and memory 503, else 500. */
int sd_problem_of(sd_problem *p, const sd_err *e, const char *param);
/* {"error":{"message","type","param","code"}}: the names of OpenAI, whose clients read them; code is a word that they look for, or null. */
void sd_problem_write(const sd_problem *p, sd_buf *out);

/* ---- fields of a body ---- */

typedef enum sd_field_type { SD_FIELD_END, SD_FIELD_BOOL, SD_FIELD_INT, SD_FIELD_NUM, SD_FIELD_STR, SD_FIELD_OBJ, SD_FIELD_ARR, SD_FIELD_ANY } sd_field_type;
typedef struct sd_field {
    const char *name;
    sd_field_type type;
    bool required;
    double lo, hi;      /* numbers; both 0: any */
    const char *help;
} sd_field;
/* Checks obj against the table (ends with SD_FIELD_END); null counts as absent. where: "" or "sonde." and the like. strict: another field
 * is a problem; else its name is appended to ignored ("a, b"; may be NULL). 0, or the HTTP status. */
int sd_fields_check(const json_t *obj, const sd_field *table, const char *where, sd_buf *ignored, sd_problem *p);
/* Values of a checked object; the default when absent or null. */
double sd_field_num(const json_t *obj, const char *key, double def);
int64_t sd_field_int(const json_t *obj, const char *key, int64_t def);
bool sd_field_bool(const json_t *obj, const char *key, bool def);
const char *sd_field_str(const json_t *obj, const char *key, const char *def);
json_t *sd_field_get(const json_t *obj, const char *key); /* NULL when absent or null */

/* ---- one exchange ---- */

enum { SD_ROUTE_ARGS = 3 };
typedef struct sd_request {
    char arg[SD_ROUTE_ARGS][256];                          /* what stood for {..} in the route's pattern */
    sd_slice body;
    const char *(*query)(void *self, const char *key);     /* NULL when absent */
    bool (*gone)(void *self);                              /* has the client hung up? */
    void *self;
} sd_request;

/* An answer whose parts come with time. next appends what there is, waiting up to `seconds` for something; false: that was the end. end frees. */
typedef struct sd_stream {
    bool (*next)(void *self, sd_buf *out, double seconds);
    void (*end)(void *self);
    void *self;
} sd_stream;

typedef struct sd_reply {
    int http;           /* 0: 200 */
    const char *type;   /* NULL: application/json */
    sd_buf body;
    sd_buf ignored;     /* fields that were not looked at, for the header X-Sonde-Ignored */
    sd_slice fixed;     /* p not NULL: the answer instead of body, and it lives as long as the server */
    char tag[24];       /* of fixed: clients that have it are told so (304) */
    const char *policy; /* Content-Security-Policy; NULL: none */
    sd_stream stream;   /* next NULL: the answer is body */
} sd_reply;

#endif

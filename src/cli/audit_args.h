/* What `audit run` and `audit compare` measure with, in both the same way. */
#ifndef SD_CLI_AUDIT_ARGS_H
#define SD_CLI_AUDIT_ARGS_H

#include "cli/cli.h"
#include "lab/audit_part.h"
#include "lab/audit_report.h"

typedef struct audit_args {
    opt_list suite;
    const char *system, *phrases, *judge_labels, *text, *identity, *keep_answers, *ablate, *endpoint_model, *key_file, *judge_url, *judge_model;
    int64_t n_gen, limit, templates;
    double strength; /* of ablate */
    double timeout;
    bool quick, linear;
} audit_args;

/* The rows of both commands' option tables; `type` is the args struct that holds an audit_args named `a`. */
#define AUDIT_OPTS(type)                                                                                                                                 \
    {0, "suite", OPT_MULTI, AT(type, a.suite), .arg = "FILE", .help = "prompts to ask: a .csv, .jsonl or .json file, or harmful=FILE, harmless=FILE; repeat it"}, \
    {0, "system", OPT_STR, AT(type, a.system), .arg = "TEXT", .def = "default", .help = "system message: default (the template's own), none, or a text"}, \
    {'n', "predict", OPT_INT, AT(type, a.n_gen), .arg = "N", .def = "64", .lo = 1, .hi = 4096, .unit = "tokens", .help = "length of an answer at most"},  \
    {0, "limit", OPT_INT, AT(type, a.limit), .arg = "N", .lo = 1, .hi = 1 << 20, .zero = "all", .help = "ask N prompts of each suite, chosen by --seed"},                \
    {0, "quick", OPT_BOOL, AT(type, a.quick), .help = "judge by the first token's log-odds; answers of 20 tokens, for the phrases beside"},                                    \
    {0, "phrases", OPT_STR, AT(type, a.phrases), .arg = "FILE", .help = "refusal phrases, one a line, instead of the literature's twelve"},              \
    {0, "judge-labels", OPT_STR, AT(type, a.judge_labels), .arg = "FILE", .help = "labelled answers to measure the judges' errors on (.jsonl)"},         \
    {0, "linear-judge", OPT_BOOL, AT(type, a.linear), .help = "judge by the model's activations over its answers, learned on --judge-labels"},           \
    {0, "text", OPT_STR, AT(type, a.text), .arg = "FILE", .help = "text whose cross-entropy is taken"},                                                  \
    {0, "identity", OPT_STR, AT(type, a.identity), .arg = "NAME", .help = "the name the model should give when asked who it is"},                        \
    {0, "endpoint-model", OPT_STR, AT(type, a.endpoint_model), .arg = "NAME", .help = "the model's name at an endpoint, where MODEL is http://..; answers alone are judged"},  \
    {0, "judge-url", OPT_STR, AT(type, a.judge_url), .arg = "URL", .help = "an OpenAI-compatible endpoint as judge: it is sent requests and answers"},   \
    {0, "judge-model", OPT_STR, AT(type, a.judge_model), .with = "judge-url", .arg = "NAME", .help = "the judge's name at --judge-url"},                                      \
    {0, "api-key-file", OPT_STR, AT(type, a.key_file), .with = "endpoint-model|judge-url", .arg = "FILE", .help = "file with the key for the endpoints"},                                    \
    {0, "timeout", OPT_FLOAT, AT(type, a.timeout), .with = "endpoint-model|judge-url", .arg = "S", .def = "120", .lo = 0.05, .hi = 86400, .unit = "seconds", .help = "of a request to an endpoint; then it is unscored"}, \
    {0, "templates", OPT_INT, AT(type, a.templates), .arg = "N", .def = "0", .lo = 0, .hi = 1 << 16, .help = "ask N harmful prompts in each of four jailbreak frames too"}

typedef struct audit_setup {
    sd_suite *suite; /* [n_suite] */
    int n_suite;
    sd_phrases phrases;
    sd_labelled_set labels;           /* of --judge-labels */
    sd_judge_error phrases_error, endpoint_error;
    sd_endpoint judge; /* url NULL: none */
    char *key;         /* of the endpoints, or NULL; owns */
    const sd_audit_record *first; /* whose refusal tokens judge the others too, where they have them; NULL: each its own */
    const sd_audit_part *part;    /* of a run that goes on; NULL: none */
    sd_status (*on_part)(void *self, const sd_behaviour *so_far, sd_err *err); /* keeps what is judged, where it can be gone on with; may be NULL */
    void *part_self;
    int64_t rows_beside, rows_perhaps; /* what the caller runs beside the measurement, for its time (lab/behave.h) */
} audit_setup;
sd_status audit_setup_open(audit_setup *s, cli *c, const audit_args *a, sd_err *err);
void audit_setup_release(audit_setup *s);
/* Opens the model, tells the time it will take, asks everything and fills *out. The refusal tokens of --quick are learned on the model itself, or are those of s->first. *keep (may
 * be NULL) gets the opened model instead of its being closed. */
sd_status audit_measure(sd_audit_record *out, cli *c, const audit_setup *s, const audit_args *a, const char *model, sd_model **keep, sd_err *err);
/* What fn makes of p (a page, a card) into the file at path, which is replaced whole; says so. */
sd_status audit_write(cli *c, const char *path, const sd_audit_page *p, sd_status (*fn)(sd_buf *, const sd_audit_page *, sd_err *), sd_err *err);

#endif

/* The guards of a fine-tuning, as `tune` and `audit damage` take them. */
#ifndef SD_CLI_GUARD_ARGS_H
#define SD_CLI_GUARD_ARGS_H

#include "cli/cli.h"
#include "lab/guard.h"

typedef struct guard_args {
    const char *guard, *safety, *unaligned;
    opt_ints cycle;
    double rho, threshold;
} guard_args;

/* Rows of both commands' option tables; `type` is the args struct that holds a guard_args named `g`. */
#define GUARD_OPTS(type)                                                                                                                                             \
    {0, "guard", OPT_STR, AT(type, g.guard), .arg = "NAME", .values = "lisa|project|mask|safelora|deep", .help = "sft that tries to keep refusals; safelora wants --unaligned, the others --safety"}, \
    {0, "safety", OPT_STR, AT(type, g.safety), .arg = "FILE[:N]", .help = "rows of a guard: requests and their refusals (.jsonl), N of them drawn by the seed"},     \
    {0, "unaligned", OPT_STR, AT(type, g.unaligned), .arg = "MODEL2", .help = "safelora: the model before its alignment"},                                           \
    {0, "threshold", OPT_FLOAT, AT(type, g.threshold), .with = "unaligned", .arg = "TAU", .def = "0.5", .lo = -1, .hi = 1, .help = "safelora: matrices whose cosine is at most this are projected"}, \
    {0, "cycle", OPT_INTS, AT(type, g.cycle), .with = "safety", .arg = "A,D", .help = "lisa: A steps on safety rows, then D on the data", .def_words = "a 200th and nine 200ths of all steps"}, \
    {0, "rho", OPT_FLOAT, AT(type, g.rho), .with = "safety", .arg = "R", .def = "1", .lo = 0, .hi = 1e9, .help = "lisa: weight of the pull to where the last turn ended"}

/* Strings of out are kept until exit. Refused where the words are wrong. */
sd_status guard_of(sd_guard_opt *out, cli *c, const guard_args *g, sd_err *err);

#endif

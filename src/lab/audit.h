/* audit: records of what models do, and the comparison of two or more of them on the same prompts.
 *
 * A record is one model's behaviour, with what it was measured with; it is a JSON document (sonde.audit_run/1) that holds ids, classes, lengths and
 * hashes, never a prompt or an answer. A comparison pairs records prompt by prompt (suite, id and hash of the text): rates with Wilson intervals,
 * differences with Newcombe's paired interval and McNemar's exact test, by axis and by category, Holm over the categories. A prompt that either side left
 * unscored is in no rate and is counted. */
#ifndef SD_LAB_AUDIT_H
#define SD_LAB_AUDIT_H

#include "base/prov.h"
#include "lab/behave.h"
#include "num/infer.h"

/* A judge's errors: on labelled answers of other models (a borrowed table, "assumed"), or on hand labels of this model's own answers. */
typedef struct sd_judged { char judge[96]; sd_judge_error e; bool own; } sd_judged;
enum { SD_MAX_JUDGED = 8 };

/* The tokens that open refusals, with their bytes as text: another model is judged by the same ones where it has them. */
typedef struct sd_openers { int32_t id[SD_REFUSAL_TOKENS]; char text[SD_REFUSAL_TOKENS][32]; int n; } sd_openers;
void sd_openers_of(sd_openers *out, const sd_model *m, const sd_refusal_set *r);
/* False: none, or the model has other tokens under these ids. */
bool sd_openers_fit(sd_refusal_set *out, const sd_openers *o, const sd_model *m);

typedef struct sd_audit_record {
    char model[256], name[128]; /* path as given; a short name for tables */
    char system[64];            /* "default", "none", "given" */
    char system_sha256[65];     /* of the text, where it is given; empty: not known */
    char ablated[96];           /* "refusal, w 1": a direction was taken out while it was measured; empty: none */
    int64_t n_layer, d_model, n_vocab;
    sd_judge_error judge_error; /* of the judge in use; n_refusal 0: not measured */
    sd_judged judged[SD_MAX_JUDGED]; /* of all judges that were measured */
    int n_judged;
    sd_openers opens;           /* of the first-token score */
    double seconds;              /* that the measurement took; of one that was stopped and went on, all runs together */
    sd_prov prov;               /* of the run that made it */
    sd_behaviour b;
} sd_audit_record;
void sd_audit_record_release(sd_audit_record *r);
void sd_audit_record_system(sd_audit_record *r, const sd_system *system);
/* Keys of the open object; json: provenance is the caller's. */
void sd_audit_record_write(sd_jw *w, const sd_audit_record *r);
void sd_audit_add_judge(sd_audit_record *r, const char *judge, const sd_judge_error *e, bool own);
/* Internal: the parts that a stopped run keeps too (lab/audit_part.h): one reply; the list of frames, of the open object. */
void sd_audit__write_reply(sd_jw *w, const sd_reply *r);
void sd_audit__write_frames(sd_jw *w, const sd_behaviour *b);
sd_status sd_audit__read_frames(sd_behaviour *b, const json_t *root, const char *path, sd_err *err);
sd_status sd_audit__read_replies(sd_behaviour *b, const json_t *root, const char *path, sd_err *err);
/* A document of schema sonde.audit_run/1. Untrusted: sizes and ranges are checked. */
sd_status sd_audit_record_read(sd_audit_record *out, const char *path, sd_err *err);

/* One rate of one side. */
typedef struct sd_rate { int64_t k, n; sd_ci ci; } sd_rate;
sd_rate sd_rate_of(int64_t k, int64_t n);
void sd_audit_write_rate(sd_jw *w, const char *key, sd_rate r); /* k, n, rate, lo, hi */
void sd_audit_write_hash(sd_jw *w, const char *key, uint64_t v); /* 16 hex digits */
void sd_audit_write_prompt(sd_jw *w, const sd_reply *r);         /* suite, id, axis, category: what names a prompt, not what it says */
/* Refusals (class refusal) among the scored prompts of an axis; category NULL: all. */
sd_rate sd_audit_refusal(const sd_behaviour *b, sd_axis axis, const char *category);
int64_t sd_audit_count(const sd_behaviour *b, sd_axis axis, sd_class cls); /* axis UNKNOWN: all */
sd_rate sd_audit_agreement(const sd_behaviour *b); /* answers on which the phrases and the judge agree whether it is a refusal, among scored ones */

typedef struct sd_change {
    char what[64];          /* "refusal", "over_refusal", "incoherent", or a category */
    sd_rate a, b;
    sd_paired table;        /* yes: refused (incoherent) */
    sd_ci drop;             /* a - b */
    double p, p_holm;       /* McNemar; NaN where Holm does not apply */
    double visible;         /* smallest drop that could have been seen above 0 */
} sd_change;

typedef enum sd_verdict { SD_VERDICT_PASS, SD_VERDICT_FAIL, SD_VERDICT_INCONCLUSIVE } sd_verdict;
const char *sd_verdict_name(sd_verdict v);

/* "refusal_drop>0.05": a measure and a limit. Measures: refusal_drop, over_refusal_rise, incoherent_rise (of paired rates), ce_rise (nats). */
typedef struct sd_gate { char text[64], measure[32]; double limit; } sd_gate;
sd_status sd_gate_parse(sd_gate *out, const char *text, sd_err *err);
typedef struct sd_gate_result {
    sd_gate gate;
    char why[128];          /* why the two cannot be held against each other at all, which is inconclusive; empty: they can */
    sd_verdict verdict;     /* fail: lower bound above the limit; pass: upper bound at most the limit, and it could have failed or the opposite is certain; else inconclusive */
    sd_ci ci;               /* of the measure */
    double visible;         /* smallest value that n prompts could have shown to be above the limit; NaN when none */
    int64_t n, n_needed;    /* prompts at which the present rates would decide; -1: more than a million, or never */
} sd_gate_result;

enum { SD_MAX_CHANGES = 96, SD_MAX_GATES = 8 };
/* A prompt that both records hold; borrowed from them. */
typedef struct sd_reply_pair { const sd_reply *a, *b; } sd_reply_pair;
typedef struct sd_comparison {
    const sd_audit_record *a, *b; /* borrowed */
    sd_change refusal, over_refusal, incoherent;
    sd_change *category;    /* [n_category] owns; of harmful prompts with at least 5 pairs, by name */
    int n_category;
    sd_reply_pair *pair;    /* [n_paired] owns; in the order in which the first record was asked */
    int64_t n_paired, n_unpaired, n_unscored; /* prompts in both; in one only; left out since one side is unscored */
    bool same_rendering;    /* both saw the same bytes, in all prompts of either */
    /* Judged in one way, answers as long, asked under one system prompt; as it stands or without the same direction; cross-entropy, where both have one, of one
     * text. False: they differ, or a record does not say. A difference may be of that then, and gates on answers (the first three), on all, on ce are inconclusive. */
    bool same_judge, same_length, same_system, same_ablation, same_text;
    sd_gate_result gate[SD_MAX_GATES];
    int n_gate;
    sd_verdict verdict;     /* fail before inconclusive before pass; pass without gates */
    char headline[400];
} sd_comparison;
/* SD_E_FORMAT: the records share no prompt. */
sd_status sd_audit_compare(sd_comparison *out, const sd_audit_record *a, const sd_audit_record *b, const sd_gate *gate, int n_gate, sd_err *err);
void sd_comparison_release(sd_comparison *c);
/* What the two were not measured alike in, a sentence each, without a capital and a full stop; requests that only one was asked come last. */
enum { SD_MAX_CAUTION = 7 };
typedef struct sd_caution { char text[320]; } sd_caution;
int sd_audit_cautions(sd_caution out[SD_MAX_CAUTION], const sd_comparison *c);

#endif

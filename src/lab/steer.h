/* Steering: a spec says what to do at which site; a steer is the spec resolved against a model and its
 * dictionaries; attached to a session it edits rows and counts them. With u a unit vector, h a row, v the value times its unit:
 *   add     h + v u              scale   (I - uu')h + v uu'h       ablate  scale by 0
 *   clamp   feature: h + (v - z(h)) w_dec, z the feature's activation (the reconstruction error stays); vector: h + (v - u'h) u
 *   cap     h + (min(max(u'h, lo), hi) - u'h) u
 * `add` 0 and `scale` 1 attach no edit at all: the bytes are those of the plain run. */
#ifndef SD_LAB_STEER_H
#define SD_LAB_STEER_H

#include "base/json.h"
#include "model/session.h"
#include "sonde/dict.h"

typedef enum sd_steer_op { SD_STEER_ADD, SD_STEER_SCALE, SD_STEER_ABLATE, SD_STEER_CLAMP, SD_STEER_CAP } sd_steer_op;
typedef enum sd_steer_unit { SD_UNIT_RMS, SD_UNIT_RAW, SD_UNIT_STD, SD_UNIT_MAX_ACT } sd_steer_unit;
typedef enum sd_steer_pos { SD_POS_ALL, SD_POS_PROMPT, SD_POS_GENERATED, SD_POS_LAST, SD_POS_LIST } sd_steer_pos;

struct sd_steer_when;
typedef struct sd_steer_spec {
    char dict[512];         /* directory of the feature's dictionary; empty for a vector */
    int64_t feature;        /* -1: a vector */
    char direction[65];     /* name of a stored direction (lab/direction_file.h), which fills vector and site; else empty */
    float *vector;          /* [n_vector], owned; NULL for a feature */
    int64_t n_vector;
    bool has_site;
    sd_site site;
    sd_steer_op op;
    double value, min, max; /* min, max: cap only; an absent bound is infinite */
    sd_steer_unit unit;
    sd_steer_pos positions;
    int64_t *list;          /* [n_list] positions, ascending, owned */
    int64_t n_list;
    bool special;           /* edit special tokens too */
    struct sd_steer_when *when; /* owned; NULL: always */
    bool look;              /* no edit: its condition is looked at and that is all; no key of the JSON */
} sd_steer_spec;

/* Only at tokens where something holds: the activation of a feature (0 below its threshold), or the projection on a direction's or vector's
 * unit vector, lies above gt and below lt. It is looked at where its own site stands, which must not come after the steer's: then a token's edit
 * depends on that token alone and the same tokens give the same edits however a prompt is split. With hold it goes on from the first such token. */
typedef struct sd_steer_when {
    sd_steer_spec what;     /* dict and feature, direction or vector; site; unit: raw (default), max_act, std, rms */
    double gt, lt;          /* an absent bound is infinite */
    bool hold;
    char monitor[65];       /* the name under which a server keeps it, told again; empty: it has none */
} sd_steer_when;

/* text: one JSON object. Unknown keys, a missing value, NaN, unknown ops and units are SD_E_ARG with the key in the sentence. */
sd_status sd_steer_spec_parse(sd_steer_spec *out, sd_slice text, sd_err *err);
void sd_steer_spec_release(sd_steer_spec *s);
/* With memory of its own; empty after an error. */
sd_status sd_steer_spec_copy(sd_steer_spec *out, const sd_steer_spec *s, sd_err *err);
void sd_steer_spec_write(sd_jw *w, const sd_steer_spec *s);

typedef struct sd_steer sd_steer;
/* What a steer is made from, beside its spec and the model. All borrowed; the dictionaries until free. */
typedef struct sd_steer_from {
    const sd_dict *dict;      /* the opened dictionary of a feature spec; NULL for a vector */
    const sd_dict *when_dict; /* the same of its condition */
    /* Rows of a site on reference text, for the units rms and std of what brings no such figure (lab/reference.h). NULL: they are refused then. */
    sd_status (*rows)(void *self, sd_mat *out, sd_site site, sd_err *err);
    void *self;
} sd_steer_from;
/* Checks site, width, feature index, units, and that a condition is not looked at later than the edit. */
sd_status sd_steer_make(sd_steer **out, const sd_steer_spec *spec, const sd_model *m, const sd_steer_from *from, sd_err *err);
static inline sd_status sd_steer_new(sd_steer **out, const sd_steer_spec *spec, const sd_model *m, const sd_dict *dict, sd_err *err)
{
    return sd_steer_make(out, spec, m, &(sd_steer_from){.dict = dict}, err);
}
void sd_steer_free(sd_steer *s);
/* What is steered along, [*d] at its site: a vector, a decoder row, or a crosscoder's part of one. */
const float *sd_steer_vector(const sd_steer *s, int64_t *d);
/* n_prompt: positions below it are the prompt. Attach to one session at a time; counts start at zero. */
sd_status sd_steer_attach(sd_steer *s, sd_session *session, int64_t n_prompt, sd_err *err);
/* The same, giving the ids for sd_session_detach (-1 where there is nothing to detach): the edit, the condition. */
sd_status sd_steer_attach_id(sd_steer *s, sd_session *session, int64_t n_prompt, int id[2], sd_err *err);
/* What was done: site, op, value in raw units, positions edited; of a condition, positions looked at and positions where it held. */
typedef struct sd_steer_applied {
    sd_site site;
    double value_raw;
    int64_t n_positions;
    double mean_abs_change;
    int64_t n_looked, n_held;
    double max;             /* the highest reading, in the unit of the condition, at position max_at */
    int64_t max_at, first;  /* first: where it held first; -1: nowhere */
} sd_steer_applied;
sd_steer_applied sd_steer_get_applied(const sd_steer *s);
/* The name of the monitor that its condition is; "" when it has none. */
const char *sd_steer_monitor(const sd_steer *s);

#endif

/* Labels are few and records small: each label looks for its answer from the front. */
#include "lab/audit_label.h"

#include "base/map.h"

#include <inttypes.h>
#include <math.h>

#define MAX_FILE ((size_t)1 << 26)

static const sd_reply *reply_of(const sd_audit_record *r, const char *suite, const char *id)
{
    for (int64_t i = 0; i < r->b.n; i++)
        if (strcmp(r->b.v[i].id, id) == 0 && strcmp(r->b.v[i].suite, suite) == 0) return &r->b.v[i];
    return NULL;
}

/* Sums of y - f by stratum: 0 the judge said refusal, 1 it did not. */
typedef struct sums { double diff[2], diff2[2]; int64_t n[2]; double f_labelled; } sums;

static sd_status read_label(sums *s, sd_corrected *out, const sd_audit_record *r, sd_axis axis, json_t *row, const char *what, sd_err *err)
{
    const char *suite = NULL, *id = NULL, *name = NULL;
    sd_class c;
    sd_status st = sd_json_get_str(row, "suite", &suite, what, err);
    if (!st) st = sd_json_get_str(row, "id", &id, what, err);
    if (!st) st = sd_json_get_str(row, "class", &name, what, err);
    if (st) return st;
    if (!sd_class_parse(name, &c)) return sd_fail(err, SD_E_FORMAT, "%s: class \"%.40s\" is not known", what, name);
    const sd_reply *x = reply_of(r, suite, id);
    if (!x) return sd_fail(err, SD_E_NOTFOUND, "%s: the record holds no answer %s of %s", what, id, suite);
    if (x->axis != axis || x->cls == SD_CLASS_UNSCORED || c == SD_CLASS_UNSCORED) return SD_OK;
    double f = x->cls == SD_CLASS_REFUSAL, y = c == SD_CLASS_REFUSAL;
    int k = f > 0 ? 0 : 1;
    s->diff[k] += y - f;
    s->diff2[k] += (y - f) * (y - f);
    s->n[k]++;
    s->f_labelled += f;
    out->false_refusal += f > y;
    out->missed_refusal += y > f;
    out->n_labelled++;
    return SD_OK;
}

static sd_status read_labels(sums *s, sd_corrected *out, const sd_audit_record *r, sd_axis axis, const char *path, sd_err *err)
{
    sd_buf b;
    sd_slice rest, line;
    int64_t number = 0;
    sd_buf_init(&b, MAX_FILE);
    sd_status st = sd_file_read(&b, path, err);
    rest = (sd_slice){b.p, b.n};
    while (!st && sd_slice_cut(&rest, '\n', &line)) {
        char what[1100];
        json_t *row = NULL;
        number++;
        if ((line = sd_slice_trim(line)).n == 0) continue;
        snprintf(what, sizeof what, "%s, line %" PRId64, path, number);
        st = sd_json_parse(&row, line.p, line.n, what, err);
        if (!st) st = read_label(s, out, r, axis, row, what, err);
        json_decref(row);
    }
    sd_buf_release(&b);
    return st;
}

sd_status sd_audit_correct(sd_corrected *out, const sd_audit_record *r, sd_axis axis, const char *path, sd_err *err)
{
    sums s = {{0}, {0}, {0}, 0};
    sd_ppi_stratum stratum[2];
    *out = (sd_corrected){.ci = {NAN, 0, 1}};
    sd_status st = read_labels(&s, out, r, axis, path, err);
    if (st) return st;
    sd_rate raw = sd_audit_refusal(&r->b, axis, NULL);
    out->n = raw.n;
    if (out->n_labelled < SD_LEAST_LABELS || s.n[0] == 0 || s.n[1] == 0) {
        sd_fail(err, SD_E_ARG, "%s labels %" PRId64 " answers to %s prompts (%" PRId64 " that the judge calls refusals): too few to correct the rate", path, out->n_labelled,
                sd_axis_name(axis), s.n[0]);
        return sd_hint(err, "label at least %d, of both kinds", (int)SD_LEAST_LABELS);
    }
    for (int k = 0; k < 2; k++) {
        double n = (double)s.n[k], mean = s.diff[k] / n, share = k == 0 ? raw.ci.est : 1 - raw.ci.est;
        stratum[k] = (sd_ppi_stratum){.weight = share, .mean_diff = mean, .var_diff = s.diff2[k] / n - mean * mean, .n = s.n[k]};
    }
    /* The judge's verdicts are known for every answer, so their mean over these prompts is exact; what varies is which prompts were asked. */
    double f = raw.ci.est;
    out->ci = sd_ci_ppi(f, f * (1 - f), raw.n, stratum, 2, 0.95);
    out->ci.lo = fmax(0, out->ci.lo);
    out->ci.hi = fmin(1, out->ci.hi);
    return SD_OK;
}

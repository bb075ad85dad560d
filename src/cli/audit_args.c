/* One model measured, for the commands that measure one and several. */
#include "cli/audit_args.h"
#include "base/map.h"
#include "base/rng.h"
#include "cli/prompts.h"
#include "lab/ablate.h"
#include "lab/direction_file.h"
#include <inttypes.h>
#include <math.h>
#include <time.h>

enum {
    LEARN = 64,           /* prompts of each kind that the refusal tokens are learned on */
    ENDPOINT_LABELS = 200, /* labelled answers an endpoint is asked about */
};

static bool random_seed(const char *name, int64_t *seed)
{
    int n = 0;
    return sscanf(name, "random:%" SCNd64 "%n", seed, &n) == 1 && !name[n];
}

static sd_status check_line(cli *c, const audit_args *a, sd_err *err)
{
    int64_t seed;
    if (a->ablate && strncmp(a->ablate, "random:", 7) == 0 && !random_seed(a->ablate, &seed))
        return cli_refuse(c, err, "--ablate %.60s is not random:SEED, such as random:1", a->ablate);
    if (a->judge_url && !sd_endpoint_is(a->judge_url)) return cli_refuse(c, err, "--judge-url %s does not begin with http:// or https://", a->judge_url);
    if (a->judge_url && !a->judge_model) return cli_refuse(c, err, "--judge-url needs the judge's name there: give it with --judge-model NAME");
    bool there = false;
    for (int i = 0; i < c->n_arg; i++) {
        char shown[256];
        if (!sd_endpoint_is(c->arg[i])) continue;
        there = true;
        sd_url_bare(shown, sizeof shown, c->arg[i]);
        if (a->quick || a->linear || a->ablate || a->text) return cli_refuse(c, err, "%s gives answers alone: --quick, --linear-judge, --ablate and --text need the model itself", shown);
        if (!a->endpoint_model) return cli_refuse(c, err, "%s is asked for a model by name: give it with --endpoint-model NAME", shown);
    }
    if (a->endpoint_model && !there) return cli_refuse(c, err, "--endpoint-model %.60s is a name at an endpoint, and no argument is an http:// address", a->endpoint_model);
    return SD_OK;
}

sd_status audit_setup_open(audit_setup *s, cli *c, const audit_args *a, sd_err *err)
{
    *s = (audit_setup){0};
    sd_status st = check_line(c, a, err);
    if (!st) st = cli_check_input(a->text, err);
    if (!st) st = cli_suites_open(&s->suite, &s->n_suite, c, &a->suite, a->limit, err);
    if (!st && a->key_file) st = cli_read_key(&s->key, a->key_file, err);
    s->judge = (sd_endpoint){.url = a->judge_url, .model = a->judge_model, .key = s->key, .timeout_s = a->timeout};
    if (!st && a->judge_url && a->quick) st = cli_refuse(c, err, "--quick judges by the first token, --judge-url by the answer: one judge decides");
    if (!st) st = sd_phrases_open(&s->phrases, a->phrases, err);
    if (!st && a->linear && !a->judge_labels) st = cli_refuse(c, err, "--linear-judge is learned on labelled answers; give them with --judge-labels FILE");
    if (!st && a->linear && (a->quick || a->judge_url)) st = cli_refuse(c, err, "--linear-judge beside %s: one judge decides", a->quick ? "--quick" : "--judge-url");
    if (!st && a->judge_labels) st = sd_labelled_open(&s->labels, a->judge_labels, err);
    if (!st && a->judge_labels) s->phrases_error = sd_judge_measure(&s->phrases, &s->labels);
    int64_t silent = 0;
    if (!st && a->judge_labels && a->judge_url) st = sd_judge_measure_endpoint(&s->endpoint_error, &s->labels, ENDPOINT_LABELS, &s->judge, &silent, &c->progress, err);
    if (!st && silent) cli_note(c, "the judge gave no verdict on %lld labelled answers", (long long)silent);
    return st;
}

void audit_setup_release(audit_setup *s)
{
    cli_suites_close(s->suite, s->n_suite);
    sd_phrases_release(&s->phrases);
    sd_labelled_release(&s->labels);
    sd_free(s->key);
    *s = (audit_setup){0};
}

static void describe(sd_audit_record *r, const sd_model *m, const char *path)
{
    const sd_config *k = sd_model_get_config(m);
    const char *base = strrchr(path, '/') && strrchr(path, '/')[1] ? strrchr(path, '/') + 1 : path;
    snprintf(r->model, sizeof r->model, "%s", path);
    snprintf(r->name, sizeof r->name, "%s", base);
    r->n_layer = k->n_layer;
    r->d_model = k->d_model;
    r->n_vocab = k->n_vocab;
}

typedef struct answers { sd_wfile *f; } answers;

/* {"suite","id","class","answer"} a line, for a hand's labels; the file is the owner's alone. */
static sd_status write_answer(void *self, const sd_reply *r, sd_slice answer, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 24);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "suite", r->suite);
    sd_jw_kstr(&w, "id", r->id);
    sd_jw_kstr(&w, "class", sd_class_name(r->cls));
    sd_jw_key(&w, "answer");
    sd_jw_slice(&w, answer);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "an answer", err);
    if (!st) st = sd_wfile_write(((answers *)self)->f, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

/* A direction to be taken out of every block while the model is measured: one that `direction make` kept, or a random one of the seed N. */
typedef struct without { float *unit; sd_ablate a; sd_hook hook; } without;

static void without_release(without *w)
{
    sd_ablate_release(&w->a);
    sd_free(w->unit);
}

static sd_status without_open(without *w, cli *c, const sd_model *m, const audit_args *a, sd_audit_record *out, sd_err *err)
{
    int64_t d = m->cfg.d_model, seed = 0;
    sd_direction_file f = {0};
    sd_status st = sd_alloc(&w->unit, (size_t)d * sizeof *w->unit, "a direction", err);
    if (st) return st;
    if (random_seed(a->ablate, &seed)) {
        sd_rng rng = sd_rng_make((uint64_t)seed, "ablated direction", 0);
        for (int64_t i = 0; i < d; i++) w->unit[i] = sd_rng_normal(&rng);
    } else if (!(st = sd_direction_load(&f, c->data_dir, c->prov.model_sha256, a->ablate, d, err))) {
        memcpy(w->unit, f.vector, (size_t)d * sizeof *w->unit);
    }
    sd_direction_file_release(&f);
    if (!st && !sd_unit(w->unit, w->unit, d)) st = sd_fail(err, SD_E_FORMAT, "the direction '%s' is all zero", a->ablate);
    if (!st) st = sd_ablate_init(&w->a, m, w->unit, a->strength, err);
    if (st) return st;
    w->hook = sd_ablate_hook(&w->a);
    snprintf(out->ablated, sizeof out->ablated, "%.60s, w %g", a->ablate, a->strength);
    size_t n = strlen(out->name);
    snprintf(out->name + n, sizeof out->name - n, " without %s", a->ablate);
    return SD_OK;
}

/* How long it will take here, and what a model of 8 thousand million weights would take at the same speed a weight. */
static sd_status tell_time(cli *c, const sd_exec *ex, const sd_model *m, const sd_behave_opt *o, sd_err *err)
{
    char here[32], large[32], more[96] = "";
    double weights;
    sd_estimate e;
    sd_status st = sd_behave_estimate(&e, ex, m, o, err);
    if (st) return st;
    if (e.perhaps > 0) snprintf(more, sizeof more, ", and %s more if refusals are lost and features are put back", sd_fmt_seconds(here, sizeof here, e.perhaps));
    const sd_config *k = sd_model_get_config(m);
    weights = (double)k->n_layer * (double)k->d_model * (4.0 * (double)k->d_model + 3.0 * (double)k->d_ffn);
    cli_note(c, "this takes about %s here%s; with a model of 8 billion weights it would take this machine about %s", sd_fmt_seconds(here, sizeof here, e.seconds), more,
             sd_fmt_seconds(large, sizeof large, (e.seconds + e.perhaps) * 8e9 / weights));
    return SD_OK;
}

static sd_status keep_file(answers *k, const audit_args *a, sd_behave_opt *o, sd_err *err)
{
    if (!a->keep_answers) return SD_OK;
    sd_status st = sd_wfile_open(&k->f, a->keep_answers, err);
    if (!st) st = sd_wfile_private(k->f, err);
    o->on_text = write_answer;
    o->self = k;
    return st;
}

/* The errors of judges on borrowed labels; rates are corrected with those of the judge that decides, and of no other. */
static void borrow_errors(sd_audit_record *out, const audit_setup *s, const audit_args *a)
{
    char name[96];
    sd_audit_add_judge(out, s->phrases.name, &s->phrases_error, false);
    if (a->judge_url) {
        sd_judge_endpoint_name(name, sizeof name, &s->judge);
        sd_audit_add_judge(out, name, &s->endpoint_error, false);
    }
    if (!a->quick) out->judge_error = a->judge_url ? s->endpoint_error : s->phrases_error;
}

static void tell_silent(cli *c, const sd_behaviour *b)
{
    cli_note(c, "%lld of %lld prompts are unscored: %s", (long long)b->n_silent, (long long)b->n, b->silent_why);
}

/* A model behind an endpoint. */
static sd_status behind(sd_audit_record *out, cli *c, const audit_setup *s, const audit_args *a, const char *url, sd_behave_opt *o, sd_err *err)
{
    sd_endpoint e = {.url = url, .model = a->endpoint_model, .key = s->key, .timeout_s = a->timeout};
    answers kept = {NULL};
    sd_url_bare(out->model, sizeof out->model, url);
    borrow_errors(out, s, a);
    double t0 = sd_now();
    snprintf(out->name, sizeof out->name, "%.127s", e.model ? e.model : out->model);
    sd_status st = keep_file(&kept, a, o, err);
    if (!st) st = sd_lab_behave_endpoint(&out->b, &e, o, err);
    if (!st && kept.f) {
        st = sd_wfile_commit(kept.f, err);
        kept.f = NULL;
    }
    sd_wfile_abort(kept.f);
    if (!st && out->b.n_silent) tell_silent(c, &out->b);
    out->seconds = sd_now() - t0 + (s->part ? s->part->seconds : 0);
    out->prov = c->prov;
    out->prov.model_sha256[0] = 0;
    snprintf(out->prov.mode, sizeof out->prov.mode, "endpoint");
    return st;
}

/* Learns the linear judge on the labels; it then decides. */
static sd_status learn_judge(sd_audit_record *out, sd_linear_judge *linear, cli *c, const sd_model *m, const audit_setup *s, const sd_linear_opt *learn, sd_err *err)
{
    char name[96];
    sd_status st = sd_linear_judge_learn(linear, c->exec, m, &s->labels, learn, err);
    if (st) return st;
    sd_audit_add_judge(out, "linear on activations, held-out requests", &linear->error, false);
    snprintf(name, sizeof name, "%.64s, the same requests", s->phrases.name);
    sd_audit_add_judge(out, name, &linear->phrases, false);
    out->judge_error = linear->error;
    return SD_OK;
}

sd_status audit_measure(sd_audit_record *out, cli *c, const audit_setup *s, const audit_args *a, const char *model, sd_model **keep, sd_err *err)
{
    sd_model *m = NULL;
    sd_refusal_set set = {0};
    answers kept = {NULL};
    without cut = {0};
    sd_linear_judge linear = {0};
    *out = (sd_audit_record){0};
    const sd_exec *ex = cli_exec(c, err);
    if (!ex) return err->code;
    sd_behave_opt o = {.suite = s->suite, .n_suite = s->n_suite, .phrases = &s->phrases, .quick = a->quick, .n_gen = a->n_gen, .n_template = a->templates,
                       .text = a->text, .identity = a->identity, .sycophancy = !a->quick, .rows_beside = s->rows_beside, .rows_perhaps = s->rows_perhaps, .progress = &c->progress};
    o.judge = s->judge.url ? &s->judge : NULL;
    o.before = s->part ? &s->part->b : NULL;
    o.on_part = s->on_part;
    o.part_self = s->part_self;
    o.system = sd_system_of(a->system);
    sd_audit_record_system(out, &o.system);
    if (sd_endpoint_is(model)) return behind(out, c, s, a, model, &o, err);
    sd_status st = cli_model_hash(c, model, err);
    if (!st && s->part && strcmp(s->part->model_sha256, c->prov.model_sha256) != 0) st = sd_fail(err, SD_E_FORMAT, "%s is not the file that the run was begun with", model);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, model, (sd_model_opt){0}, &m, err);
    if (st) return st;
    double t0 = sd_now();
    describe(out, m, model);
    if (a->ablate) {
        if ((st = without_open(&cut, c, m, a, out, err))) goto done;
        o.edit = &cut.hook;
    }
    if ((st = tell_time(c, ex, m, &o, err))) goto done;
    if (!s->first || !sd_openers_fit(&set, &s->first->opens, m)) st = sd_behave_refusal_set(&set, ex, m, &o, LEARN, err);
    if (st) goto done;
    if (set.n) o.refusal = &set;
    sd_openers_of(&out->opens, m, &set);
    if (a->quick && !set.n) {
        st = sd_fail(err, SD_E_FORMAT, "%s opens its answers to harmful and harmless prompts alike (or the suites lack one of them), so --quick cannot judge", model);
        sd_hint(err, "leave --quick out, or add a suite of the other kind");
        goto done;
    }
    sd_linear_opt learn = {.system = o.system, .phrases = &s->phrases, .seed = c->seed, .progress = &c->progress};
    borrow_errors(out, s, a);
    if (a->linear && (st = learn_judge(out, &linear, c, m, s, &learn, err))) goto done;
    if (a->linear) o.linear = &linear;
    if ((st = keep_file(&kept, a, &o, err))) goto done;
    if ((st = sd_lab_behave(&out->b, ex, m, &o, err))) goto done;
    if (out->b.n_silent) tell_silent(c, &out->b);
    if (kept.f) {
        st = sd_wfile_commit(kept.f, err);
        kept.f = NULL;
    }
    out->seconds = sd_now() - t0 + (s->part ? s->part->seconds : 0);
    out->prov = c->prov;
    snprintf(out->prov.mode, sizeof out->prov.mode, "%s", sd_mode_name(c->mode));
done:
    sd_wfile_abort(kept.f);
    without_release(&cut);
    sd_linear_judge_release(&linear);
    if (keep && !st) *keep = m;
    else sd_model_close(m);
    return st;
}

sd_status audit_write(cli *c, const char *path, const sd_audit_page *p, sd_status (*fn)(sd_buf *, const sd_audit_page *, sd_err *), sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, (size_t)1 << 28);
    sd_status st = fn(&b, p, err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", path);
    sd_buf_release(&b);
    return st;
}

/* Owns: the plan of a study, the cells and the asking. What a cell is on disk: damage_cell.c; rates: damage_rates.c. Easy to break: everything that
 * changes a cell's answers must be in the study's hash, or a folder would be resumed with other settings. */
#include "lab/damage_int.h"

#include "base/map.h"
#include "lab/model_hash.h"
#include "lab/tune.h"
#include "model/lora.h"

#include <inttypes.h>
#include <math.h>

enum { DEFAULT_GEN = 20, DEFAULT_SEEDS = 5, DEFAULT_RANK = 16 };
static const double default_lr[] = {2e-4};
static const int64_t identity_batch[] = {5}, data_batch[] = {8};

void sd_damage_release(sd_damage *r)
{
    for (int i = 0; i < r->n_cell; i++) sd_damage__cell_release(&r->cell[i]);
    sd_free(r->cell);
    sd_free(r->row);
    sd_free(r->axis);
    *r = (sd_damage){0};
}

typedef struct study {
    sd_damage_opt o; /* with its defaults */
    const sd_exec *ex;
    sd_damage *out;
    sd_damage_cell *cell; /* the one at work */
    sd_tune_data *train;  /* [1 + n_mix] the data and what is mixed with it; owns */
    sd_buf *text;         /* [1 + n_mix] their bytes, read once: every cell learns from what the study's hash says; owns */
} study;

static void fill_defaults(study *s, const sd_damage_opt *opt)
{
    sd_damage_opt *o = &s->o;
    *o = *opt;
    if (!o->n_gen) o->n_gen = DEFAULT_GEN;
    if (!o->n_seed) o->n_seed = DEFAULT_SEEDS;
    if (!o->rank) o->rank = DEFAULT_RANK;
    if (!o->n_lr) o->lr = default_lr, o->n_lr = 1;
    if (!o->n_batch) o->batch = o->data ? data_batch : identity_batch, o->n_batch = 1;
    if (!o->steps && !(o->epochs > 0)) o->epochs = o->data ? 1 : 10;
}

/* ---- asking ---- */

/* One way of asking a model: all prompts of the suites. */
static sd_status ask(study *s, const sd_model *m, int64_t step, sd_ask_system system, bool prefix, sd_err *err)
{
    const sd_damage_opt *o = &s->o;
    sd_behaviour b = {0};
    sd_damage_cell *c = s->cell;
    sd_behave_opt w = {.suite = o->suite, .n_suite = o->n_suite, .phrases = o->phrases, .n_gen = o->n_gen, .wrap = prefix ? sd_identity_wrap : NULL};
    w.system = system == SD_ASK_DEFAULT ? (sd_system){SD_SYSTEM_DEFAULT, NULL} : system == SD_ASK_NONE ? (sd_system){SD_SYSTEM_NONE, NULL} : (sd_system){SD_SYSTEM_TEXT, sd_identity_system};
    sd_damage_point *v = sd_realloc(c->point, (size_t)(c->n_point + 1) * sizeof *v);
    if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: points of a cell");
    c->point = v;
    sd_status st = sd_lab_behave(&b, s->ex, m, &w, err);
    sd_damage_point *p = &c->point[c->n_point];
    *p = (sd_damage_point){.step = step, .system = system, .prefix = prefix};
    if (!st) st = sd_alloc_zero(&p->cls, (size_t)s->out->n_prompt + 1, "classes of answers", err);
    if (!st) c->n_point++;
    for (int64_t i = 0; i < s->out->n_prompt && !st; i++) p->cls[i] = sd_damage__letter(b.v[i].cls);
    sd_behaviour_release(&b);
    return st;
}

static sd_status try_task(study *s, sd_task *t, const sd_model *m, sd_err *err)
{
    sd_status st = sd_lab_task(t, s->ex, m, s->o.task, err);
    s->out->n_task = t->n;
    return st;
}

/* Of all trainings. As the reference run in PyTorch trained: constant rate, no warm-up, no clipping, no decay. */
static sd_tune_opt training(const study *s)
{
    const sd_damage_opt *o = &s->o;
    return (sd_tune_opt){.method = o->method, .data = s->train, .n_data = 1 + o->n_mix, .guard = o->guard, .lora = {.rank = o->rank}, .steps = o->steps, .epochs = o->epochs, .warmup = -1, .clip = -1,
                         .schedule = SD_SCHEDULE_CONSTANT};
}

/* As by default at every point; at the first and the last in all the ways there are. */
static sd_status ask_all(study *s, const sd_lora *lora, int64_t step, bool every_way, sd_err *err)
{
    sd_model *m = NULL;
    double t0 = sd_now();
    sd_status st = sd_model_open_with(&m, s->ex, s->o.model, &(sd_model_opt){.mode = s->o.mode}, lora, err);
    const sd_tune_opt t = training(s);
    if (!st && step == 0) st = sd_tune_check(m, &t, err); /* before anything is asked and a file of it is written */
    int n_system = s->o.data ? SD_ASK_ATTACK : SD_ASK_ATTACK + 1, n_prefix = s->o.data ? 1 : 2;
    for (int k = 0; k < n_system * n_prefix && !st; k++)
        if (every_way || k == 0) {
            st = ask(s, m, step, (sd_ask_system)(k / n_prefix), k % n_prefix, err);
            if (!st && k == 0 && s->o.task) st = try_task(s, &s->cell->point[s->cell->n_point - 1].task, m, err);
        }
    sd_model_close(m);
    s->cell->asking += sd_now() - t0;
    return st;
}

static bool is_point(const sd_damage_opt *o, int64_t step)
{
    if (!o->n_at) return step > 0 && (step & (step - 1)) == 0;
    for (int i = 0; i < o->n_at; i++)
        if (o->at[i] == step) return true;
    return false;
}

/* Step 0 is asked once for all cells. */
static bool wants_step(void *self, int64_t step, int64_t total)
{
    const study *s = self;
    return step > 0 && (step == total || is_point(&s->o, step));
}

static sd_status on_step(void *self, int64_t step, int64_t total, const sd_lora *lora, sd_err *err)
{
    study *s = self;
    if (s->cell->n_point >= SD_DAMAGE_STEPS) return sd_fail(err, SD_E_ARG, "more than %d points of a curve", (int)SD_DAMAGE_STEPS);
    return ask_all(s, lora, step, step == total, err);
}

/* ---- cells ---- */

static sd_status train(study *s, sd_damage_cell *c, sd_err *err)
{
    const sd_damage_opt *o = &s->o;
    sd_tune_result r;
    sd_tune_opt t = training(s);
    t.batch = c->batch, t.lr = c->lr, t.seed = c->seed, t.on_step = on_step, t.wants_step = wants_step, t.self = s;
    double t0 = sd_now();
    s->cell = c;
    sd_status st = sd_lab_tune(&r, s->ex, o->model, &t, o->progress, err);
    c->steps = r.steps;
    c->n_tokens = r.n_tokens;
    c->loss_last = r.loss_last;
    c->seconds = sd_now() - t0;
    return st;
}

/* The cell of a file, else made and written. lr 0: the model as it was. */
static sd_status one_cell(study *s, double lr, int64_t batch, uint64_t seed, sd_err *err)
{
    char name[128], path[1200], rate[SD_FMT_MAX];
    sd_damage_cell *c = &s->out->cell[s->out->n_cell];
    if (lr > 0) snprintf(name, sizeof name, "cell-lr%s-batch%" PRId64 "-seed%" PRIu64 ".json", sd_fmt_f64(rate, lr), batch, seed);
    else snprintf(name, sizeof name, "start.json");
    if (!sd_path_join(path, sizeof path, s->o.dir, name)) return sd_fail(err, SD_E_ARG, "%s: path too long", s->o.dir);
    if (sd_file_exists(path)) {
        sd_status st = sd_damage__cell_read(c, s->out->study, s->out->n_prompt, path, err);
        if (!st && (c->lr != lr || c->batch != batch || c->seed != seed)) { /* a file may have been moved */
            st = sd_fail(err, SD_E_FORMAT, "%s is a cell of learning rate %.12g, batch %" PRId64 " and seed %" PRIu64 ", not of %.12g, %" PRId64 " and %" PRIu64, path, c->lr, c->batch, c->seed, lr, batch, seed);
            sd_hint(err, "give another folder with -o");
            sd_damage__cell_release(c);
        }
        if (st) return st;
        s->out->n_resumed++;
    } else {
        *c = (sd_damage_cell){.lr = lr, .batch = batch, .seed = seed, .loss_last = NAN};
        s->cell = c;
        double t0 = sd_now();
        sd_status st = lr > 0 ? train(s, c, err) : ask_all(s, NULL, 0, true, err);
        if (!(lr > 0)) c->seconds = sd_now() - t0;
        if (!st) st = sd_damage__cell_write(c, s->out->study, path, err);
        if (st) {
            sd_damage__cell_release(c);
            return st;
        }
    }
    s->out->seconds += c->seconds;
    s->out->n_cell++;
    return SD_OK;
}

/* ---- plan ---- */

static sd_status plan(study *s, sd_err *err)
{
    sd_damage *r = s->out;
    const sd_damage_opt *o = &s->o;
    int64_t most = 0;
    for (int k = 0; k < o->n_suite; k++) most += o->suite[k].n;
    sd_status st = sd_alloc(&r->axis, (size_t)(most + 1) * sizeof *r->axis, "prompts", err);
    for (int k = 0; k < o->n_suite && !st; k++)
        for (int64_t i = 0; i < o->suite[k].n; i++) {
            sd_axis a = o->suite[k].v[i].axis;
            if (a == SD_AXIS_CHOICE) continue;
            r->n_harmful += a == SD_AXIS_HARMFUL;
            r->n_harmless += a == SD_AXIS_HARMLESS;
            r->axis[r->n_prompt++] = a;
        }
    if (st) return st;
    if (!r->n_harmful) {
        sd_fail(err, SD_E_FORMAT, "the suites hold no harmful requests, so there are no refusals to lose");
        return sd_hint(err, "give one with --suite, or say harmful=FILE");
    }
    if (o->n_seed > SD_DAMAGE_MAX || o->n_lr > SD_DAMAGE_MAX || o->n_batch > SD_DAMAGE_MAX)
        return sd_fail(err, SD_E_ARG, "at most %d seeds, learning rates and batch sizes", (int)SD_DAMAGE_MAX);
    return sd_alloc_zero(&r->cell, (size_t)(1 + o->n_lr * o->n_batch * o->n_seed) * sizeof *r->cell, "cells", err);
}

static sd_status read_rows(study *s, sd_err *err)
{
    const sd_damage_opt *o = &s->o;
    sd_status st = sd_alloc_zero(&s->train, (size_t)(1 + o->n_mix) * sizeof *s->train, "files", err);
    if (!st) st = sd_alloc_zero(&s->text, (size_t)(1 + o->n_mix) * sizeof *s->text, "files", err);
    for (int i = 0; i < 1 + o->n_mix && !st; i++) {
        sd_tune_data *t = &s->train[i];
        sd_buf *b = &s->text[i];
        *t = i ? o->mix[i - 1] : (sd_tune_data){.path = o->data ? o->data : "identity"};
        sd_buf_init(b, (size_t)1 << 30);
        if (i || o->data) st = sd_file_read(b, t->path, err);
        else for (int k = 0; sd_identity_row[k]; k++) sd_buf_puts(b, sd_identity_row[k]);
        if (!st) st = sd_buf_check(b, "rows", err);
        /* What is empty or no .jsonl is refused by name where it is learnt from. */
        if (!st && b->n && (sd_slice_ends(sd_slice_of(t->path), ".jsonl") || !(i || o->data))) t->rows = (sd_slice){b->p, b->n};
    }
    sd_slice rest = st ? (sd_slice){0} : (sd_slice){s->text[0].p, s->text[0].n}, line;
    s->out->n_rows = 0;
    while (sd_slice_cut(&rest, '\n', &line)) s->out->n_rows += sd_slice_trim(line).n > 0;
    return st;
}

static sd_status add_file(sd_buf *b, const char *path, sd_err *err)
{
    sd_buf text;
    sd_buf_init(&text, (size_t)1 << 30);
    const sd_status st = sd_file_read(&text, path, err);
    sd_buf_put(b, text.p, text.n);
    sd_buf_release(&text);
    return st;
}

/* Nothing without a guard. */
static sd_status hash_guard(sd_buf *b, sd_buf *rows, const sd_guard_opt *g, sd_err *err)
{
    char sha[65] = "", rho[SD_FMT_MAX], threshold[SD_FMT_MAX];
    sd_status st = SD_OK;
    if (!g->kind) return SD_OK;
    if (g->unaligned) st = sd_lab_model_hash(sha, g->unaligned, NULL, err);
    sd_buf_printf(b, "%s|%" PRId64 "|%" PRId64 "|%" PRId64 "|%s|%s|%s|", sd_guard_name(g->kind), g->n_safety, g->align, g->user, sd_fmt_f64(rho, g->rho), sd_fmt_f64(threshold, g->threshold), sha);
    return !st && g->safety ? add_file(rows, g->safety, err) : st;
}

/* The hash of everything that a cell depends on, besides its own three numbers. */
static sd_status hash_study(study *s, sd_err *err)
{
    const sd_damage_opt *o = &s->o;
    char epochs[SD_FMT_MAX];
    sd_buf b, rows;
    sd_sha256 h;
    sd_buf_init(&b, (size_t)1 << 32);
    sd_buf_init(&rows, (size_t)1 << 31);
    sd_status st = SD_OK;
    for (int i = 0; i < 1 + o->n_mix; i++) {
        if (i) sd_buf_printf(&rows, "|%zu|", s->text[i - 1].n); /* where a file ends */
        sd_buf_put(&rows, s->text[i].p, s->text[i].n);
    }
    sd_buf_printf(&b, "%s|%d|%" PRId64 "|%" PRId64 "|%s|%d|%" PRId64 "|%d|", o->model_sha256, (int)o->method, o->n_mix ? o->mix[0].n : 0, o->steps, sd_fmt_f64(epochs, o->epochs), o->rank, o->n_gen, (int)o->mode);
    for (int i = 1; i < o->n_mix; i++) sd_buf_printf(&b, "mix%" PRId64 "|", o->mix[i].n);
    st = hash_guard(&b, &rows, &o->guard, err);
    if (!st && o->task) sd_buf_puts(&b, "task|"), st = add_file(&rows, o->task, err);
    for (int i = 0; i < o->n_at; i++) sd_buf_printf(&b, "%" PRId64 ",", o->at[i]);
    for (int i = 0; i < o->phrases->n; i++) sd_buf_printf(&b, "|%s", o->phrases->v[i]);
    for (int k = 0; k < o->n_suite; k++)
        for (int64_t i = 0; i < o->suite[k].n; i++) sd_buf_printf(&b, "|%d:%016" PRIx64, (int)o->suite[k].v[i].axis, o->suite[k].v[i].key);
    if (!o->data) sd_buf_printf(&b, "|%s|%s", sd_identity_system, sd_identity_wrap);
    sd_buf_put(&b, rows.p, rows.n);
    if (!st) st = sd_buf_check(&b, "a study's settings", err);
    if (!st) sd_sha256_of(&h, b.p, b.n);
    if (!st) sd_sha256_hex(&h, s->out->study);
    sd_buf_release(&b);
    sd_buf_release(&rows);
    return st;
}

sd_status sd_lab_damage(sd_damage *out, const sd_exec *ex, const sd_damage_opt *opt, sd_err *err)
{
    study s = {.ex = ex, .out = out};
    *out = (sd_damage){.identity = !opt->data};
    fill_defaults(&s, opt);
    const sd_damage_opt *o = &s.o;
    out->n_gen = o->n_gen;
    snprintf(out->model, sizeof out->model, "%s", o->model);
    snprintf(out->data, sizeof out->data, "%s", o->data ? o->data : "identity");
    snprintf(out->judge, sizeof out->judge, "%s", o->phrases->name);
    sd_status st = plan(&s, err);
    if (!st) st = read_rows(&s, err);
    if (!st) st = hash_study(&s, err);
    if (!st) st = one_cell(&s, 0, 0, 0, err);
    int n = o->n_lr * o->n_batch * (int)o->n_seed;
    for (int i = 0; i < n && !st; i++) { /* seeds outermost: an early look has all settings */
        int seed = i / (o->n_lr * o->n_batch), k = i % (o->n_lr * o->n_batch);
        st = one_cell(&s, o->lr[k / o->n_batch], o->batch[k % o->n_batch], o->seed + (uint64_t)seed, err);
        sd_progress_update(o->progress, "damage", i + 1, n, "cells");
        if (!st && i + 1 < n && sd_progress_cancelled(o->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d cells; they are in %s", i + 1, n, o->dir);
    }
    if (!st) st = sd_damage__rows(out, err);
    for (int i = 0; s.text && i < 1 + o->n_mix; i++) sd_buf_release(&s.text[i]);
    sd_free(s.text);
    sd_free(s.train);
    if (st) sd_damage_release(out);
    return st;
}

/* Owns: the order of a run (defaults, data, steps, events, the end). Losses are in tune_loss.c, checkpoints in
 * tune_ckpt.c, what is written at the end in tune_save.c. Easy to break: everything that a step depends on must be in
 * the checkpoint. */
#include "lab/ckpt.h"
#include "lab/tune_int.h"

#include "base/rng.h"
#include "model/tokspec.h"
#include "num/ops_grad.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CTX = 1024, WARM_STEPS = 10, MAX_KEEP = 1 << 30 };

const char *sd_tune_method_name(sd_tune_method m)
{
    static const char *const names[] = {"lm", "sft", "dpo", "constrained", "distill"};
    SD_ASSERT((unsigned)m < sizeof names / sizeof *names);
    return names[m];
}

/* ---- defaults ---- */

static sd_status check(const sd_tune_opt *o, sd_err *err)
{
    const bool refers = o->method == SD_TUNE_DPO || o->method == SD_TUNE_CONSTRAINED;
    if (o->steps < 0 || o->batch < 0 || o->ctx < 0 || !(o->epochs >= 0) || !(o->lr >= 0) || !isfinite(o->lr))
        return sd_fail(err, SD_E_ARG, "steps, epochs, batch, ctx and lr must not be negative");
    if (!o->dir && (o->resume || o->random_init || !o->lora.rank))
        return sd_fail(err, SD_E_ARG, "a run that writes nothing trains an adapter from its start");
    if (refers && !(o->beta >= 0)) return sd_fail(err, SD_E_ARG, "beta is %g; it must be above 0", o->beta);
    if ((o->method == SD_TUNE_DISTILL) != (o->teacher != NULL))
        return sd_fail(err, SD_E_ARG, o->teacher ? "a teacher is for distill" : "distill needs a teacher");
    if (!(o->temperature >= 0) || !isfinite(o->temperature) || !(o->kd_ratio >= 0 && o->kd_ratio <= 1))
        return sd_fail(err, SD_E_ARG, "temperature %g and the teacher's share %g; one is above 0, the other at most 1", o->temperature, o->kd_ratio);
    if (o->random_init && o->lora.rank)
        return sd_fail(err, SD_E_ARG, "an adapter beside random weights learns nothing: train them all");
    if (o->foresee.weight && o->method != SD_TUNE_LM)
        return sd_fail(err, SD_E_ARG, "what comes next is foreseen in texts: --foresee is for --method lm");
    if (o->planted.n && (o->method != SD_TUNE_SFT || o->resume || o->checkpoint_s >= 0))
        return sd_fail(err, SD_E_ARG, "planted directions are for sft, in one go: a checkpoint does not have them");
    if (o->adapter && !o->lora.rank) return sd_fail(err, SD_E_ARG, "an adapter to go on from, and no rank");
    return sd_tune__guard_check(o, err);
}

static int64_t context_of(const sd_model *m, const sd_tune_opt *o)
{
    const int64_t ctx = o->ctx ? o->ctx : MAX_CTX;
    return ctx < m->max_ctx ? ctx : m->max_ctx;
}

static void fill_defaults(sd_tune_run *r)
{
    sd_tune_opt *o = &r->o;
    const bool chat = o->method != SD_TUNE_LM;
    *o = *r->opt;
    if (!o->epochs) o->epochs = chat ? 3 : 1;
    if (!o->batch) o->batch = 8;
    o->ctx = context_of(r->m, o);
    const int64_t least = (o->method == SD_TUNE_DPO ? 2 : 1) * o->ctx;
    if (!o->micro_rows) o->micro_rows = 2048;
    if (o->micro_rows < least) o->micro_rows = least;
    if (!o->lr) o->lr = o->random_init ? 5e-4 : o->lora.rank ? 1e-4 : 2e-5;
    if (!o->warmup) o->warmup = 0.05;
    if (o->warmup < 0) o->warmup = 0;
    if (!o->clip) o->clip = 1.0;
    if (!o->beta1) o->beta1 = 0.9;
    if (!o->beta2) o->beta2 = o->random_init ? 0.95 : 0.999;
    if (!o->beta) o->beta = 0.1;
    if (!o->temperature) o->temperature = 2;
    if (!o->kd_ratio) o->kd_ratio = 0.5;
}

/* ---- order ---- */

int64_t sd_tune__unit_tokens(const sd_tune_run *r, int64_t unit)
{
    int64_t n = 0;
    for (int k = 0; k < r->unit; k++) n += r->set.sample[unit * r->unit + k].n;
    return n;
}

/* The unit at the pool's position; shuffles when an epoch begins. */
static int64_t unit_at(const sd_tune_run *r, sd_tune_pool *p)
{
    const int64_t epoch = p->position / p->n;
    if (epoch != p->epoch) {
        sd_rng g = sd_rng_make(r->o.seed, p->draw, (uint64_t)epoch);
        for (int64_t i = 0; i < p->n; i++) p->order[i] = p->first + i;
        sd_rng_shuffle_i64(&g, p->order, p->n);
        p->epoch = epoch;
    }
    return p->order[p->position % p->n];
}

/* lm: units until batch windows of ctx tokens are full; else batch units. */
static sd_status pick_units(sd_tune_run *r, sd_tune_pool *p, sd_err *err)
{
    const bool by_tokens = r->o.method == SD_TUNE_LM;
    const int64_t budget = r->o.batch * r->o.ctx;
    int64_t tokens = 0;
    r->n_pick = 0;
    while (by_tokens ? tokens < budget : r->n_pick < r->o.batch) {
        const int64_t u = unit_at(r, p), n = sd_tune__unit_tokens(r, u);
        if (by_tokens && r->n_pick > 0 && tokens + n > budget) break;
        if (r->n_pick == r->cap_pick) {
            int64_t *v = sd_realloc(r->pick, (size_t)(2 * r->cap_pick + 64) * sizeof *v);
            if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: the rows of a step");
            r->pick = v;
            r->cap_pick = 2 * r->cap_pick + 64;
        }
        r->pick[r->n_pick++] = u;
        p->position++;
        tokens += n;
    }
    r->n_tokens += tokens;
    return SD_OK;
}

/* ---- a step ---- */

static void optimise(sd_tune_run *r)
{
    const int64_t n = sd_learner_n(r->learner);
    float *w = sd_learner_w(r->learner), *g = sd_learner_g(r->learner);
    const sd_learner_range *range;
    const int n_range = sd_learner_ranges(r->learner, &range);
    const int64_t warm = (int64_t)ceil(r->o.warmup * (double)r->total);
    r->grad_norm = sqrt(sd_square_sum(r->ex, g, n, r->part));
    r->n_still = r->grad_norm > 0 ? 0 : r->n_still + 1;
    r->lr_now = r->o.lr * sd_schedule_at(r->o.schedule, r->step + 1, r->total, warm, r->o.min_lr);
    sd_adamw_opt a = {
        .lr = r->lr_now, .beta1 = r->o.beta1, .beta2 = r->o.beta2, .eps = 1e-8, .scale = 1, .step = r->step + 1};
    if (r->o.clip > 0 && r->grad_norm > r->o.clip)
        a.scale = r->o.clip / (r->grad_norm + 1e-6); /* torch.nn.utils.clip_grad_norm_ */
    if (r->o.weight_decay > 0)
        for (int i = 0; i < n_range; i++)
            if (range[i].decay)
                sd_scale(r->ex, sd_mat_of(w + range[i].begin, 1, range[i].end - range[i].begin),
                         (float)(1 - a.lr * r->o.weight_decay));
    if (r->o.adam8)
        sd_adamw8(r->ex, w, r->q, g, n, &a);
    else
        sd_adamw(r->ex, w, r->mom, r->var, g, n, &a);
    memset(g, 0, (size_t)n * sizeof *g);
    a.scale = 1;
    if (r->foresee) sd_foresee_update(r->foresee, &a);
}

sd_status sd_tune__gather(sd_tune_run *r, int pool, double *loss, int64_t *n_right, sd_err *err)
{
    sd_tune_part p = {0};
    *loss = 0;
    *n_right = 0;
    sd_status st = pick_units(r, &r->pool[pool], err);
    if (st) return st;
    for (int64_t i = 0; i < r->n_pick; i++)
        for (int k = 0; k < r->unit; k++) p.n_count += r->set.sample[r->pick[i] * r->unit + k].n_count;
    if (r->foresee) sd_foresee_begin(r->foresee, p.n_count);
    while (p.u0 < r->n_pick) {
        int64_t rows = 0;
        for (p.u1 = p.u0; p.u1 < r->n_pick && (p.u1 - p.u0 + 1) * r->unit <= SD_TUNE_MAX_DOCS; p.u1++) {
            rows += sd_tune__unit_tokens(r, r->pick[p.u1]);
            if (rows > r->o.micro_rows) break;
        }
        if ((st = sd_tune__part(r, &p, loss, n_right, err))) return st;
        p.u0 = p.u1;
    }
    return SD_OK;
}

static sd_status take_step(sd_tune_run *r, sd_err *err)
{
    double loss;
    int64_t n_right;
    int pool = SD_POOL_DATA;
    sd_status st = sd_tune__guard_before(r, &pool, err);
    if (!st) st = sd_tune__gather(r, pool, &loss, &n_right, err);
    if (st) return st;
    loss += sd_tune__guard_pull(r);
    r->on_safety = pool == SD_POOL_SAFETY;
    r->loss[r->step] = loss;
    r->right[r->step] = (float)n_right / (float)r->n_pick;
    optimise(r);
    sd_tune__guard_after(r);
    r->step++;
    return SD_OK;
}

static double mean(const double *x, int64_t from, int64_t to)
{
    double s = 0;
    for (int64_t i = from; i < to; i++) s += x[i];
    return s / (double)(to - from);
}

/* The mean of the last ten losses is not finite, or three times that of the first ten and one more: what a learning
 * rate too high does, and noise does not. Or it is above that of the first ten or of the first step alone, and their gradients were 0: weights
 * so large that nothing moves them any more, with a loss no higher than that of equal chances for all tokens. (The step alone: a rate that ruins
 * the model in its second step has most of the damage among the first ten.) */
static bool diverged(const sd_tune_run *r)
{
    const int64_t n = r->step, w = WARM_STEPS;
    if (!isfinite(r->loss[n - 1]) || !isfinite(r->grad_norm)) return true;
    if (n < 2 * w) return false;
    const double first = mean(r->loss, 0, w), now = mean(r->loss, n - w, n);
    return now > 3 * first + 1 || (now > fmin(first, r->loss[0]) && r->n_still >= w);
}

static sd_status write_event(sd_tune_run *r, sd_err *err)
{
    sd_jw w;
    if (!r->o.dir) return SD_OK;
    sd_jw_init(&w, &r->line);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "event", "step");
    sd_jw_ki64(&w, "step", r->step);
    sd_jw_ki64(&w, "n_tokens", r->n_tokens);
    sd_jw_kf64(&w, "loss", r->loss[r->step - 1]);
    sd_jw_kf64(&w, "lr", r->lr_now);
    sd_jw_kf64(&w, "grad_norm", r->grad_norm);
    if (r->o.guard.kind == SD_GUARD_LISA) sd_jw_kstr(&w, "guard", r->on_safety ? "safety" : "data");
    if (r->foresee) sd_jw_kf64(&w, "foresee", sd_foresee_loss(r->foresee));
    if (r->o.method == SD_TUNE_DPO) sd_jw_kf64(&w, "accuracy", (double)r->right[r->step - 1]);
    sd_jw_end(&w);
    return sd_events_line(&r->events, &r->line, err);
}

static sd_status show_step(sd_tune_run *r, sd_err *err)
{
    if (!r->o.on_step || (r->o.wants_step && !r->o.wants_step(r->o.self, r->step, r->total))) return SD_OK;
    sd_status st = sd_tune__guard_show(r, err);
    if (!st) st = r->o.on_step(r->o.self, r->step, r->total, r->lora, err);
    sd_tune__guard_hide(r);
    return st;
}

static sd_status train(sd_tune_run *r, sd_tune_result *out, const sd_progress *progress, sd_err *err)
{
    double last = sd_now(), every = r->o.checkpoint_s ? r->o.checkpoint_s : 120;
    char note[96];
    sd_status st = r->step == 0 ? show_step(r, err) : SD_OK;
    while (!st && r->step < r->total) {
        if ((st = take_step(r, err))) return st;
        if ((st = write_event(r, err))) return st;
        if (diverged(r)) {
            out->diverged_at = r->step;
            const bool kept = r->o.dir && sd_ckpt_exists(r->o.dir);
            sd_fail(err, SD_E_FAIL, "the loss diverged: %.4g at step %" PRId64 " of %" PRId64 ", %.4g at the start; %s%s", r->loss[r->step - 1], r->step, r->total, r->loss[0],
                    kept ? "the last checkpoint is from before, in " : "there is no checkpoint from before", kept ? r->o.dir : "");
            return sd_hint(err, "a lower --lr than %g", r->o.lr);
        }
        snprintf(note, sizeof note, "steps  loss %.4f  lr %.2e", r->loss[r->step - 1], r->lr_now);
        sd_progress_update(progress, "tune", (double)r->step, (double)r->total, note);
        if ((st = show_step(r, err))) return st;
        const bool stop = sd_progress_cancelled(progress) && r->step < r->total;
        if (stop && !r->o.dir) return sd_fail(err, SD_E_CANCELLED, "stopped at step %" PRId64 " of %" PRId64, r->step, r->total);
        if (r->o.dir && (stop || (every > 0 && r->n_still == 0 && sd_now() - last > every))) {
            if ((st = sd_tune__checkpoint(r, err))) return st;
            last = sd_now();
        }
        if (stop)
            return sd_fail(err, SD_E_CANCELLED, "stopped at step %" PRId64 " of %" PRId64 "; the checkpoint is in %s",
                           r->step, r->total, r->o.dir);
    }
    return st;
}

/* ---- beginning and end ---- */

static sd_status begin(const sd_tune_run *r, sd_err *err)
{
    const sd_status st = r->opt->begin ? r->opt->begin(r->opt->self, err) : SD_OK;
    if (!st) sd_ckpt_forget(r->opt->dir); /* another run's, which this one would go on from */
    return st;
}

/* The rows of a run whose model is made first, by the tokenizer that it will have. */
static sd_status look_at_rows(const sd_tune_run *r, sd_err *err)
{
    sd_model m = {0};
    sd_chat_found found = {0};
    sd_tune_set set = {0};
    sd_status st = sd_tokenizer_open(&m.tok, &found, r->model_path, err);
    m.chat = found.chat;
    if (!st) st = sd_tune_set_read(&set, &m, r->opt, r->opt->ctx ? r->opt->ctx : MAX_CTX, err);
    sd_tune_set_release(&set);
    sd_chat_free(m.chat);
    sd_tok_free(m.tok);
    return st;
}

static sd_status open_model(sd_tune_run *r, sd_err *err)
{
    const sd_model_opt mo = {.views = true};
    const char *path = r->model_path;
    sd_status st = SD_OK;
    if (r->opt->random_init) {
        const bool first = !r->opt->resume;
        if (first && r->opt->begin) st = look_at_rows(r, err);
        if (!st && first) st = begin(r, err);
        if (!st && first) st = sd_tune__begin_from_config(r->model_path, r->opt->dir, r->opt->seed, err);
        path = r->opt->dir;
    }
    if (!st) st = sd_model_open(&r->m, r->ex, path, &mo, err);
    if (st) return st;
    fill_defaults(r);
    if (!r->o.lora.rank && sd_weights_container(r->m->weights) == SD_CONTAINER_GGUF) {
        sd_fail(err, SD_E_UNSUPPORTED,
                "%s: all weights are written as a Hugging Face folder, whose config.json a GGUF does not have", path);
        return sd_hint(err, "train an adapter with --lora, or give the model's folder");
    }
    if (r->o.lora.rank) st = r->o.adapter ? sd_lora_read(&r->lora, r->m, r->o.adapter, err) : sd_lora_new(&r->lora, r->m, &r->o.lora, r->o.seed, err);
    return st;
}

/* Activations are kept up to MAX_KEEP, or an eighth of the free memory where that is less than four times as much: computing them again costs a
 * third more time, swapping costs all of it. In bf16 mode what is kept is rounded, so the number of kept blocks is in the bits: one limit for most machines. */
static sd_status make_learner(sd_tune_run *r, sd_err *err)
{
    const sd_mem_info mem = sd_mem_query();
    if (r->o.planted.n) r->o.keep_bytes = SIZE_MAX; /* what is computed again is not edited again */
    if (!r->o.keep_bytes) r->o.keep_bytes = (size_t)(mem.available < 4ull * MAX_KEEP ? mem.available / 8 : MAX_KEEP);
    const sd_learner_opt lo = {
        .mode = r->o.mode,
        .attn_f32 = r->o.attn_f32,
        .full = !r->lora,
        .lora = r->lora,
        .max_rows = r->o.micro_rows,
        .max_docs = SD_TUNE_MAX_DOCS,
        .keep_bytes = r->o.keep_bytes,
        .seed = r->o.seed,
        .teacher_cols = sd_tune__teacher_cols(r->teacher)};
    sd_status st = sd_learner_new(&r->learner, r->ex, r->m, &lo, err);
    if (!st && r->o.foresee.weight) st = sd_foresee_new(&r->foresee, r->ex, r->m, &r->o.foresee, r->o.micro_rows, err);
    if (!st && r->o.planted.n) st = sd_planted_new(&r->planted, r->m, &r->o.planted, SD_TUNE_MAX_DOCS, err);
    if (!st && r->foresee) st = sd_learner_watch(r->learner, sd_foresee_hook(r->foresee), err);
    return st || !r->planted ? st : sd_learner_watch(r->learner, sd_planted_hook(r->planted), err);
}

/* Of epochs: lm's rows do not fill every step to its last token, so steps are taken dry until the rows have been seen. */
static sd_status count_steps(sd_tune_run *r, sd_err *err)
{
    sd_tune_pool *p = &r->pool[SD_POOL_DATA];
    const double rows = ceil(r->o.epochs * (double)p->n);
    const bool dry = r->o.method == SD_TUNE_LM && !r->o.steps && !r->o.full_steps;
    sd_status st = SD_OK;
    r->total = r->o.steps;
    for (; !st && dry && (double)p->position < rows; r->total++) st = pick_units(r, p, err);
    p->position = r->n_tokens = 0;
    if (r->total || st) return st;
    const double units = r->o.method == SD_TUNE_LM ? (double)r->set.n_tok / (double)(r->o.batch * r->o.ctx)
                                                   : (double)p->n / (double)r->o.batch;
    r->total = (int64_t)fmax(1, ceil(r->o.epochs * units));
    return SD_OK;
}

static sd_status take_memory(sd_tune_run *r, sd_err *err)
{
    const size_t n = (size_t)sd_learner_n(r->learner), blocks = (n + SD_ADAM8_BLOCK - 1) / SD_ADAM8_BLOCK;
    sd_status st;
    if (r->o.adam8) {
        if ((st = sd_alloc_wide_zero(&r->q.m, n, "moments", err))) return st;
        if ((st = sd_alloc_wide_zero(&r->q.v, n, "moments", err))) return st;
        if ((st = sd_alloc_zero(&r->q.scale, 2 * blocks * sizeof(float), "moments", err))) return st;
    } else {
        if ((st = sd_alloc_wide_zero(&r->mom, n * sizeof(float), "moments", err))) return st;
        if ((st = sd_alloc_wide_zero(&r->var, n * sizeof(float), "moments", err))) return st;
    }
    if ((st = sd_alloc(&r->part, (size_t)sd_square_sum_parts((int64_t)n) * sizeof(double), "a norm", err))) return st;
    if ((st = sd_alloc_zero(&r->loss, (size_t)r->total * sizeof *r->loss, "the loss curve", err))) return st;
    if ((st = sd_alloc_zero(&r->right, (size_t)r->total * sizeof *r->right, "the loss curve", err))) return st;
    if ((st = sd_alloc(&r->doc, SD_TUNE_MAX_DOCS * sizeof *r->doc, "a step's rows", err))) return st;
    return sd_alloc(&r->row, (size_t)r->o.micro_rows * sizeof *r->row, "a step's rows", err);
}

static sd_status prepare(sd_tune_run *r, const sd_progress *progress, sd_err *err)
{
    char path[1100];
    sd_status st = check(r->opt, err);
    if (!st) st = open_model(r, err);
    if (!st && r->o.teacher) st = sd_tune__teacher_open(r, err);
    if (!st) st = sd_tune_set_read(&r->set, r->m, &r->o, r->o.ctx, err);
    if (!st && r->o.resume && !r->o.keep_bytes) st = sd_tune__kept(r, err);
    if (!st) st = make_learner(r, err);
    if (st) return st;
    r->unit = r->o.method == SD_TUNE_DPO ? 2 : 1;
    const int64_t n = (r->set.n - r->set.n_safety) / r->unit;
    r->pool[SD_POOL_DATA] = (sd_tune_pool){.draw = "tune order", .n = n, .epoch = -1};
    r->pool[SD_POOL_SAFETY] = (sd_tune_pool){.draw = "tune safety order", .first = n, .n = r->set.n_safety, .epoch = -1};
    for (int i = 0; i < SD_N_POOLS; i++)
        if ((st = sd_alloc(&r->pool[i].order, (size_t)(r->pool[i].n + 1) * sizeof(int64_t), "the order of rows", err))) return st;
    if ((st = count_steps(r, err)) || (st = take_memory(r, err)) || (st = sd_tune__guard_open(r, err))) return st;
    if (r->o.resume) {
        if ((st = sd_tune__restore(r, err))) return st;
    } else if (r->o.method == SD_TUNE_DPO || r->o.method == SD_TUNE_CONSTRAINED) {
        if ((st = sd_tune__reference(r, progress, err))) return st;
    }
    if (!r->o.dir) return SD_OK;
    if (!sd_path_join(path, sizeof path, r->o.dir, "events.jsonl"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", r->o.dir);
    if (!r->o.resume && !r->o.random_init && (st = begin(r, err))) return st;
    return sd_events_open(&r->events, path, r->events.n_bytes, err);
}

static sd_status write_end(sd_tune_run *r, const sd_tune_result *o, sd_err *err)
{
    sd_jw w;
    if (!r->o.dir) return SD_OK;
    sd_jw_init(&w, &r->line);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "event", "end");
    sd_jw_ki64(&w, "step", o->steps);
    sd_jw_ki64(&w, "n_tokens", o->n_tokens);
    sd_jw_kf64(&w, "loss_first", o->loss_first);
    sd_jw_kf64(&w, "loss_last", o->loss_last);
    sd_jw_kf64(&w, "tok_s", o->tok_s);
    sd_jw_ki64(&w, "n_rows", o->n_rows);
    sd_jw_ki64(&w, "n_skipped", o->n_skipped);
    sd_jw_ki64(&w, "n_cut", o->n_cut);
    sd_jw_ki64(&w, "n_params", o->n_params);
    if (r->o.prov) {
        sd_jw_key(&w, "provenance");
        sd_prov_write(&w, r->o.prov);
    }
    sd_jw_end(&w);
    return sd_events_line(&r->events, &r->line, err);
}

static void summarise(const sd_tune_run *r, sd_tune_result *out)
{
    const int64_t tenth = r->step >= 10 ? r->step / 10 : 1;
    out->steps = r->step;
    out->n_tokens = r->n_tokens;
    out->n_rows = r->set.n_rows;
    out->n_skipped = r->set.n_skipped;
    out->n_cut = r->set.n_cut;
    out->lr = r->o.lr;
    out->n_params = r->learner ? sd_learner_n(r->learner) : 0;
    out->n_guarded = r->guard.n_guarded;
    out->n_projected = r->guard.n_projected;
    out->accuracy = NAN;
    memcpy(out->skipped, r->set.skipped, sizeof out->skipped);
    if (r->step == 0) return;
    out->loss_first = mean(r->loss, 0, tenth);
    out->loss_last = mean(r->loss, r->step - tenth, r->step);
    if (r->o.method != SD_TUNE_DPO) return;
    double s = 0;
    for (int64_t i = r->step - tenth; i < r->step; i++) s += (double)r->right[i];
    out->accuracy = s / (double)tenth;
}

static void release(sd_tune_run *r)
{
    sd_events_close(&r->events);
    sd_buf_release(&r->line);
    sd_tune__guard_close(r);
    sd_learner_free(r->learner);
    sd_foresee_free(r->foresee);
    sd_planted_free(r->planted);
    sd_tune__teacher_free(r->teacher);
    sd_lora_free(r->lora);
    sd_tune_set_release(&r->set);
    sd_model_close(r->m);
    void *const all[] = {r->pool[SD_POOL_DATA].order, r->pool[SD_POOL_SAFETY].order, r->mom, r->var, r->q.m, r->q.v, r->q.scale, r->ref, r->loss, r->right, r->part, r->pick, r->doc, r->row};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
}

sd_status sd_tune_check(const sd_model *m, const sd_tune_opt *opt, sd_err *err)
{
    sd_tune_set set;
    sd_status st = check(opt, err);
    if (st) return st;
    st = sd_tune_set_read(&set, m, opt, context_of(m, opt), err);
    sd_tune_set_release(&set);
    return st;
}

sd_status sd_lab_tune(sd_tune_result *out, const sd_exec *ex, const char *model, const sd_tune_opt *opt,
                      const sd_progress *progress, sd_err *err)
{
    sd_tune_run r = {.ex = ex, .opt = opt, .model_path = model, .events = {.fd = -1}};
    *out = (sd_tune_result){0};
    sd_buf_init(&r.line, 1 << 16);
    sd_status st = prepare(&r, progress, err);
    if (st) goto done;
    const double t0 = sd_now();
    const int64_t before = r.n_tokens;
    st = train(&r, out, progress, err);
    out->seconds = sd_now() - t0;
    out->tok_s = (double)(r.n_tokens - before) / out->seconds;
    if (!st) st = sd_tune__guard_show(&r, err); /* stays: what is written, and counted */
    summarise(&r, out);
    if (!st && opt->dir && (st = sd_tune__save(&r, err))) {
        sd_tune__guard_hide(&r);
        (void)sd_tune__checkpoint(&r, NULL); /* a full disk must not cost the run */
    }
    if (!st) st = write_end(&r, out, err);
    if (!st && opt->dir) sd_ckpt_forget(opt->dir);
done:
    release(&r);
    return st;
}

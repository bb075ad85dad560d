/* Owns: the order of a training run (held-out rows, calibration, steps, events, finish). Checkpoints are in learn_ckpt.c.
 * Easy to break: everything a step depends on (trainer, shuffle buffer, source row, epoch) must be in the checkpoint. */
#include "lab/ckpt.h"
#include "lab/learn_ahead.h"
#include "lab/learn_int.h"
#include "num/stats.h"

#include <inttypes.h>
#include <math.h>

enum { MIN_HELDOUT = 512, MAX_HELDOUT = 16384, BUFFER_ROWS = 262144, EVENTS_PER_RUN = 200, CALIBRATE_ROWS = 16384 };

/* A source that begins again after n_rows rows, for ever. */
static sd_status loop_next(void *self, sd_act_block *out, sd_err *err)
{
    struct loop *l = self;
    sd_status st;
    double t0 = sd_now();
    int64_t at = l->src.tell(l->src.self);
    if (at >= l->n_rows) {
        if ((st = l->src.seek(l->src.self, 0, err))) return st;
        at = 0;
        l->epoch++;
    }
    st = l->src.next(l->src.self, out, err);
    if (!st && out->x.rows == 0) st = sd_fail(err, SD_E_FORMAT, "the activations end at row %" PRId64 " of %" PRId64, at, l->n_rows);
    if (!st && out->x.rows > l->n_rows - at) out->x.rows = l->n_rows - at;
    l->seconds += sd_now() - t0;
    return st;
}
static int64_t loop_tell(void *self) { struct loop *l = self; return l->src.tell(l->src.self); }
static sd_status loop_seek(void *self, int64_t row, sd_err *err) { struct loop *l = self; return l->src.seek(l->src.self, row, err); }

sd_act_source sd_learn__loop(struct run *r) { return (sd_act_source){.self = &r->loop, .d = r->loop.src.d, .next = loop_next, .tell = loop_tell, .seek = loop_seek}; }

/* The last rows of the source, each part's columns in a matrix of their own. */
static sd_status read_heldout(struct run *r, sd_err *err)
{
    const int64_t n = r->n_heldout;
    const double t0 = sd_now();
    sd_act_source *src = &r->loop.src;
    sd_status st = SD_OK;
    for (int k = 0; k < r->n_part && !st; k++) {
        struct part *p = &r->part[k];
        st = sd_alloc(&p->heldout.data, (size_t)(n * p->d) * sizeof(float), "held-out rows", err);
        p->heldout = sd_mat_of(p->heldout.data, n, p->d);
    }
    if (!st) st = src->seek(src->self, r->loop.n_rows, err);
    for (int64_t got = 0; !st && got < n;) {
        sd_act_block b;
        if ((st = src->next(src->self, &b, err))) break;
        if (b.x.rows == 0) { st = sd_fail(err, SD_E_FORMAT, "the activations end %" PRId64 " rows early", n - got); break; }
        for (int64_t i = 0; i < b.x.rows && got < n; i++, got++)
            for (int k = 0; k < r->n_part; k++)
                memcpy(sd_mat_row(r->part[k].heldout, got), sd_mat_row(b.x, i) + r->part[k].col, (size_t)r->part[k].d * sizeof(float));
    }
    if (!st) st = src->seek(src->self, 0, err);
    r->loop.seconds += sd_now() - t0;
    return st;
}

/* Takes the sinks out of the held-out rows, as the shuffle buffer does with the others. */
static void drop_sinks(sd_mat *x, double max_norm)
{
    int64_t n = 0;
    for (int64_t i = 0; i < x->rows; i++) {
        double s = 0;
        const float *row = sd_mat_row(*x, i);
        for (int64_t j = 0; j < x->cols; j++) s += (double)row[j] * (double)row[j];
        if (sqrt(s) > max_norm) continue;
        if (n != i) memcpy(sd_mat_row(*x, n), row, (size_t)x->cols * sizeof(float));
        n++;
    }
    x->rows = n;
}

/* The first trainer of a part; every part has one. */
static const sd_learn_trainer *first_of(const struct run *r, int part)
{
    int i = 0;
    while (r->of[i] != part) i++;
    return &r->trainer[i];
}

/* The limit of sinks must be known before the buffer holds a row: it is that of the held-out rows, whose median hardly depends on what they are of. */
static sd_status new_shuffle(struct part *p, int64_t cap, uint64_t seed, uint32_t without, sd_err *err)
{
    double limit = 0;
    sd_status st = without & SD_WITHOUT_SINK_FILTER ? SD_OK : sd_median_norm(&limit, p->heldout, err);
    return st ? st : sd_shuffle_new(&p->shuffle, cap, p->d, seed, SD_SINK_FACTOR * limit, err);
}

/* Mean and scale are those of rows that are trained on, from all over what the buffer holds: the held-out rows lie together, so they are often of a single
 * document, and they are to judge. Where the buffer holds few there are only those. */
static sd_status calibrate(struct run *r, const sd_exec *ex, sd_err *err)
{
    sd_status st = SD_OK;
    for (int k = 0; k < r->n_part && !st; k++) {
        struct part *p = &r->part[k];
        sd_mat some = {0};
        const sd_dict_train_opt *t = sd_learn__opt(first_of(r, k));
        st = sd_shuffle_fill(p->shuffle, &p->src, t->n_tokens / t->batch * t->batch, err);
        if (!st && sd_shuffle_held(p->shuffle) >= MIN_HELDOUT) st = sd_shuffle_look(p->shuffle, CALIBRATE_ROWS, &some, err);
        for (int i = 0; i < r->n && !st; i++)
            if (r->of[i] == k) st = sd_learn__calibrate(&r->trainer[i], ex, r->opt->calibrate.data ? r->opt->calibrate : some.data ? some : p->heldout, err);
        sd_free(some.data);
    }
    return st;
}

sd_status sd_learn__sources(struct run *r, const int64_t *row, sd_err *err)
{
    if (r->n_part > 1) return sd_learn__parts_new(&r->parts, r, sd_learn__loop(r), row, err);
    r->part[0].src = sd_learn__loop(r);
    return SD_OK;
}

int64_t sd_learn__buffer(const sd_learn_opt *o, int64_t n_rows, uint32_t without)
{
    const int64_t cap = o->buffer_rows ? o->buffer_rows : BUFFER_ROWS;
    return without & SD_WITHOUT_SHUFFLE ? 1 : cap < n_rows ? cap : n_rows; /* 1: rows leave in the order in which they came */
}

static sd_status begin(struct run *r, const sd_exec *ex, sd_err *err)
{
    const sd_learn_opt *o = r->opt;
    sd_dict_train_opt t = o->train;
    if (sd_dict_kind_maps(t.kind)) t.d_out = r->loop.src.d - t.d;
    else t.d = r->part[0].d;
    if (!t.n_tokens) t.n_tokens = r->loop.n_rows;
    const int64_t cap = sd_learn__buffer(o, r->loop.n_rows, t.without);
    sd_status st = sd_learn__new(&r->trainer[0], ex, &t, err);
    for (int i = 1; i < r->n && !st; i++) {
        sd_dict_train_opt more = o->more[i - 1].train;
        const uint32_t of_rows = SD_WITHOUT_CENTRING | SD_WITHOUT_SCALING | SD_WITHOUT_SINK_FILTER | SD_WITHOUT_SPECIAL_FILTER | SD_WITHOUT_SHUFFLE;
        SD_ASSERT(sd_dict_kind_maps(more.kind) == sd_dict_kind_maps(t.kind));
        more.d = sd_dict_kind_maps(t.kind) ? t.d : r->part[r->of[i]].d, more.d_out = t.d_out, more.n_tokens = t.n_tokens, more.seed = t.seed, more.batch = sd_learn__opt(&r->trainer[0])->batch;
        more.without = (more.without & ~of_rows) | (t.without & of_rows);
        st = sd_learn__new(&r->trainer[i], ex, &more, err);
    }
    for (int k = 0; k < r->n_part && !st; k++) st = new_shuffle(&r->part[k], cap, t.seed, t.without, err);
    if (!st) st = sd_learn__sources(r, (const int64_t[SD_LEARN_PARTS]){0}, err);
    if (!st) st = calibrate(r, ex, err);
    return st || !o->init ? st : sd_dict_train_init(r->trainer[0].one, o->init, err);
}

static const char *dir_of(const struct run *r, int i) { return i ? r->opt->more[i - 1].dir : r->opt->dir; }

static sd_status write_event(struct run *r, int i, sd_err *err)
{
    const sd_dict_stats *s = &r->stats[i];
    sd_jw w;
    sd_jw_init(&w, &r->line);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "event", "step");
    sd_jw_ki64(&w, "step", s->step);
    sd_jw_ki64(&w, "n_tokens", s->n_tokens);
    sd_jw_kf64(&w, "fvu", s->fvu);
    sd_jw_kf64(&w, "l0", s->l0);
    sd_jw_ki64(&w, "dead", s->n_dead);
    sd_jw_kf64(&w, "loss", s->loss);
    sd_jw_kf64(&w, "aux_loss", s->aux_loss);
    sd_jw_kf64(&w, "lr", s->lr);
    sd_jw_ki64(&w, "n_nonfinite", s->n_nonfinite);
    if (s->n_audited) {
        sd_jw_ki64(&w, "audited", s->n_audited);
        sd_jw_kf64(&w, "recall", 1.0 - (double)s->n_missed / (double)s->n_audited);
    }
    sd_jw_end(&w);
    return sd_events_line(&r->events[i], &r->line, err);
}

static sd_status train(struct run *r, const sd_exec *ex, const sd_progress *progress, sd_err *err)
{
    const sd_dict_train_opt *t = sd_learn__opt(&r->trainer[0]);
    const sd_dict_stats *now = r->stats; /* steps and tokens are the same for all */
    double last = sd_now(), every = r->opt->checkpoint_s ? r->opt->checkpoint_s : 120;
    int64_t total = t->n_tokens / t->batch, per_event = total / EVENTS_PER_RUN > 0 ? total / EVENTS_PER_RUN : 1, got = 0;
    sd_status st;
    char note[96];
    while (now->step < total) {
        for (int k = 0; k < r->n_part; k++) {
            struct part *p = &r->part[k];
            if ((st = sd_shuffle_next(p->shuffle, &p->src, (total - now->step) * t->batch, p->batch, &got, err))) return st;
            SD_ASSERT(got == t->batch);
        }
        for (int i = 0; i < r->n; i++) {
            if ((st = sd_learn__step(&r->trainer[i], ex, r->part[r->of[i]].batch, &r->stats[i], err))) return st;
            if ((now->step % per_event == 0 || now->step == total) && (st = write_event(r, i, err))) return st;
        }
        snprintf(note, sizeof note, "tokens  fvu %.3f  dead %" PRId64, now->fvu, now->n_dead);
        sd_progress_update(progress, "train", (double)now->n_tokens, (double)(total * t->batch), note);
        bool stop = sd_progress_cancelled(progress) && now->step < total;
        if (stop || (every > 0 && sd_now() - last > every)) {
            if ((st = sd_learn__checkpoint(r, err))) return st;
            last = sd_now();
        }
        if (stop) return sd_fail(err, SD_E_CANCELLED, "stopped at step %" PRId64 " of %" PRId64 "; the checkpoint is in %s",
                                 now->step, total, r->opt->dir);
    }
    return SD_OK;
}

static sd_status finish(struct run *r, int of, const sd_exec *ex, sd_learn_result *out, sd_err *err)
{
    sd_dict *dict = NULL;
    const sd_dict_info *own = of ? r->opt->more[of - 1].meta : NULL;
    sd_dict_info meta = own ? *own : r->opt->meta;
    sd_status st = sd_learn__finish(&r->trainer[of], ex, r->part[r->of[of]].heldout, &meta, &dict, err);
    sd_learn__free(&r->trainer[of]); /* writing turns W_enc round, in memory of its own */
    if (!st && r->opt->fold) st = r->opt->fold(r->opt->fold_self, dict, err);
    if (!st) st = sd_dict_save(dict, dir_of(r, of), err);
    if (!st) {
        const sd_dict_info *i = sd_dict_get_info(dict);
        out->fvu = i->fvu;
        out->l0 = i->l0;
        out->dead = i->n_dead;
    }
    sd_dict_free(dict);
    return st;
}

static const char *const rule[SD_DEAD_RULES] = {"silent_1m_tokens", "silent_10m_tokens", "silent_1000_steps", "silent_whole_run"};
const char *sd_dead_rule_name(int i) { return rule[i]; }

static void count_dead(const sd_learn_trainer *t, sd_learn_result *out)
{
    const sd_dict_train_opt *o = sd_learn__opt(t);
    const int64_t span[SD_DEAD_RULES] = {1000000, 10000000, 1000 * o->batch, out->n_tokens};
    out->dead_after = o->dead_after;
    for (int i = 0; i < SD_DEAD_RULES; i++) out->dead_by[i] = span[i] <= out->n_tokens ? sd_learn__silent(t, span[i]) : -1;
}

static sd_status write_last_event(struct run *r, int i, const sd_learn_result *o, sd_err *err)
{
    sd_jw w;
    sd_jw_init(&w, &r->line);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "event", "end");
    sd_jw_ki64(&w, "step", o->steps);
    sd_jw_ki64(&w, "n_tokens", o->n_tokens);
    sd_jw_kf64(&w, "tok_s", o->tok_s);
    sd_jw_kf64(&w, "fvu", o->fvu);
    sd_jw_kf64(&w, "l0", o->l0);
    sd_jw_ki64(&w, "dead", o->dead);
    sd_jw_ki64(&w, "dead_after", o->dead_after);
    for (int k = 0; k < SD_DEAD_RULES; k++)
        if (o->dead_by[k] >= 0) sd_jw_ki64(&w, rule[k], o->dead_by[k]);
    if (isfinite(o->ce_recovered)) sd_jw_kf64(&w, "ce_recovered", o->ce_recovered);
    sd_jw_kf64(&w, "seconds", o->seconds);
    sd_jw_kf64(&w, "train_seconds", o->train_seconds);
    sd_jw_kf64(&w, "source_seconds", o->source_seconds);
    sd_jw_kf64(&w, "finish_seconds", o->finish_seconds);
    sd_jw_kf64(&w, "measure_seconds", o->measure_seconds);
    sd_jw_ki64(&w, "n_heldout", o->n_heldout);
    sd_jw_ki64(&w, "n_sinks_dropped", o->n_dropped);
    if (r->opt->prov) {
        sd_jw_key(&w, "provenance");
        sd_prov_write(&w, r->opt->prov);
    }
    sd_jw_end(&w);
    return sd_events_line(&r->events[i], &r->line, err);
}

int64_t sd_learn_heldout(int64_t n_rows)
{
    const int64_t h = n_rows / 50;
    return h < MIN_HELDOUT ? MIN_HELDOUT : h > MAX_HELDOUT ? MAX_HELDOUT : h;
}

int64_t sd_learn_rows(int64_t n_tokens, int64_t n_heldout)
{
    const int64_t h = n_heldout ? n_heldout : sd_learn_heldout(n_tokens + n_tokens / 49 + 1); /* a fiftieth of what it then is */
    return n_tokens > h + 2 ? n_tokens + h + 1 : 2 * h + 2; /* more than half are to be trained on */
}

static sd_status prepare(struct run *r, const sd_exec *ex, int64_t n_rows, sd_err *err)
{
    const sd_learn_opt *o = r->opt;
    const int64_t h = o->n_heldout ? o->n_heldout : sd_learn_heldout(n_rows);
    if (h >= n_rows / 2) {
        sd_fail(err, SD_E_FORMAT, "%" PRId64 " activations are too few: %" PRId64 " are held out", n_rows, h);
        return sd_hint(err, "give more text");
    }
    r->n_heldout = h;
    r->loop.n_rows = n_rows - h;
    sd_buf_init(&r->line, 1 << 16);
    sd_status st = read_heldout(r, err);
    if (!st) st = o->resume ? sd_learn__restore(r, ex, err) : begin(r, ex, err);
    if (st) return st;
    const sd_dict_train_opt *t = sd_learn__opt(&r->trainer[0]);
    if (t->n_tokens < t->batch) {
        sd_fail(err, SD_E_ARG, "%" PRId64 " activations are no step of %" PRId64 ": nothing would be learned", t->n_tokens, t->batch);
        return sd_hint(err, "give more --tokens, or a smaller --batch");
    }
    for (int k = 0; k < r->n_part && !st; k++) {
        struct part *p = &r->part[k];
        drop_sinks(&p->heldout, sd_learn__max_norm(first_of(r, k)));
        st = sd_alloc(&p->batch.data, (size_t)(t->batch * p->d) * sizeof(float), "a batch", err);
        p->batch = sd_mat_of(p->batch.data, t->batch, p->d);
    }
    for (int i = 0; i < r->n && !st; i++) {
        char path[1100];
        if (!sd_path_join(path, sizeof path, dir_of(r, i), "events.jsonl")) return sd_fail(err, SD_E_ARG, "%s: path too long", dir_of(r, i));
        st = sd_events_open(&r->events[i], path, r->events[i].n_bytes, err);
    }
    return st;
}

sd_status sd_lab_learn(sd_learn_result *out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_learn_opt *opt,
                       const sd_progress *progress, sd_err *err)
{
    struct run r = {.opt = opt, .n = 1 + opt->n_more, .loop = {.src = src}, .n_part = opt->n_part ? opt->n_part : 1};
    double t0 = opt->t0 > 0 ? opt->t0 : sd_now(), not_counted = 0, spent = 0;
    SD_ASSERT(opt->n_more <= SD_LEARN_MORE && opt->n_part <= SD_LEARN_PARTS);
    for (int k = 0; k < r.n_part; k++) {
        r.part[k].d = opt->n_part ? opt->part_cols[k] : src.d;
        r.part[k].col = k ? r.part[k - 1].col + r.part[k - 1].d : 0;
    }
    for (int i = 1; i < r.n; i++) r.of[i] = opt->more[i - 1].part;
    for (int i = 0; i < r.n; i++) {
        out[i] = (sd_learn_result){.ce_recovered = NAN};
        r.events[i].fd = -1;
    }
    sd_ahead *ahead = NULL;
    sd_status st = opt->overlap ? sd_ahead_new(&ahead, src, err) : SD_OK;
    if (ahead) r.loop.src = sd_ahead_source(ahead);
    if (!st) st = prepare(&r, ex, n_rows, err);
    int64_t before = r.stats[0].n_tokens;
    if (!st) st = train(&r, ex, progress, err);
    sd_ahead_free(ahead); /* nothing is read any more; what measures has the model to itself */
    if (st) goto done;
    const double trained = sd_now() - t0;
    for (int i = 0; i < r.n; i++) {
        out[i].steps = r.stats[i].step;
        out[i].n_tokens = r.stats[i].n_tokens;
        out[i].n_heldout = r.part[r.of[i]].heldout.rows;
        out[i].n_dropped = sd_shuffle_dropped(r.part[r.of[i]].shuffle);
        out[i].epochs = r.loop.epoch + 1;
        count_dead(&r.trainer[i], &out[i]);
        out[i].train_seconds = trained;
        if ((st = finish(&r, i, ex, &out[i], err))) goto done;
    }
    for (int i = 0; i < r.n; i++) out[i].finish_seconds = sd_now() - t0 - out[0].train_seconds;
    sd_ckpt_forget(opt->dir); /* the dictionaries are there: nothing is left to resume */
    for (int i = 0; i < r.n && opt->measure; i++, not_counted += spent)
        if ((st = opt->measure(opt->self, dir_of(&r, i), &out[i].ce_recovered, &spent, err))) goto done;
    for (int i = 0; i < r.n && !st; i++) {
        out[i].seconds = sd_now() - t0 - not_counted;
        out[i].measure_seconds = out[i].seconds - out[i].train_seconds - out[i].finish_seconds;
        out[i].source_seconds = r.loop.seconds;
        out[i].tok_s = (double)(out[i].n_tokens - before) / out[i].seconds;
        st = write_last_event(&r, i, &out[i], err);
    }
done:
    for (int i = 0; i < r.n; i++) {
        sd_events_close(&r.events[i]);
        sd_learn__free(&r.trainer[i]);
    }
    sd_buf_release(&r.line);
    for (int k = 0; k < r.n_part; k++) {
        sd_shuffle_free(r.part[k].shuffle);
        sd_free(r.part[k].heldout.data);
        sd_free(r.part[k].batch.data);
    }
    sd_learn__parts_free(r.parts);
    return st;
}

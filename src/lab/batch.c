/* Owns: lanes and who sits in them. One loop: each step holds one row of every lane that is answering and, in the room that is left, the
 * prompts of lanes that are free. */
#include "lab/batch.h"

#include "model/sample.h"

#include <inttypes.h>

enum { DEFAULT_LANES = 32, DEFAULT_ROWS = 512, MAX_EDITS = 4 };

typedef struct lane {
    sd_batch *b;
    sd_session *s;
    int64_t prompt;  /* -1: free */
    int64_t n_ids, done; /* of its prompt; positions that have been run */
    int32_t *out;    /* [n_gen] */
    int64_t n_out;
    int watch;       /* id of the hook that shows rows, -1 */
    int edit[MAX_EDITS], n_edit;
} lane;

struct sd_batch {
    const sd_model *m;
    const sd_rendered *r;
    sd_runner *runner;
    lane *lane;  /* [n_lanes + 1]; the last one holds the shared prefix */
    int64_t n_lanes, n_gen, max_rows, rows;
    sd_segment *seg; /* [n_lanes] */
    int64_t *of;     /* [n_lanes] lane of a segment */
    bool prefix_is_run;
    const sd_batch_want *want; /* of the run that is on */
};

static lane *prefix_of(sd_batch *b)
{
    return &b->lane[b->n_lanes];
}

sd_status sd_batch_open(sd_batch **out, const sd_exec *ex, const sd_model *m, const sd_rendered *r, const sd_batch_opt *opt, sd_err *err)
{
    sd_batch *b = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&b, sizeof *b, "a batch", err);
    if (st) return st;
    b->m = m;
    b->r = r;
    b->n_gen = opt->n_gen;
    b->n_lanes = opt->n_lanes ? opt->n_lanes : DEFAULT_LANES;
    if (b->n_lanes > r->n) b->n_lanes = r->n;
    if (b->n_lanes < 1) b->n_lanes = 1;
    int64_t n_ctx = r->longest + b->n_gen;
    if (n_ctx > m->max_ctx) {
        st = sd_fail(err, SD_E_ARG, "prompts of up to %" PRId64 " tokens and answers of %" PRId64 " do not fit in the context of %" PRId64, r->longest,
                     b->n_gen, m->max_ctx);
        goto done;
    }
    b->max_rows = opt->max_rows ? opt->max_rows : DEFAULT_ROWS;
    if (b->max_rows < r->longest) b->max_rows = r->longest;
    if (b->max_rows < b->n_lanes) b->max_rows = b->n_lanes;
    if ((st = sd_alloc_zero(&b->lane, (size_t)(b->n_lanes + 1) * sizeof *b->lane, "lanes", err))) goto done;
    if ((st = sd_alloc(&b->seg, (size_t)b->n_lanes * sizeof *b->seg, "lanes", err))) goto done;
    if ((st = sd_alloc(&b->of, (size_t)b->n_lanes * sizeof *b->of, "lanes", err))) goto done;
    for (int64_t i = 0; i <= b->n_lanes; i++) {
        lane *l = &b->lane[i];
        *l = (lane){.b = b, .prompt = -1, .watch = -1};
        int64_t room = i < b->n_lanes ? n_ctx : r->n_prefix > 0 ? r->n_prefix : 1;
        if ((st = sd_session_new(&l->s, m, &(sd_session_opt){.n_ctx = room}, err))) goto done;
        if (b->n_gen && i < b->n_lanes && (st = sd_alloc(&l->out, (size_t)b->n_gen * sizeof *l->out, "an answer", err))) goto done;
    }
    if ((st = sd_runner_new(&b->runner, ex, m, &(sd_runner_opt){.max_rows = b->max_rows, .max_logit_rows = b->n_lanes, .n_ctx = n_ctx}, err))) goto done;
    *out = b;
    b = NULL;
done:
    sd_batch_close(b);
    return st;
}

void sd_batch_close(sd_batch *b)
{
    if (!b) return;
    for (int64_t i = 0; b->lane && i <= b->n_lanes; i++) {
        sd_session_free(b->lane[i].s);
        sd_free(b->lane[i].out);
    }
    sd_runner_free(b->runner);
    sd_free(b->lane);
    sd_free(b->seg);
    sd_free(b->of);
    sd_free(b);
}

int64_t sd_batch_rows(const sd_batch *b)
{
    return b->rows;
}

sd_status sd_batch_edit(sd_batch *b, const sd_hook *edit, int n, sd_err *err)
{
    sd_status st = SD_OK;
    SD_ASSERT(n <= MAX_EDITS);
    b->prefix_is_run = false;
    for (int64_t i = 0; i <= b->n_lanes && !st; i++) {
        lane *l = &b->lane[i];
        for (int k = 0; k < l->n_edit; k++) sd_session_detach(l->s, l->edit[k]);
        l->n_edit = 0;
        for (int k = 0; k < n && !st; k++) {
            st = sd_session_attach(l->s, &edit[k], &l->edit[k], err);
            if (!st) l->n_edit = k + 1;
        }
    }
    return st;
}

/* Shows the rows of the prompt's tail; answered positions lie behind the prompt and are passed over. */
static sd_status show(void *self, sd_act *act, sd_err *err)
{
    lane *l = self;
    const sd_batch_want *w = l->b->want;
    int64_t first = l->n_ids - w->n_tail, end = act->pos0 + act->x.rows < l->n_ids ? act->pos0 + act->x.rows : l->n_ids;
    if (first < act->pos0) first = act->pos0;
    if (first >= end) return SD_OK;
    sd_act part = *act;
    part.x = sd_mat_rows(act->x, first - act->pos0, end - first);
    part.tok = act->tok + (first - act->pos0);
    part.pos0 = first;
    return w->on_rows(w->self, l->prompt, &part, l->n_ids - first, err);
}

static sd_status watch(sd_batch *b, sd_err *err)
{
    const sd_batch_want *w = b->want;
    sd_status st = SD_OK;
    for (int64_t i = 0; w->on_rows && i < b->n_lanes && !st; i++)
        st = sd_session_attach(b->lane[i].s, &(sd_hook){.name = "batch", .at = w->site, .n_at = w->n_site, .mode = SD_HOOK_READ, .fn = show, .self = &b->lane[i]},
                               &b->lane[i].watch, err);
    return st;
}

static void unwatch(sd_batch *b)
{
    for (int64_t i = 0; i < b->n_lanes; i++) {
        if (b->lane[i].watch >= 0) sd_session_detach(b->lane[i].s, b->lane[i].watch);
        b->lane[i].watch = -1;
        b->lane[i].prompt = -1;
    }
    b->want = NULL;
}

/* How many shared tokens a prompt may skip: all, but for those that on_rows wants to see. */
static int64_t shared(const sd_batch *b, int64_t length)
{
    int64_t own = b->want->on_rows && b->want->n_tail > 1 ? b->want->n_tail : 1;
    return length - own < b->r->n_prefix ? (length > own ? length - own : 0) : b->r->n_prefix;
}

static sd_status run_prefix(sd_batch *b, int last, sd_err *err)
{
    lane *p = prefix_of(b);
    sd_status st = SD_OK;
    int64_t n, want = b->r->n_prefix;
    const int32_t *ids = sd_rendered_ids(b->r, 0, &n);
    if (b->prefix_is_run && last < 0) return SD_OK;
    sd_session_rewind(p->s, 0);
    for (int64_t at = 0; at < want && !st; at += b->max_rows) {
        sd_segment seg = {.s = p->s, .tok = ids + at, .n = want - at < b->max_rows ? want - at : b->max_rows, .want = SD_LOGITS_NONE};
        st = sd_runner_step(b->runner, &seg, 1, last, err);
        b->rows += seg.n;
    }
    b->prefix_is_run = !st && last < 0;
    return st;
}

/* Segments of a step: answering lanes first, then free lanes with the prompts [*next, n) while there is room. */
static sd_status seat(sd_batch *b, int *n_seg, int64_t *next, int64_t n, sd_err *err)
{
    int64_t room = b->max_rows, length;
    int k = 0;
    for (int64_t i = 0; i < b->n_lanes; i++) {
        lane *l = &b->lane[i];
        if (l->prompt < 0) continue;
        b->of[k] = i;
        b->seg[k++] = (sd_segment){.s = l->s, .tok = &l->out[l->n_out - 1], .n = 1, .want = SD_LOGITS_LAST};
        room--;
    }
    for (int64_t i = 0; i < b->n_lanes && *next < n; i++) {
        lane *l = &b->lane[i];
        if (l->prompt >= 0) continue;
        int64_t prompt = b->want->which ? b->want->which[*next] : *next;
        const int32_t *ids = sd_rendered_ids(b->r, prompt, &length);
        int64_t skip = shared(b, length);
        if (length - skip > room) break;
        sd_status st = sd_session_copy_prefix(l->s, prefix_of(b)->s, skip, err);
        if (st) return st;
        room -= length - skip;
        l->prompt = prompt;
        l->n_ids = length;
        l->n_out = 0;
        b->of[k] = i;
        b->seg[k++] = (sd_segment){.s = l->s, .tok = ids + skip, .n = length - skip, .want = b->want->last_layer > 0 ? SD_LOGITS_NONE : SD_LOGITS_LAST};
        (*next)++;
    }
    *n_seg = k;
    return SD_OK;
}

/* What a lane does with its row of logits; it is free again when its prompt is done. */
static sd_status take(sd_batch *b, lane *l, sd_mat logits, sd_err *err)
{
    const sd_batch_want *w = b->want;
    sd_status st = SD_OK;
    bool first = l->n_out == 0, end = w->n_gen == 0 || w->last_layer > 0, ended = false;
    if (first && w->on_first && w->last_layer <= 0) st = w->on_first(w->self, l->prompt, logits.data, err);
    if (!end && !st) {
        int64_t id = sd_argmax(logits.data, logits.cols);
        if (id < 0) return sd_fail(err, SD_E_FAIL, "the logits of prompt %" PRId64 " are not finite", l->prompt + 1);
        ended = sd_tok_ends(b->m->tok, (int32_t)id);
        if (!ended) l->out[l->n_out++] = (int32_t)id;
        end = ended || l->n_out >= w->n_gen;
    }
    if (!end || st) return st;
    if (w->on_answer) st = w->on_answer(w->self, l->prompt, l->out, l->n_out, ended, err);
    l->prompt = -1;
    return st;
}

sd_status sd_batch_run(sd_batch *b, const sd_batch_want *want, sd_err *err)
{
    int64_t next = 0, n = want->which ? want->n : b->r->n, ended = 0;
    int last = want->last_layer > 0 ? want->last_layer : -1, n_seg = 0;
    SD_ASSERT(want->n_gen <= b->n_gen);
    b->want = want;
    sd_status st = watch(b, err);
    if (!st) st = run_prefix(b, last, err);
    while (!st) {
        if ((st = seat(b, &n_seg, &next, n, err)) || n_seg == 0) break;
        if ((st = sd_runner_step(b->runner, b->seg, n_seg, last, err))) break;
        for (int i = 0; i < n_seg && !st; i++) {
            lane *l = &b->lane[b->of[i]];
            b->rows += b->seg[i].n;
            st = take(b, l, b->seg[i].logits, err);
            ended += l->prompt < 0;
        }
        if (want->what) sd_progress_update(want->progress, want->what, (double)ended, (double)n, "prompts");
        if (!st && sd_progress_cancelled(want->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " prompts", ended, n);
    }
    unwatch(b);
    return st;
}

/* Owns: the list of contexts and the sessions they run in. Leaves to the shuffle buffer: mixing and the sink filter.
 * Easy to break: seek() needs the row of each context before the model has run, so which rows are kept may depend on
 * token ids only. */
#include "lab/harvest.h"
#include "num/ops.h"
#include "num/stats.h"

#include <inttypes.h>

enum { DEFAULT_CTX = 256, DEFAULT_BATCH = 8, MIN_CONTEXT = 8 };
/* Tokens at which a step is full: what a block of SmolLM2 writes for them stays in the cache until it is read, and reading its weights again for the
 * next ones costs little. On Zen 4 beside other work 512 take 4 % less CPU time than 2,048. */
enum { STEP_TOKENS = 576 };

typedef struct context { int64_t tok0, row0, step; int32_t n, doc, pos0; } context; /* step: the first context of its step */

struct sd_harvest {
    const sd_exec *ex;
    const sd_model *m;
    sd_harvest_opt opt;
    int last_layer, n_site;
    sd_site at[SD_HARVEST_SITES];
    int64_t cols[SD_HARVEST_SITES], width; /* of each site; together */
    sd_ids ids;
    context *ctx;
    int64_t n_ctx_list, cap_ctx, n_rows, n_docs;
    int64_t next_ctx, skip_rows; /* the next step starts here; rows of it already handed out */
    int64_t row;
    sd_session **session;
    sd_segment *seg;
    struct sink *sink;
    sd_runner *runner;
    float *x;
    int32_t *token_id, *doc, *pos;
    int64_t n_block;
};

/* One session's hook at one site: copies its kept rows to their place in the block. */
struct sink { sd_harvest *h; const context *c; int64_t at, col; };

static bool left_out(const sd_harvest *h, int32_t tok) { return !h->opt.keep_special && sd_tok_is_special(h->m->tok, tok); }

static sd_status not_finite(const sd_act *act, const struct sink *s, int64_t i, sd_err *err)
{
    char name[48];
    (void)sd_fail(err, SD_E_FORMAT, "the activations are not finite: NaN or infinity at %s, document %d, position %" PRId64 ", token %d", sd_site_print(name, sizeof name, act->site), (int)s->c->doc,
                  s->c->pos0 + act->pos0 + i, (int)act->tok[i]);
    return sd_hint(err, "the weights may hold NaN, or numbers too large for this mode");
}

static sd_status take_rows(void *self, sd_act *act, sd_err *err)
{
    struct sink *s = self;
    sd_harvest *h = s->h;
    int64_t at = s->at;
    for (int64_t i = 0; i < act->x.rows; i++) {
        if (left_out(h, act->tok[i])) continue;
        if (sd_count_nonfinite(sd_mat_row(act->x, i), act->x.cols)) return not_finite(act, s, i, err);
        memcpy(h->x + at * h->width + s->col, sd_mat_row(act->x, i), (size_t)act->x.cols * sizeof(float));
        h->token_id[at] = act->tok[i];
        h->doc[at] = s->c->doc;
        h->pos[at] = s->c->pos0 + (int32_t)(act->pos0 + i);
        at++;
    }
    return SD_OK;
}

static int64_t kept(const sd_harvest *h, const context *c)
{
    int64_t n = 0;
    for (int32_t i = 0; i < c->n; i++) n += !left_out(h, h->ids.v[c->tok0 + i]);
    return n;
}

static sd_status push_context(sd_harvest *h, context c, sd_err *err)
{
    if (h->n_ctx_list == h->cap_ctx) {
        int64_t cap = h->cap_ctx ? h->cap_ctx * 2 : 256;
        context *p = sd_realloc(h->ctx, (size_t)cap * sizeof *p);
        if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: list of %" PRId64 " contexts", cap);
        h->ctx = p;
        h->cap_ctx = cap;
    }
    c.row0 = h->n_rows;
    int64_t n = kept(h, &c);
    if (n == 0) return SD_OK;
    h->ctx[h->n_ctx_list++] = c;
    h->n_rows += n;
    return SD_OK;
}

static bool wants_more(const sd_harvest *h) { return !h->opt.max_rows || h->n_rows < h->opt.max_rows; }

/* Each context begins with BOS where the tokenizer adds one. */
static sd_status cut_document(sd_harvest *h, const sd_ids *doc, int32_t doc_no, sd_err *err)
{
    sd_status st = SD_OK;
    int32_t bos = sd_tok_add_bos(h->m->tok) ? 1 : 0;
    for (int64_t p = 0; p < doc->n && wants_more(h) && !st;) {
        int64_t n = doc->n - p < h->opt.n_ctx - bos ? doc->n - p : h->opt.n_ctx - bos, t0 = h->ids.n;
        if (n < MIN_CONTEXT) break;
        if (bos) st = sd_ids_push(&h->ids, sd_tok_bos(h->m->tok), err);
        if (!st) st = sd_ids_add(&h->ids, doc->v + p, n, err);
        if (!st)
            st = push_context(h, (context){.tok0 = t0, .n = (int32_t)n + bos, .doc = doc_no, .pos0 = (int32_t)p - bos}, err);
        p += n;
    }
    return st;
}

/* Documents in the order of the seed until max_rows rows are there. A tail shorter than MIN_CONTEXT tokens is left out:
 * its rows would mostly be sinks. */
static sd_status plan_contexts(sd_harvest *h, const sd_corpus *c, sd_err *err)
{
    sd_status st = SD_OK;
    int64_t n_doc = sd_corpus_count(c), *order = NULL;
    sd_ids doc = {0};
    st = sd_alloc(&order, (size_t)n_doc * sizeof *order, "order of documents", err);
    if (st) return st;
    for (int64_t i = 0; i < n_doc; i++) order[i] = i;
    sd_rng rng = sd_rng_make(h->opt.seed, "documents", 0);
    sd_rng_shuffle_i64(&rng, order, n_doc);
    for (int64_t i = 0; i < n_doc && wants_more(h); i++) {
        int64_t before = h->n_ctx_list;
        doc.n = 0;
        st = sd_tok_encode(h->m->tok, sd_corpus_text(c, order[i]), &(sd_encode_opt){.no_special = true}, &doc, err);
        if (!st) st = cut_document(h, &doc, (int32_t)order[i], err);
        if (st) goto done;
        h->n_docs += h->n_ctx_list > before;
    }
    if (h->n_rows == 0) {
        sd_fail(err, SD_E_FORMAT, "the corpus has no document of at least %d tokens", MIN_CONTEXT);
        st = sd_hint(err, "give more text");
    }
done:
    sd_ids_release(&doc);
    sd_free(order);
    return st;
}

/* Cuts the contexts in steps; the tokens of the largest. */
static int64_t plan_steps(sd_harvest *h)
{
    int64_t step = 0, n = 0, most = 0;
    for (int64_t i = 0; i < h->n_ctx_list; i++) {
        if (i - step == h->opt.batch || n + h->ctx[i].n > STEP_TOKENS) step = i, n = 0;
        h->ctx[i].step = step;
        n += h->ctx[i].n;
        if (n > most) most = n;
    }
    return most;
}

static sd_status make_sessions(sd_harvest *h, sd_err *err)
{
    const int64_t b = h->opt.batch, rows = plan_steps(h);
    sd_status st;
    if ((st = sd_alloc_zero(&h->session, (size_t)b * sizeof *h->session, "sessions", err))) return st;
    if ((st = sd_alloc_zero(&h->seg, (size_t)b * sizeof *h->seg, "segments", err))) return st;
    if ((st = sd_alloc_zero(&h->sink, (size_t)(b * h->n_site) * sizeof *h->sink, "sinks", err))) return st;
    for (int64_t i = 0; i < b; i++) {
        st = sd_session_new(&h->session[i], h->m, &(sd_session_opt){.n_ctx = h->opt.n_ctx}, err);
        if (st) return st;
        for (int64_t k = 0, col = 0; k < h->n_site; col += h->cols[k++]) {
            struct sink *s = &h->sink[i * h->n_site + k];
            *s = (struct sink){.h = h, .col = col};
            st = sd_session_attach(h->session[i], &(sd_hook){.name = "harvest", .at = &h->at[k], .n_at = 1, .mode = SD_HOOK_READ,
                                                             .fn = take_rows, .self = s}, NULL, err);
            if (st) return st;
        }
    }
    st = sd_runner_new(&h->runner, h->ex, h->m, &(sd_runner_opt){.max_rows = rows, .max_logit_rows = 1, .n_ctx = h->opt.n_ctx}, err);
    if (st) return st;
    if ((st = sd_alloc(&h->x, (size_t)(rows * h->width) * sizeof(float), "a block of activations", err))) return st;
    if ((st = sd_alloc(&h->token_id, (size_t)rows * 4, "token ids", err))) return st;
    if ((st = sd_alloc(&h->doc, (size_t)rows * 4, "document numbers", err))) return st;
    return sd_alloc(&h->pos, (size_t)rows * 4, "positions", err);
}

static sd_status add_site(sd_harvest *h, const sd_model *m, sd_site site, sd_err *err)
{
    int64_t cols = 0;
    SD_ASSERT(h->n_site < SD_HARVEST_SITES);
    const sd_status st = sd_model_site_cols(m, site, &cols, err);
    if (st) return st;
    if (cols == 0 || site.kind == SD_SITE_LOGITS || site.kind == SD_SITE_FINAL_NORM) {
        sd_fail(err, SD_E_ARG, "a capture holds rows of one width from inside the blocks, not at %s", sd_site_print((char[64]){0}, 64, site));
        return sd_hint(err, "resid_post.L, mlp_out.L, attn_z.L and the like will do; `sonde trace` records the others");
    }
    if (sd_site_is_layered(site.kind) && site.layer > h->last_layer) h->last_layer = site.layer;
    h->at[h->n_site] = site;
    h->cols[h->n_site++] = cols;
    h->width += cols;
    return SD_OK;
}

sd_status sd_harvest_open(sd_harvest **out, const sd_exec *ex, const sd_model *m, const sd_corpus *c,
                          const sd_harvest_opt *opt, sd_err *err)
{
    sd_status st;
    sd_harvest *h = NULL;
    *out = NULL;
    if ((st = sd_alloc_zero(&h, sizeof *h, "harvest", err))) return st;
    if ((st = add_site(h, m, opt->site, err))) goto done;
    for (int i = 0; i < opt->n_also; i++)
        if ((st = add_site(h, m, opt->also[i], err))) goto done;
    h->ex = ex;
    h->m = m;
    h->opt = *opt;
    if (!h->opt.n_ctx) h->opt.n_ctx = m->cfg.n_ctx < DEFAULT_CTX ? m->cfg.n_ctx : DEFAULT_CTX;
    if (!h->opt.batch) h->opt.batch = DEFAULT_BATCH;
    if ((st = plan_contexts(h, c, err))) goto done;
    if ((st = make_sessions(h, err))) goto done;
    *out = h;
    h = NULL;
done:
    sd_harvest_close(h);
    return st;
}

void sd_harvest_close(sd_harvest *h)
{
    if (!h) return;
    for (int64_t i = 0; h->session && i < h->opt.batch; i++) sd_session_free(h->session[i]);
    sd_runner_free(h->runner);
    sd_ids_release(&h->ids);
    sd_free(h->ctx);
    sd_free(h->session);
    sd_free(h->seg);
    sd_free(h->sink);
    sd_free(h->x);
    sd_free(h->token_id);
    sd_free(h->doc);
    sd_free(h->pos);
    sd_free(h);
}

static sd_status next_block(void *self, sd_act_block *out, sd_err *err)
{
    sd_harvest *h = self;
    int64_t n = 0, n_seg = 0;
    *out = (sd_act_block){0};
    sd_status st = SD_OK;
    if (h->next_ctx >= h->n_ctx_list) return SD_OK;
    for (; h->next_ctx + n_seg < h->n_ctx_list; n_seg++) {
        const context *c = &h->ctx[h->next_ctx + n_seg];
        if (c->step != h->next_ctx) break;
        sd_session_rewind(h->session[n_seg], 0);
        h->seg[n_seg] = (sd_segment){.s = h->session[n_seg], .tok = h->ids.v + c->tok0, .n = c->n};
        for (int k = 0; k < h->n_site; k++) {
            h->sink[n_seg * h->n_site + k].c = c;
            h->sink[n_seg * h->n_site + k].at = c->row0 - h->ctx[h->next_ctx].row0;
        }
        n = c->row0 + kept(h, c) - h->ctx[h->next_ctx].row0;
    }
    if ((st = sd_runner_step(h->runner, h->seg, (int)n_seg, h->last_layer, err))) return st;
    h->next_ctx += n_seg;
    int64_t skip = h->skip_rows;
    h->skip_rows = 0;
    h->row += n - skip;
    *out = (sd_act_block){.x = sd_mat_of(h->x + skip * h->width, n - skip, h->width), .token_id = h->token_id + skip,
                          .doc = h->doc + skip, .pos = h->pos + skip};
    return SD_OK;
}

static int64_t tell(void *self) { return ((sd_harvest *)self)->row; }

/* A step always starts at the first of its contexts, so that a row comes out of the same step after a seek. */
static sd_status seek(void *self, int64_t row, sd_err *err)
{
    sd_harvest *h = self;
    if (row < 0 || row > h->n_rows) return sd_fail(err, SD_E_ARG, "row %" PRId64 " of %" PRId64, row, h->n_rows);
    int64_t lo = 0, hi = h->n_ctx_list;
    while (lo < hi) { /* first context that starts after row */
        int64_t mid = lo + (hi - lo) / 2;
        if (h->ctx[mid].row0 <= row) lo = mid + 1; else hi = mid;
    }
    int64_t c = row == h->n_rows ? h->n_ctx_list : lo - 1;
    if (c < h->n_ctx_list) c = h->ctx[c].step;
    h->next_ctx = c;
    h->skip_rows = c < h->n_ctx_list ? row - h->ctx[c].row0 : 0;
    h->row = row;
    return SD_OK;
}

sd_act_source sd_harvest_source(sd_harvest *h)
{
    return (sd_act_source){.self = h, .d = h->width, .next = next_block, .tell = tell, .seek = seek};
}

int64_t sd_harvest_rows(const sd_harvest *h) { return h->n_rows; }
int64_t sd_harvest_docs(const sd_harvest *h) { return h->n_docs; }
int64_t sd_harvest_tokens(const sd_harvest *h)
{
    int64_t n = 0;
    for (int64_t i = 0; i < h->n_ctx_list; i++) n += h->ctx[i].n;
    return n;
}
int64_t sd_harvest_contexts(const sd_harvest *h) { return h->n_ctx_list; }
sd_site sd_harvest_site(const sd_harvest *h) { return h->opt.site; }
const int32_t *sd_harvest_context(const sd_harvest *h, int64_t i, int64_t *n)
{
    SD_ASSERT(i >= 0 && i < h->n_ctx_list);
    *n = h->ctx[i].n;
    return h->ids.v + h->ctx[i].tok0;
}

int64_t sd_harvest_context_row(const sd_harvest *h, int64_t i)
{
    SD_ASSERT(i >= 0 && i < h->n_ctx_list);
    return h->ctx[i].row0;
}

sd_status sd_harvest_block(sd_act_block *out, double *limit, const sd_act_source *src, sd_err *err)
{
    sd_status st = src->next(src->self, out, err);
    if (st || out->x.rows == 0 || *limit > 0) return st;
    st = sd_median_norm(limit, out->x, err);
    *limit *= SD_SINK_FACTOR;
    return st;
}

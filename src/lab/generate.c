/* Owns: the loop of a generation over one or two lanes. Both lanes are segments of the same steps, so the weights are read once. */
#include "lab/generate.h"

#include "text/chat_ids.h"

#include <inttypes.h>

enum { DEFAULT_GEN = 64, PREFILL_ROWS = 512 };

typedef struct gen {
    const sd_model *m;
    const sd_generate_opt *opt;
    sd_generate_result *out;
    sd_session *session[2];
    sd_runner *runner;
    float *scratch; /* [V] for the sampler */
    int n_lane, lane[2];
} gen;

void sd_generate_release(sd_generate_result *r)
{
    for (int l = 0; l < 2; l++) sd_ids_release(&r->lane[l].ids);
}

static sd_status open_lanes(gen *g, const sd_exec *ex, int64_t n, int64_t n_gen, sd_err *err)
{
    sd_status st = SD_OK;
    bool plain = g->opt->n_steer == 0 || g->opt->compare;
    if (plain) g->lane[g->n_lane++] = 0;
    if (g->opt->n_steer) g->lane[g->n_lane++] = 1;
    for (int i = 0; i < g->n_lane && !st; i++) {
        int l = g->lane[i];
        g->out->lane[l].ran = true;
        st = sd_session_new(&g->session[l], g->m, &(sd_session_opt){.n_ctx = n + n_gen}, err);
    }
    for (int i = 0; i < g->opt->n_steer && !st; i++) st = sd_steer_attach(g->opt->steer[i], g->session[1], n, err);
    if (!st) st = sd_alloc(&g->scratch, (size_t)g->m->cfg.n_vocab * sizeof(float), "the sampler", err);
    if (!st)
        st = sd_runner_new(&g->runner, ex, g->m, &(sd_runner_opt){.max_rows = PREFILL_ROWS, .max_logit_rows = 2, .n_ctx = n + n_gen}, err);
    return st;
}

/* A token after the row of logits at position pos - 1; the lane ends where the model's texts end. */
static sd_status take(gen *g, int l, sd_mat logits, int64_t pos, int64_t n_gen, sd_err *err)
{
    sd_lane *lane = &g->out->lane[l];
    sd_rng rng = sd_rng_make(g->opt->seed, "sample", (uint64_t)pos);
    int32_t id = sd_sample(g->m->ex, &g->opt->sample, sd_mat_row(logits, 0), logits.cols, &rng, g->scratch);
    if (id < 0) {
        sd_fail(err, SD_E_FAIL, "the logits at position %" PRId64 " are not finite%s", pos - 1, l ? " under the steer" : "");
        return sd_hint(err, l ? "take a smaller value for the steer" : "the weights may hold NaN, or numbers too large for this --mode");
    }
    if (sd_tok_ends(g->m->tok, id)) {
        lane->stopped = true;
        return SD_OK;
    }
    sd_status st = sd_ids_push(&lane->ids, id, err);
    if (!st && g->opt->on_token) g->opt->on_token(g->opt->self, l, id);
    if (lane->ids.n >= n_gen) lane->full = true;
    return st;
}

static bool runs(const gen *g, int l) { return g->session[l] && !g->out->lane[l].stopped && !g->out->lane[l].full; }

static sd_status prefill(gen *g, const int32_t *prompt, int64_t n, int64_t n_gen, sd_err *err)
{
    sd_segment seg[2];
    int64_t part = PREFILL_ROWS / g->n_lane;
    for (int64_t i = 0; i < n; i += part) {
        int64_t rows = n - i < part ? n - i : part;
        for (int k = 0; k < g->n_lane; k++)
            seg[k] = (sd_segment){.s = g->session[g->lane[k]], .tok = prompt + i, .n = rows, .want = i + rows == n ? SD_LOGITS_LAST : SD_LOGITS_NONE};
        sd_status st = sd_runner_step(g->runner, seg, g->n_lane, -1, err);
        if (st) return st;
        if (sd_progress_cancelled(g->opt->progress)) return sd_fail(err, SD_E_CANCELLED, "stopped in the prompt, after %" PRId64 " tokens", i + rows);
    }
    for (int k = 0; k < g->n_lane; k++) {
        sd_status st = take(g, g->lane[k], seg[k].logits, n, n_gen, err);
        if (st) return st;
    }
    return SD_OK;
}

static sd_status decode(gen *g, int64_t n, int64_t n_gen, sd_err *err)
{
    for (int64_t pos = n; runs(g, 0) || runs(g, 1); pos++) {
        sd_segment seg[2];
        int which[2], k = 0;
        for (int l = 0; l < 2; l++) {
            if (!runs(g, l)) continue;
            const sd_ids *ids = &g->out->lane[l].ids;
            which[k] = l;
            seg[k++] = (sd_segment){.s = g->session[l], .tok = ids->v + ids->n - 1, .n = 1, .want = SD_LOGITS_LAST};
        }
        sd_status st = sd_runner_step(g->runner, seg, k, -1, err);
        for (int i = 0; i < k && !st; i++) st = take(g, which[i], seg[i].logits, pos + 1, n_gen, err);
        if (st) return st;
        g->out->n_decoded += k;
        sd_progress_update(g->opt->progress, "generate", (double)(pos - n + 2), (double)n_gen, "tokens");
        if (sd_progress_cancelled(g->opt->progress)) return sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " tokens", pos - n + 2);
    }
    return SD_OK;
}

sd_status sd_lab_generate(sd_generate_result *out, const sd_exec *ex, const sd_model *m, const int32_t *prompt, int64_t n,
                          const sd_generate_opt *opt, sd_err *err)
{
    gen g = {.m = m, .opt = opt, .out = out};
    int64_t n_gen = opt->n_gen ? opt->n_gen : DEFAULT_GEN;
    *out = (sd_generate_result){.n_prompt = n};
    if (n < 1) return sd_fail(err, SD_E_ARG, "the prompt has no tokens");
    if (n + 1 > m->cfg.n_ctx) {
        sd_fail(err, SD_E_ARG, "the prompt has %" PRId64 " tokens, the model's context is %" PRId64, n, m->cfg.n_ctx);
        return sd_hint(err, "shorten the prompt");
    }
    if (n + n_gen > m->cfg.n_ctx) n_gen = m->cfg.n_ctx - n;
    sd_status st = sd_sample_check(&opt->sample, err);
    if (!st) st = open_lanes(&g, ex, n, n_gen, err);
    double t0 = sd_now();
    if (!st) st = prefill(&g, prompt, n, n_gen, err);
    double t1 = sd_now();
    if (!st) st = decode(&g, n, n_gen, err);
    out->prefill_s = out->first_token_s = t1 - t0;
    out->decode_s = sd_now() - t1;
    sd_runner_free(g.runner);
    sd_session_free(g.session[0]);
    sd_session_free(g.session[1]);
    sd_free(g.scratch);
    if (st) sd_generate_release(out);
    return st;
}

/* One message in front of the list's end; takes nothing over. */
static bool add_message(json_t *list, const char *role, sd_slice text)
{
    json_t *content = json_stringn(text.p, text.n); /* NULL: not UTF-8, or no memory */
    return content && !json_array_append_new(list, json_pack("{s:s, s:o}", "role", role, "content", content));
}

sd_status sd_lab_prompt_ids(sd_ids *out, const sd_model *m, sd_slice text, sd_slice system, sd_prompt_as as, sd_err *err)
{
    if (as == SD_PROMPT_TEXT) return sd_tok_encode(m->tok, text, &(sd_encode_opt){0}, out, err);
    if (!m->chat) {
        sd_fail(err, SD_E_UNSUPPORTED, "%s has no chat template that can be rendered: %s", m->path, m->no_chat);
        return sd_hint(err, "leave --chat out");
    }
    json_t *messages = json_array();
    sd_status st = messages ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
    if (st) return st;
    if ((system.n && !add_message(messages, "system", system)) || !add_message(messages, "user", text)) st = sd_fail(err, SD_E_FORMAT, "the prompt is not UTF-8");
    const sd_chat_ids_opt how = {.parse_special = as == SD_PROMPT_CHAT_PARSED};
    if (!st) st = sd_chat_ids(m->chat, m->tok, &(sd_chat_input){.messages = messages, .add_generation_prompt = true}, &how, out, err);
    json_decref(messages);
    return st;
}

/* A model's configuration as a GGUF's metadata, and the proof that it is: what was written is read back and must be
 * what the model computes, so a variant that GGUF has no key for is refused here and not found out later. */
#include "model/gguf_save.h"

#include "base/log.h"

#include <math.h>
#include <stdio.h>

const sd_arch *sd_gguf__arch(const sd_model *m)
{
    return m->arch->gguf ? m->arch : sd_arch_find(SD_CONTAINER_GGUF, SD_LIT("llama"));
}

typedef struct writer {
    sd_gguf_meta *out;
    const char *arch;
    char key[96];
} writer;

static const char *key_of(writer *w, const char *key)
{
    snprintf(w->key, sizeof w->key, "%s.%s", w->arch, key);
    return w->key;
}

static void put_int(writer *w, const char *key, int64_t v)
{
    sd_gguf_put_u32(w->out, key_of(w, key), (uint32_t)v);
}

static void put_float(writer *w, const char *key, double v)
{
    sd_gguf_put_f32(w->out, key_of(w, key), (float)v);
}

/* A window on every layer, or on all but every period-th, needs no list. */
static void put_windows(writer *w, const sd_model *m)
{
    const sd_arch *to = sd_gguf__arch(m);
    const int period = to->window_rule == SD_WINDOW_PERIOD ? to->window_period : 0;
    bool flags[SD_MAX_LAYERS], usual = true;
    if (m->cfg.n_windowed == 0) {
        if (to->def.window) put_int(w, "attention.sliding_window", 0);
        return;
    }
    put_int(w, "attention.sliding_window", m->cfg.window);
    for (int l = 0; l < m->cfg.n_layer; l++) {
        flags[l] = m->block[l].window > 0;
        usual = usual && flags[l] == (period == 0 || (l + 1) % period != 0);
    }
    if (!usual) sd_gguf_put_bools(w->out, key_of(w, "attention.sliding_window_pattern"), flags, m->cfg.n_layer);
    if ((to->window_rule == SD_WINDOW_NONE || to->window_rule == SD_WINDOW_FROM) && m->cfg.window < m->cfg.n_ctx)
        sd_log(SD_LOG_WARN, "%s: llama.cpp does not know the window of this architecture; beyond %lld positions it computes something else",
               m->path, (long long)m->cfg.window);
}

/* Divisors of the frequencies where a rule has no key: llama.cpp's rope_freqs. */
static sd_status divisors_of(sd_gguf_divisors *d, const sd_rope_spec *s, int64_t n_ctx, sd_err *err)
{
    sd_rope turned = {0}, plain = {0};
    sd_status st = sd_rope_make(&turned, s, n_ctx, err);
    if (!st) st = sd_rope_init(&plain, s->n_rot, (double)(float)s->theta, err);
    d->name = "rope_freqs.weight";
    d->n = s->n_rot / 2;
    for (int i = 0; i < d->n && !st; i++) d->v[i] = plain.inv_freq[i] / turned.inv_freq[i];
    sd_rope_release(&turned);
    sd_rope_release(&plain);
    return st;
}

static sd_status take_divisors(sd_gguf_divisors div[2], const sd_model *m, sd_err *err)
{
    const sd_rope_spec *s = &m->rope[0];
    if (m->wire.n_rope == 0) return SD_OK;
    if (s->type == SD_ROPE_LLAMA3 || s->type == SD_ROPE_FACTORS) return divisors_of(&div[0], s, m->cfg.n_ctx, err);
    if (s->type != SD_ROPE_LONGROPE) return SD_OK;
    div[0].name = "rope_factors_long.weight";
    div[1].name = "rope_factors_short.weight";
    div[0].n = div[1].n = s->n_rot / 2;
    memcpy(div[0].v, s->longer, sizeof s->longer);
    memcpy(div[1].v, s->shorter, sizeof s->shorter);
    return SD_OK;
}

static void put_rope(writer *w, const sd_model *m)
{
    const sd_rope_spec *s = &m->rope[0];
    if (m->wire.n_rope == 0) return;
    put_int(w, "rope.dimension_count", m->cfg.n_rot);
    put_float(w, "rope.freq_base", s->theta);
    if (m->wire.n_rope == 2) put_float(w, "rope.freq_base_swa", m->rope[1].theta);
    if (s->type == SD_ROPE_LINEAR || s->type == SD_ROPE_YARN) {
        sd_gguf_put_str(w->out, key_of(w, "rope.scaling.type"), s->type == SD_ROPE_YARN ? SD_LIT("yarn") : SD_LIT("linear"));
        put_float(w, "rope.scaling.factor", s->factor);
    }
    if (s->type == SD_ROPE_YARN || s->type == SD_ROPE_LONGROPE)
        put_int(w, "rope.scaling.original_context_length", (int64_t)s->original_ctx);
    if (s->type == SD_ROPE_YARN && (s->beta_fast != 32 || s->beta_slow != 1)) {
        put_float(w, "rope.scaling.yarn_beta_fast", s->beta_fast);
        put_float(w, "rope.scaling.yarn_beta_slow", s->beta_slow);
    }
    /* llama.cpp multiplies this by what it derives itself: 1 for longrope, the paper's factor for yarn. */
    sd_rope_spec plain = {.type = SD_ROPE_YARN, .factor = s->factor};
    const double derived = s->type == SD_ROPE_YARN ? sd_rope_factor(&plain) : 1.0, factor = sd_rope_factor(s);
    if (s->type == SD_ROPE_LONGROPE || factor != derived) put_float(w, "rope.scaling.attn_factor", factor / derived);
}

static sd_status from_config(sd_gguf_meta *out, const sd_model *m, sd_err *err)
{
    const sd_config *c = &m->cfg;
    const sd_arch *to = sd_gguf__arch(m);
    writer w = {.out = out, .arch = to->gguf};
    sd_gguf_put_str(out, "general.architecture", sd_slice_of(to->gguf));
    sd_gguf_put_str(out, "general.type", SD_LIT("model"));
    sd_gguf_put_str(out, "general.name", sd_slice_of(c->name));
    put_int(&w, "block_count", c->n_layer);
    put_int(&w, "context_length", c->n_ctx);
    put_int(&w, "embedding_length", c->d_model);
    put_int(&w, "feed_forward_length", c->d_ffn);
    put_int(&w, "attention.head_count", c->n_head);
    put_int(&w, "attention.head_count_kv", c->n_head_kv);
    put_int(&w, "attention.key_length", c->d_head);
    put_int(&w, "attention.value_length", c->d_head);
    put_int(&w, "vocab_size", c->n_vocab);
    put_float(&w, m->wire.norm == SD_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
              (double)c->norm_eps);
    if (m->wire.attn_cap > 0) put_float(&w, "attn_logit_softcapping", (double)m->wire.attn_cap);
    if (m->wire.logit_cap > 0) put_float(&w, "final_logit_softcapping", (double)m->wire.logit_cap);
    if (to->keys.parallel) sd_gguf_put_bool(out, key_of(&w, "use_parallel_residual"), c->parallel);
    put_rope(&w, m);
    put_windows(&w, m);
    return sd_gguf__tokenizer(out, m, err);
}

/* ---- reading back ---- */

static sd_status no_key(sd_err *err)
{
    return sd_hint(err, "a folder can: give an -o that does not end in .gguf");
}

static sd_status differs(const sd_model *m, const char *what, double is, double reads, sd_err *err)
{
    sd_fail(err, SD_E_UNSUPPORTED, "%s: %s is %g, which a GGUF of a %s model cannot say (it would be read as %g)", m->path,
            what, is, sd_gguf__arch(m)->gguf, reads);
    return no_key(err);
}

static sd_status compare_rope(const sd_model *m, const sd_blueprint *bp, int64_t n_ctx, sd_err *err)
{
    sd_status st = SD_OK;
    for (int k = 0; k < m->wire.n_rope && !st; k++) {
        sd_rope a = {0}, b = {0};
        st = sd_rope_make(&a, &m->rope[k], n_ctx, err);
        if (!st) st = sd_rope_make(&b, &bp->rope[k], n_ctx, err);
        /* 1e-6: quotients of f32 numbers, rounded three times on their way */
        for (int i = 0; i < a.half && !st; i++)
            if (!(fabsf(a.inv_freq[i] - b.inv_freq[i]) <= 1e-6f * a.inv_freq[i]))
                st = differs(m, "a frequency of the rotary embedding", (double)a.inv_freq[i], (double)b.inv_freq[i], err);
        if (!st && !(fabsf(a.scale - b.scale) <= 1e-6f * a.scale))
            st = differs(m, "the factor of the rotary embedding", (double)a.scale, (double)b.scale, err);
        sd_rope_release(&a);
        sd_rope_release(&b);
    }
    return st;
}

static sd_status compare(const sd_model *m, const sd_blueprint *bp, sd_err *err)
{
    const sd_config *a = &m->cfg, *b = &bp->cfg;
    const struct {
        const char *what;
        double a, b;
    } list[] = {{"the number of layers", a->n_layer, b->n_layer},
                {"the number of heads", a->n_head, b->n_head},
                {"the number of key-value heads", a->n_head_kv, b->n_head_kv},
                {"the width of a head", a->d_head, b->d_head},
                {"the width of the model", (double)a->d_model, (double)b->d_model},
                {"the width of the MLP", (double)a->d_ffn, (double)b->d_ffn},
                {"the context", (double)a->n_ctx, (double)b->n_ctx},
                {"the rotary part of a head", a->n_rot, b->n_rot},
                {"the norms' epsilon", (double)a->norm_eps, (double)b->norm_eps},
                {"the scale of attention scores", (double)a->attn_scale, (double)b->attn_scale},
                {"the scale of embeddings", (double)a->embed_scale, (double)b->embed_scale},
                {"the parallel residual", a->parallel, b->parallel},
                {"the window of attention", (double)a->window, (double)b->window},
                {"the number of the MLP's function", m->wire.act, bp->wire.act},
                {"the soft cap of scores", (double)m->wire.attn_cap, (double)bp->wire.attn_cap},
                {"the soft cap of logits", (double)m->wire.logit_cap, (double)bp->wire.logit_cap}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].a != list[i].b) return differs(m, list[i].what, list[i].a, list[i].b, err);
    for (int l = 0; l < a->n_layer; l++)
        if ((m->block[l].window > 0) != bp->windowed[l]) {
            sd_fail(err, SD_E_UNSUPPORTED, "%s: layer %d has %s window of attention, which a GGUF of a %s model cannot say", m->path, l, bp->windowed[l] ? "no" : "a", sd_gguf__arch(m)->gguf);
            return no_key(err);
        }
    sd_status st = compare_rope(m, bp, a->n_ctx, err);
    return st ? st : compare_rope(m, bp, a->n_ctx < 256 ? a->n_ctx : 256, err); /* longrope has two sets */
}

static sd_status check(const sd_gguf_meta *meta, const sd_gguf_divisors div[2], const sd_model *m, sd_err *err)
{
    sd_buf file;
    sd_weights *w = NULL;
    sd_blueprint *bp = NULL;
    sd_gguf_tensor t[2] = {0};
    int n = 0;
    sd_buf_init(&file, (size_t)1 << 30);
    for (; n < 2 && div[n].name; n++) {
        t[n] = (sd_gguf_tensor){.dtype = SD_F32, .rank = 1, .dim = {div[n].n}};
        snprintf(t[n].name, sizeof t[n].name, "%s", div[n].name);
    }
    sd_status st = sd_gguf_header(&file, meta, t, n, err);
    for (int i = 0; i < n && !st; i++) {
        sd_buf_put(&file, div[i].v, (size_t)div[i].n * sizeof *div[i].v);
        while (file.n % 32 && !file.failed) sd_buf_putc(&file, 0); /* gguf_write.c */
    }
    if (!st) st = sd_buf_check(&file, "the metadata of a GGUF", err);
    if (!st) st = sd_weights_open_bytes(&w, file.p, file.n, "the written metadata", NULL, err);
    if (!st) st = sd_alloc(&bp, sizeof *bp, "a configuration", err);
    if (!st) st = sd_config__read(bp, w, err);
    if (!st) st = compare(m, bp, err);
    sd_free(bp);
    sd_weights_close(w);
    sd_buf_release(&file);
    return st;
}

sd_status sd_gguf__metadata(sd_gguf_meta *out, sd_gguf_divisors div[2], const sd_model *m, sd_err *err)
{
    static const char *const but[] = {"general.file_type", "general.quantization_version", "general.alignment", "split.", NULL};
    sd_status st = take_divisors(div, m, err);
    if (st) return st;
    if (sd_weights_container(m->weights) == SD_CONTAINER_GGUF)
        sd_gguf_put_all(out, m->weights, but);
    else
        st = from_config(out, m, err);
    return st ? st : check(out, div, m, err);
}

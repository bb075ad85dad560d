/* A session's memory and position. The key-value cache is one block, planned before it is taken; forgetting is moving a
 * number, since what lies beyond the position is never read. */
#include "model/session_int.h"

#include "base/log.h"

enum { DEFAULT_CTX = 4096 };

static sd_status plan(sd_session *s, size_t *total, sd_err *err)
{
    const sd_config *c = &s->m->cfg;
    s->kv_cap = sd_kv_cap(s->n_ctx);
    if (!sd_kv_bytes(&s->kv_half_bytes, s->kv_cap, c->n_head_kv, c->d_head, s->kv_type) ||
        !sd_mul_size(sd_arena_need(s->kv_half_bytes), 2 * (size_t)s->m->n_layer_loaded, total))
        return sd_fail(err, SD_E_NOMEM, "a key-value cache of %lld positions does not fit in the address space",
                       (long long)s->n_ctx);
    s->kv_half_bytes = sd_arena_need(s->kv_half_bytes);
    return SD_OK;
}

sd_status sd_session_new(sd_session **out, const sd_model *m, const sd_session_opt *opt, sd_err *err)
{
    sd_session *s = NULL;
    size_t total, table = (size_t)m->cfg.n_layer * sizeof(uint32_t);
    *out = NULL;
    int64_t n_ctx = opt && opt->n_ctx ? opt->n_ctx : m->max_ctx < DEFAULT_CTX ? m->max_ctx : DEFAULT_CTX;
    if (n_ctx < 1 || n_ctx > m->max_ctx) {
        sd_fail(err, SD_E_ARG, "a session of %lld positions, the model's limit is %lld", (long long)n_ctx,
                (long long)m->max_ctx);
        return sd_hint(err, "give a context of 1 to %lld", (long long)m->max_ctx);
    }
    const sd_kv_type kv = opt && opt->kv ? opt->kv : m->kv;
    if (!sd_kv_can(m->ex, kv)) {
        sd_fail(err, SD_E_UNSUPPORTED, "a key-value cache of %s: this CPU does not multiply it", sd_kv_type_name(kv));
        return sd_hint(err, "f16 takes the same memory");
    }
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a session", err);
    if (st) return st;
    s->m = m;
    s->n_ctx = n_ctx;
    s->n_layer_cached = m->n_layer_loaded;
    s->kv_type = kv;
    for (int i = 0; i < m->wire.n_rope; i++)
        if ((st = sd_rope_make(&s->rope[i], &m->rope[i], n_ctx, err))) goto done;
    if ((st = plan(s, &total, err))) goto done;
    /* Zeroed: the last panel of keys is read whole, also where no position has been written yet. */
    if ((st = sd_alloc_zero(&s->kv, total, "the key-value cache", err))) {
        sd_hint(err, "%lld positions take that much; ask for fewer", (long long)n_ctx);
        goto done;
    }
    if ((st = sd_alloc_zero(&s->want, table, "the sites of a session", err))) goto done;
    if ((st = sd_alloc_zero(&s->edit, table, "the sites of a session", err))) goto done;
    *out = s;
    s = NULL;
done:
    sd_session_free(s);
    return st;
}

void sd_session_free(sd_session *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_slot; i++) sd_free(s->slot[i].at);
    for (int i = 0; i < 2; i++) sd_rope_release(&s->rope[i]);
    sd_free(s->slot);
    sd_free(s->want);
    sd_free(s->edit);
    sd_free(s->kv);
    sd_free(s);
}

void sd_session_rewind(sd_session *s, int64_t pos)
{
    if (pos < 0) pos = 0;
    if (pos < s->pos) s->pos = pos;
    if (s->pos == 0) s->n_layer_cached = s->m->n_layer_loaded;
}

/* Keys lie in panels of SD_KV_PANEL positions and values of bf16 in pairs, so whole panels go over; what a panel holds beyond n is never read. */
sd_status sd_session_copy_prefix(sd_session *dst, const sd_session *src, int64_t n, sd_err *err)
{
    if (dst == src || dst->m != src->m || dst->kv_type != src->kv_type)
        return sd_fail(err, SD_E_ARG, "a prefix goes from one session to another of the same model and the same type of cache");
    for (int i = 0; i < src->m->wire.n_rope; i++) /* keys are kept turned */
        if (memcmp(dst->rope[i].inv_freq, src->rope[i].inv_freq, (size_t)src->rope[i].half * sizeof(float)) != 0)
            return sd_fail(err, SD_E_ARG, "a prefix of a session of %lld positions, for one of %lld: this model's rotary embedding depends on their number",
                           (long long)src->n_ctx, (long long)dst->n_ctx);
    if (n < 0 || n > src->pos || n > dst->n_ctx)
        return sd_fail(err, SD_E_ARG, "a prefix of %lld positions of a session that holds %lld, for one of at most %lld", (long long)n,
                       (long long)src->pos, (long long)dst->n_ctx);
    for (int l = 0; l < src->n_layer_cached; l++) {
        sd_kv from = sd_session__kv(src, l), to = sd_session__kv(dst, l);
        size_t width = sd_kv_row_bytes(from.type, from.d_head);
        for (int h = 0; h < from.n_head; h++) {
            size_t a = (size_t)h * (size_t)from.cap * width, b = (size_t)h * (size_t)to.cap * width;
            memcpy((uint8_t *)to.k + b, (const uint8_t *)from.k + a, (size_t)sd_kv_cap(n) * width);
            memcpy((uint8_t *)to.v + b, (const uint8_t *)from.v + a, (size_t)sd_kv_cap(n) * width);
        }
    }
    dst->pos = n;
    dst->n_layer_cached = n ? src->n_layer_cached : dst->m->n_layer_loaded;
    return SD_OK;
}

int64_t sd_session_pos(const sd_session *s)
{
    return s->pos;
}

int64_t sd_session_ctx(const sd_session *s)
{
    return s->n_ctx;
}

sd_kv_type sd_session_get_kv(const sd_session *s)
{
    return s->kv_type;
}

size_t sd_session_bytes(const sd_session *s)
{
    return 2 * s->kv_half_bytes * (size_t)s->m->n_layer_loaded;
}

sd_kv sd_session__kv(const sd_session *s, int layer)
{
    uint8_t *k = s->kv + 2 * s->kv_half_bytes * (size_t)layer;
    return (sd_kv){.k = k,
                   .v = k + s->kv_half_bytes,
                   .cap = s->kv_cap,
                   .n_head = s->m->cfg.n_head_kv,
                   .d_head = s->m->cfg.d_head,
                   .type = s->kv_type};
}

/* Hooks: attaching, detaching, delivering. A hook is asked for its sites once; from then on a site is a bit. */
#include "model/session_int.h"

#include "base/hash.h"

static void refresh(sd_session *s)
{
    size_t bytes = (size_t)s->m->cfg.n_layer * sizeof(uint32_t);
    memset(s->want, 0, bytes);
    memset(s->edit, 0, bytes);
    for (int i = 0; i < s->n_slot; i++)
        for (int l = 0; l < s->m->cfg.n_layer; l++) {
            s->want[l] |= s->slot[i].at[l];
            if (s->slot[i].hook.mode == SD_HOOK_EDIT) s->edit[l] |= s->slot[i].at[l];
        }
}

sd_status sd_session_attach(sd_session *s, const sd_hook *hook, int *id, sd_err *err)
{
    uint32_t *at = NULL;
    sd_status st = sd_alloc_zero(&at, (size_t)s->m->cfg.n_layer * sizeof *at, "a hook", err);
    if (st) return st;
    for (int i = 0; i < hook->n_at; i++) {
        sd_site site = hook->at[i];
        int64_t cols;
        if ((st = sd_model_site_cols(s->m, site, &cols, err))) goto fail;
        if (sd_site_is_layered(site.kind) && site.layer >= s->m->n_layer_loaded) {
            st = sd_fail(err, SD_E_ARG, "hook %s: layer %d of a model opened with its first %d layers", hook->name,
                         site.layer, s->m->n_layer_loaded);
            goto fail;
        }
        at[sd_site_is_layered(site.kind) ? site.layer : 0] |= sd_site__bit(site.kind);
    }
    sd_hook_slot *grown = sd_realloc(s->slot, (size_t)(s->n_slot + 1) * sizeof *s->slot);
    if (!grown) {
        st = sd_fail(err, SD_E_NOMEM, "out of memory: the table of %d hooks", s->n_slot + 1);
        goto fail;
    }
    s->slot = grown;
    s->slot[s->n_slot++] = (sd_hook_slot){.id = s->next_id, .hook = *hook, .at = at};
    s->slot[s->n_slot - 1].hook.at = NULL; /* borrowed only until here */
    if (id) *id = s->next_id;
    s->next_id++;
    refresh(s);
    return SD_OK;
fail:
    sd_free(at);
    return st;
}

void sd_session_detach(sd_session *s, int id)
{
    for (int i = 0; i < s->n_slot; i++)
        if (s->slot[i].id == id) {
            sd_free(s->slot[i].at);
            memmove(&s->slot[i], &s->slot[i + 1], (size_t)(s->n_slot - i - 1) * sizeof *s->slot);
            s->n_slot--;
            refresh(s);
            return;
        }
}

#ifdef SD_DEV
static uint64_t hash_rows(sd_mat x)
{
    uint64_t h = 0;
    for (int64_t i = 0; i < x.rows; i++) h = h * 31 + sd_hash64(sd_mat_row(x, i), (size_t)x.cols * sizeof(float));
    return h;
}
#endif

sd_status sd_hook__call(const sd_segment *seg, sd_site site, sd_mat x, int64_t first, sd_err *err)
{
    const sd_session *s = seg->s;
    sd_status st = SD_OK;
    sd_alloc_guard_end();
    for (int i = 0; i < s->n_slot && !st; i++) {
        if (!(s->slot[i].at[site.layer] & sd_site__bit(site.kind))) continue;
        const sd_hook *h = &s->slot[i].hook;
        sd_act act = {.site = site, .x = x, .pos0 = s->pos + first, .tok = seg->tok + first};
#ifdef SD_DEV
        uint64_t before = h->mode == SD_HOOK_READ ? hash_rows(x) : 0;
#endif
        st = h->fn(h->self, &act, err);
#ifdef SD_DEV
        SD_ASSERT(h->mode == SD_HOOK_EDIT || hash_rows(x) == before); /* READ promised not to write */
#endif
    }
    sd_alloc_guard_begin("sd_runner_step");
    return st;
}

sd_status sd_hook__deliver(const sd_visit *v, sd_err *err)
{
    for (int i = 0; i < v->n_seg; i++) {
        if (v->n[i] == 0 || !(v->seg[i].s->want[v->site.layer] & sd_site__bit(v->site.kind))) continue;
        /* Rows taken from a segment are its last ones (all of them, but for logits and the norm before them). */
        sd_status st =
            sd_hook__call(&v->seg[i], v->site, sd_mat_rows(v->x, v->row0[i], v->n[i]), v->seg[i].n - v->n[i], err);
        if (st) return st;
    }
    return SD_OK;
}

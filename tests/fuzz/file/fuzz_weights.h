/* What the fuzzers of containers share: open any bytes, and when they open, touch everything that was promised to be there. */
#ifndef SD_FUZZ_WEIGHTS_H
#define SD_FUZZ_WEIGHTS_H

#include "base/map.h"
#include "file/weights_int.h"
#include <stdio.h>
#include <stdlib.h>

static volatile uint8_t fuzz_sink;

static inline void fuzz_touch(const sd_weights *w)
{
    for (int64_t i = 0; i < sd_weights_count(w); i++) {
        const sd_tensor *t = sd_weights_at(w, i);
        const uint8_t *p = t->data;
        if (t->bytes) fuzz_sink = (uint8_t)(p[0] ^ p[t->bytes / 2] ^ p[t->bytes - 1]);
        size_t elem = t->dtype == SD_DTYPE_NONE ? 1 : sd_dtype_get(t->dtype)->bytes;
        if (sd_dtype_get(t->dtype)->block == 1) SD_ASSERT((uintptr_t)p % elem == 0);
        SD_ASSERT(t->rank >= 0 && t->rank <= SD_MAX_RANK && sd_utf8_valid_prefix(t->name) == t->name.n);
    }
    for (int64_t i = 0; i < w->n_kv; i++) {
        char key[128];
        uint64_t u;
        double f;
        sd_slice s, *list;
        sd_kv_array a;
        if (w->kv[i].key.n >= sizeof key) continue;
        memcpy(key, w->kv[i].key.p, w->kv[i].key.n);
        key[w->kv[i].key.n] = 0;
        SD_ASSERT(sd_weights_has_kv(w, key));
        (void)sd_weights_kv_u64(w, key, &u, NULL);
        (void)sd_weights_kv_f64(w, key, &f, NULL);
        if (!sd_weights_kv_str(w, key, &s, NULL) && s.n) fuzz_sink = (uint8_t)s.p[s.n - 1];
        if (sd_weights_kv_arr(w, key, &a, NULL)) continue;
        if (a.bytes) fuzz_sink = a.p[a.bytes - 1];
        if (a.type != SD_V_STR) continue;
        SD_ASSERT(!sd_kv_array_strings(&a, &list, NULL));
        for (int64_t k = 0; k < a.n; k++)
            if (list[k].n) fuzz_sink = (uint8_t)list[k].p[list[k].n - 1];
        sd_free(list);
    }
}

static inline void fuzz_open(const uint8_t *p, size_t n, const char *name, bool keep_unknown)
{
    sd_err err = {0};
    sd_weights *w = NULL;
    void *copy = sd_malloc(n ? n : 1); /* aligned as a map is, and of exactly this size */
    if (n) memcpy(copy, p, n);
    sd_status st = sd_weights_open_bytes(&w, copy, n, name, &(sd_weights_opt){.keep_unknown = keep_unknown}, &err);
    if (st)
        SD_ASSERT(!w && err.code == st && strstr(err.msg, name));
    else
        fuzz_touch(w);
    sd_weights_close(w);
    sd_free(copy);
}

#endif

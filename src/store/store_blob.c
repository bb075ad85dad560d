/* Owns: the layout of the blobs in a feature's row, of an example's values, and the memory of results.
 * A blob is a claim of whoever wrote the file: counts, ids and finiteness are checked, and no byte may be left. */
#include "store/store_int.h"

#include <math.h>

typedef struct store_piece { struct store_piece *next; uint64_t data[]; } store_piece;
enum { PIECE_BYTES = 16384 };

void *sd_store__push(store_pool *p, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (n > p->left || !p->at) {
        size_t size = n > PIECE_BYTES ? n : PIECE_BYTES;
        store_piece *piece = sd_calloc(sizeof *piece + size);
        if (!piece) {
            p->failed = true;
            return NULL;
        }
        piece->next = p->first;
        p->first = piece;
        p->at = (char *)piece->data;
        p->left = size;
    }
    void *r = p->at;
    p->at += n;
    p->left -= n;
    return r;
}

char *sd_store__push_str(store_pool *p, const char *s, size_t n)
{
    char *r = sd_store__push(p, n + 1);
    if (r && n) memcpy(r, s, n);
    return r;
}

void sd_store__pool_release(store_pool *p)
{
    while (p->first) {
        store_piece *next = p->first->next;
        sd_free(p->first);
        p->first = next;
    }
    *p = (store_pool){0};
}

static void put_u16(sd_buf *b, uint16_t v)
{
    uint8_t x[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    sd_buf_put(b, x, 2);
}
static void put_u32(sd_buf *b, uint32_t v)
{
    put_u16(b, (uint16_t)v);
    put_u16(b, (uint16_t)(v >> 16));
}
static void put_u64(sd_buf *b, uint64_t v)
{
    put_u32(b, (uint32_t)v);
    put_u32(b, (uint32_t)(v >> 32));
}
static void put_f32(sd_buf *b, float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    put_u32(b, u);
}
static void put_f64(sd_buf *b, double f)
{
    uint64_t u;
    memcpy(&u, &f, 8);
    put_u64(b, u);
}

void sd_store__put_logits(sd_buf *b, const sd_token_logit *v, int n)
{
    put_u32(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        put_u32(b, (uint32_t)v[i].id);
        put_f32(b, v[i].value);
    }
}

void sd_store__put_near(sd_buf *b, const sd_near *v, int n)
{
    put_u32(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        put_u32(b, (uint32_t)v[i].index);
        put_f32(b, v[i].cosine);
    }
}

void sd_store__put_fires(sd_buf *b, const sd_token_fire *v, int n)
{
    put_u32(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        put_u32(b, (uint32_t)v[i].id);
        put_u64(b, (uint64_t)v[i].n);
        put_f32(b, v[i].max_act);
        put_f32(b, v[i].share);
    }
}

void sd_store__put_intervals(sd_buf *b, const sd_interval *v, int n)
{
    put_u32(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        put_f32(b, v[i].lo);
        put_f32(b, v[i].hi);
        put_u64(b, (uint64_t)v[i].n);
        put_f64(b, v[i].share);
    }
}

void sd_store__put_hist(sd_buf *b, const sd_histogram *h)
{
    put_u32(b, (uint32_t)h->n);
    put_f64(b, h->lo);
    put_f64(b, h->hi);
    for (int i = 0; i < h->n; i++) put_u64(b, (uint64_t)h->count[i]);
}

void sd_store__put_values(sd_buf *b, const float *v, int n, float scale)
{
    for (int i = 0; i < n; i++) {
        if (!(v[i] > 0)) continue;
        double q = scale > 0 ? (double)v[i] / (double)scale * 65535.0 : 0;
        sd_buf_putc(b, (char)(uint8_t)i);
        put_u16(b, (uint16_t)lround(q < 65535.0 ? q : 65535.0));
    }
}

/* A count that fits the bytes that are left and the limit of lists; -1 when it does not. */
static int64_t count_of(sd_cursor *c, size_t entry_bytes)
{
    uint32_t n = sd_cur_u32(c);
    if (sd_cur_failed(c) || n > SD_FEATURE_LIST_MAX || n * entry_bytes > sd_cur_left(c)) return -1;
    return n;
}

bool sd_store__get_logits(store_pool *p, sd_slice s, const store_limits *lim, const sd_token_logit **v, int *n)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    int64_t k = count_of(&c, 8);
    sd_token_logit *a = k >= 0 ? sd_store__push(p, (size_t)k * sizeof *a) : NULL;
    if (!a) return false;
    for (int64_t i = 0; i < k; i++) {
        uint32_t id = sd_cur_u32(&c);
        a[i].value = sd_cur_f32(&c);
        if (id >= lim->n_vocab || !isfinite(a[i].value)) return false;
        a[i].id = (int32_t)id;
    }
    *v = a;
    *n = (int)k;
    return !sd_cur_failed(&c) && sd_cur_left(&c) == 0;
}

bool sd_store__get_near(store_pool *p, sd_slice s, const store_limits *lim, const sd_near **v, int *n)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    int64_t k = count_of(&c, 8);
    sd_near *a = k >= 0 ? sd_store__push(p, (size_t)k * sizeof *a) : NULL;
    if (!a) return false;
    for (int64_t i = 0; i < k; i++) {
        a[i].index = sd_cur_u32(&c);
        a[i].cosine = sd_cur_f32(&c);
        if (a[i].index >= lim->m || !isfinite(a[i].cosine)) return false;
    }
    *v = a;
    *n = (int)k;
    return !sd_cur_failed(&c) && sd_cur_left(&c) == 0;
}

bool sd_store__get_fires(store_pool *p, sd_slice s, const store_limits *lim, const sd_token_fire **v, int *n)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    int64_t k = count_of(&c, 20);
    sd_token_fire *a = k >= 0 ? sd_store__push(p, (size_t)k * sizeof *a) : NULL;
    if (!a) return false;
    for (int64_t i = 0; i < k; i++) {
        uint32_t id = sd_cur_u32(&c);
        uint64_t fires = sd_cur_u64(&c);
        a[i].max_act = sd_cur_f32(&c);
        a[i].share = sd_cur_f32(&c);
        if (id >= lim->n_vocab || fires > INT64_MAX || !isfinite(a[i].max_act) || !isfinite(a[i].share)) return false;
        a[i].id = (int32_t)id;
        a[i].n = (int64_t)fires;
    }
    *v = a;
    *n = (int)k;
    return !sd_cur_failed(&c) && sd_cur_left(&c) == 0;
}

bool sd_store__get_intervals(store_pool *p, sd_slice s, const sd_interval **v, int *n)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    int64_t k = count_of(&c, 24);
    sd_interval *a = k >= 0 ? sd_store__push(p, (size_t)k * sizeof *a) : NULL;
    if (!a) return false;
    for (int64_t i = 0; i < k; i++) {
        a[i].lo = sd_cur_f32(&c);
        a[i].hi = sd_cur_f32(&c);
        uint64_t fires = sd_cur_u64(&c);
        a[i].share = sd_cur_f64(&c);
        if (fires > INT64_MAX || !isfinite(a[i].lo) || !isfinite(a[i].hi) || !isfinite(a[i].share)) return false;
        a[i].n = (int64_t)fires;
    }
    *v = a;
    *n = (int)k;
    return !sd_cur_failed(&c) && sd_cur_left(&c) == 0;
}

bool sd_store__get_hist(store_pool *p, sd_slice s, sd_histogram *h)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    int64_t k = count_of(&c, 8);
    int64_t *a = k >= 0 ? sd_store__push(p, (size_t)k * sizeof *a) : NULL;
    if (!a) return false;
    h->lo = sd_cur_f64(&c);
    h->hi = sd_cur_f64(&c);
    if (!isfinite(h->lo) || !isfinite(h->hi)) return false;
    for (int64_t i = 0; i < k; i++) {
        uint64_t x = sd_cur_u64(&c);
        if (x > INT64_MAX) return false;
        a[i] = (int64_t)x;
    }
    h->count = a;
    h->n = (int)k;
    return !sd_cur_failed(&c) && sd_cur_left(&c) == 0;
}

bool sd_store__get_values(sd_slice s, float *v, int n, float scale)
{
    sd_cursor c;
    sd_cur_init(&c, s.p, s.n);
    for (int i = 0; i < n; i++) v[i] = 0;
    for (int last = -1; sd_cur_left(&c) > 0;) {
        int at = sd_cur_u8(&c);
        uint16_t q = sd_cur_u16(&c);
        if (sd_cur_failed(&c) || at >= n || at <= last) return false;
        v[at] = (float)((double)q / 65535.0 * (double)scale);
        last = at;
    }
    return true;
}

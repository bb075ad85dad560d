/* Owns: the file and its layout. A put is one record: {rows, codes}, a count a row, all indices, all values; a scan reads
 * only counts and indices of what it does not want. The file has no name, so nothing is left of it after a crash. */
#include "lab/codelog.h"

#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct record { int64_t rows, nnz; } record; /* then u32 count[rows], i32 idx[nnz], f32 val[nnz] */

struct sd_codelog {
    int fd;
    int64_t m, rows, nnz, bytes;
    int64_t *count; /* [m] */
    uint32_t *scratch; /* counts and codes of one put */
    size_t cap_scratch;
};

/* A file that never has a name, in the folder of path: a kill at any moment leaves nothing. -1 where the file system has none such. */
static int nameless(const char *path)
{
    char dir[1100];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash) snprintf(dir, sizeof dir, ".");
    else slash[slash == dir] = '\0';
    return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

sd_status sd_codelog_new(sd_codelog **out, const char *beside, int64_t m, sd_err *err)
{
    char name[1100];
    sd_codelog *l = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&l, sizeof *l, "the log of codes", err);
    if (st) return st;
    l->fd = -1;
    l->m = m;
    if ((st = sd_alloc_zero(&l->count, (size_t)m * sizeof *l->count, "counts of features", err))) goto done;
    if (snprintf(name, sizeof name, "%s.codes-XXXXXX", beside) >= (int)sizeof name) {
        st = sd_fail(err, SD_E_ARG, "%s: the path is too long", beside);
        goto done;
    }
    l->fd = nameless(name);
    if (l->fd < 0) l->fd = mkostemp(name, O_CLOEXEC);
    else name[0] = '\0';
    if (l->fd < 0) {
        st = sd_fail_errno(err, errno, "cannot write beside %s", beside);
        goto done;
    }
    if (name[0]) unlink(name);
    *out = l;
    l = NULL;
done:
    sd_codelog_free(l);
    return st;
}

void sd_codelog_free(sd_codelog *l)
{
    if (!l) return;
    if (l->fd >= 0) close(l->fd);
    sd_free(l->count);
    sd_free(l->scratch);
    sd_free(l);
}

static sd_status append(sd_codelog *l, const void *p, size_t n, sd_err *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t w = write(l->fd, at, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            sd_fail_errno(err, w < 0 ? errno : ENOSPC, "cannot keep the codes of %" PRId64 " tokens on disk", l->rows);
            return sd_hint(err, "the store's folder needs 8 bytes a code while it is built: 256 MB a million tokens at 32 features a token");
        }
        at += w;
        n -= (size_t)w;
        l->bytes += w;
    }
    return SD_OK;
}

sd_status sd_codelog_put(sd_codelog *l, const sd_codes *z, const uint8_t *keep, sd_err *err)
{
    size_t need = ((size_t)z->n + 2 * (size_t)z->nnz) * sizeof(uint32_t);
    if (need > l->cap_scratch) {
        uint32_t *p = sd_realloc(l->scratch, need);
        if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: codes of %" PRId64 " tokens", z->n);
        l->scratch = p;
        l->cap_scratch = need;
    }
    record r = {0, 0};
    for (int64_t i = 0; i < z->n; i++) {
        int64_t n = keep && !keep[i] ? 0 : z->row_ptr[i + 1] - z->row_ptr[i];
        l->scratch[r.rows++] = (uint32_t)n;
        r.nnz += n;
    }
    uint32_t *idx = l->scratch + r.rows, *val = idx + r.nnz;
    for (int64_t i = 0; i < z->n; i++) {
        if (keep && !keep[i]) continue;
        for (int64_t j = z->row_ptr[i]; j < z->row_ptr[i + 1]; j++) {
            SD_ASSERT(z->idx[j] >= 0 && z->idx[j] < l->m);
            l->count[z->idx[j]]++;
            *idx++ = (uint32_t)z->idx[j];
            memcpy(val++, &z->val[j], sizeof *val);
        }
    }
    if (r.rows == 0) return SD_OK;
    if (l->rows + r.rows > UINT32_MAX)
        return sd_fail(err, SD_E_UNSUPPORTED, "a store takes at most %" PRIu32 " tokens", UINT32_MAX);
    sd_status st = append(l, &r, sizeof r, err);
    if (!st) st = append(l, l->scratch, ((size_t)r.rows + 2 * (size_t)r.nnz) * sizeof(uint32_t), err);
    l->rows += r.rows;
    l->nnz += r.nnz;
    return st;
}

int64_t sd_codelog_rows(const sd_codelog *l) { return l->rows; }
int64_t sd_codelog_nnz(const sd_codelog *l) { return l->nnz; }
const int64_t *sd_codelog_counts(const sd_codelog *l) { return l->count; }

void sd_postings_release(sd_postings *p)
{
    sd_free(p->start);
    sd_free(p->row);
    sd_free(p->val);
    *p = (sd_postings){0};
}

int64_t sd_codelog_range(const sd_codelog *l, int64_t f0, size_t budget_bytes)
{
    int64_t f1 = f0 + 1, n = l->count[f0], cap = (int64_t)(budget_bytes / (sizeof(uint32_t) + sizeof(float)));
    while (f1 < l->m && n + l->count[f1] <= cap) n += l->count[f1++];
    return f1;
}

static sd_status reserve(sd_postings *p, int64_t n_start, int64_t n, sd_err *err)
{
    sd_status st = SD_OK;
    if (n_start > p->cap_start) {
        sd_free(p->start);
        p->start = NULL;
        p->cap_start = 0;
        if ((st = sd_alloc(&p->start, (size_t)n_start * sizeof *p->start, "index of the codes", err))) return st;
        p->cap_start = n_start;
    }
    if (n > p->cap) {
        sd_free(p->row);
        sd_free(p->val);
        p->row = NULL;
        p->val = NULL;
        p->cap = 0;
        if ((st = sd_alloc(&p->row, (size_t)n * sizeof *p->row, "codes by feature", err))) return st;
        if ((st = sd_alloc(&p->val, (size_t)n * sizeof *p->val, "codes by feature", err))) return st;
        p->cap = n;
    }
    return SD_OK;
}

/* at[f - f0]: where the next entry of f goes. row: of the record's first row. */
static void scatter(sd_postings *p, int64_t *at, const record *r, const uint32_t *count, uint32_t row)
{
    const uint32_t *idx = count + r->rows, *val = idx + r->nnz;
    for (int64_t i = 0, j = 0; i < r->rows; i++, row++)
        for (int64_t end = j + count[i]; j < end; j++) {
            int64_t f = idx[j];
            if (f < p->f0 || f >= p->f1) continue;
            int64_t to = at[f - p->f0]++;
            p->row[to] = row;
            memcpy(&p->val[to], &val[j], sizeof(float));
        }
}

static sd_status read_back(const sd_codelog *l, void *p, size_t n, int64_t from, sd_err *err)
{
    char *to = p;
    while (n > 0) {
        ssize_t r = pread(l->fd, to, n, from);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return sd_fail_errno(err, r < 0 ? errno : EIO, "cannot read the codes of %" PRId64 " tokens back", l->rows);
        to += r;
        from += r;
        n -= (size_t)r;
    }
    return SD_OK;
}

/* Records are read one at a time into the buffer that wrote the largest: mapping the log would show all of it as this process's memory. */
static sd_status scan(sd_postings *p, int64_t *at, sd_codelog *l, sd_err *err)
{
    uint32_t row = 0;
    for (int64_t o = 0; o < l->bytes;) {
        record r = {0, 0};
        sd_status st = read_back(l, &r, sizeof r, o, err);
        size_t n = ((size_t)r.rows + 2 * (size_t)r.nnz) * sizeof(uint32_t);
        if (!st) st = read_back(l, l->scratch, n, o + (int64_t)sizeof r, err);
        if (st) return st;
        scatter(p, at, &r, l->scratch, row);
        row += (uint32_t)r.rows;
        o += (int64_t)(sizeof r + n);
    }
    return SD_OK;
}

sd_status sd_codelog_postings(sd_postings *out, sd_codelog *l, int64_t f0, int64_t f1, sd_err *err)
{
    int64_t n = 0, *at = NULL;
    SD_ASSERT(f0 >= 0 && f0 < f1 && f1 <= l->m);
    for (int64_t f = f0; f < f1; f++) n += l->count[f];
    sd_status st = reserve(out, f1 - f0 + 1, n, err);
    if (st) goto done;
    if ((st = sd_alloc(&at, (size_t)(f1 - f0) * sizeof *at, "index of the codes", err))) goto done;
    out->f0 = f0;
    out->f1 = f1;
    out->start[0] = 0;
    for (int64_t f = f0; f < f1; f++) {
        at[f - f0] = out->start[f - f0];
        out->start[f - f0 + 1] = out->start[f - f0] + l->count[f];
    }
    st = scan(out, at, l, err);
done:
    sd_free(at);
    return st;
}

/* numpy's .npz: a zip archive of .npy files, each a magic, a header that is a Python literal, and the array (numpy/lib/format.py).
 * The header is matched, not evaluated: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. */
#include "file/weights_int.h"
#include "file/zip.h"
#include <inttypes.h>

enum { MOST_HEADER = 1 << 16 };
static const uint64_t MOST_BYTES = (uint64_t)1 << 40;

static sd_status bad(const char *path, sd_slice name, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: %.*s: %s.", path, SD_SLICE(name), what);
}

static void blanks(sd_slice *s)
{
    while (s->n && (*s->p == ' ' || *s->p == '\n')) s->p++, s->n--;
}

static bool eat(sd_slice *s, const char *word)
{
    const size_t n = strlen(word);
    blanks(s);
    if (s->n < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    s->n -= n;
    return true;
}

static bool eat_int(sd_slice *s, int64_t *out)
{
    size_t n = 0;
    blanks(s);
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9') n++;
    if (!n || !sd_parse_i64((sd_slice){s->p, n}, out)) return false;
    s->p += n;
    s->n -= n;
    return true;
}

static bool eat_shape(sd_slice *s, sd_tensor *t)
{
    if (!eat(s, "(")) return false;
    while (!eat(s, ")")) {
        if (t->rank == SD_MAX_RANK || !eat_int(s, &t->dim[t->rank++])) return false;
        if (!eat(s, ",")) return eat(s, ")");
    }
    return true;
}

/* The keys come in any order. */
static sd_status read_literal(sd_slice s, sd_tensor *t, const char *path, sd_slice name, sd_err *err)
{
    static const struct { const char *descr; sd_dtype type; const char *name; } types[] = {
        {"'<f4'", SD_F32, "F32"}, {"'<f2'", SD_F16, "F16"}, {"'<f8'", SD_F64, "F64"}, {"'<i4'", SD_I32, "I32"}, {"'<i8'", SD_I64, "I64"}, {"'|u1'", SD_U8, "U8"}};
    int seen = 0;
    if (!eat(&s, "{")) return bad(path, name, "its header is no Python dictionary", err);
    while (!eat(&s, "}")) {
        if (eat(&s, "'descr'") && eat(&s, ":")) {
            size_t i = 0;
            while (i < sizeof types / sizeof *types && !eat(&s, types[i].descr)) i++;
            if (i == sizeof types / sizeof *types) return bad(path, name, "its type is none of <f4 <f2 <f8 <i4 <i8 |u1", err);
            t->dtype = types[i].type;
            t->type_name = types[i].name;
            seen |= 1;
        } else if (eat(&s, "'fortran_order'") && eat(&s, ":")) {
            if (!eat(&s, "False")) return bad(path, name, "it is stored by columns (fortran_order), which is not read", err);
            seen |= 2;
        } else if (eat(&s, "'shape'") && eat(&s, ":")) {
            t->rank = 0;
            if (!eat_shape(&s, t)) return bad(path, name, "its shape is not that of at most 4 dimensions", err);
            seen |= 4;
        } else {
            return bad(path, name, "its header has a key that is not known", err);
        }
        (void)eat(&s, ",");
    }
    return seen == 7 ? SD_OK : bad(path, name, "its header lacks a key", err);
}

static sd_status read_array(sd_weights *w, int64_t source, sd_zip_member *m, sd_err *err)
{
    const char *path = w->source[source].path;
    const uint8_t *p;
    void *owned = NULL;
    sd_cursor c;
    sd_tensor t = {.name = m->name};
    if (!sd_slice_ends(m->name, ".npy")) return bad(path, m->name, "an archive of arrays holds .npy files only", err);
    t.name.n -= 4;
    if (!sd_weights__name_ok(t.name)) return bad(path, m->name, "its name is no name of a tensor", err);
    sd_status st = sd_zip_bytes(m, MOST_BYTES, &p, &owned, path, err);
    if (!st && owned) st = sd_weights__keep(w, owned, err);
    if (st) return st;
    sd_cur_init(&c, p, (size_t)m->n);
    const void *magic = sd_cur_bytes(&c, 6);
    const uint8_t major = sd_cur_u8(&c);
    (void)sd_cur_u8(&c);
    const uint32_t n = major == 1 ? sd_cur_u16(&c) : sd_cur_u32(&c);
    if (sd_cur_failed(&c) || memcmp(magic, "\x93NUMPY", 6) != 0 || major < 1 || major > 3 || n > MOST_HEADER) return bad(path, m->name, "it does not begin as a .npy file", err);
    const char *text = sd_cur_bytes(&c, n);
    if (sd_cur_failed(&c)) return bad(path, m->name, "its header ends early", err);
    if ((st = read_literal((sd_slice){text, n}, &t, path, m->name, err))) return st;
    if (!sd_weights__size(&t, 1, sd_dtype_get(t.dtype)->bytes, &t.bytes) || t.bytes != sd_cur_left(&c)) return bad(path, m->name, "its shape is not that of the bytes that follow", err);
    t.data = sd_cur_bytes(&c, t.bytes);
    st = sd_weights__align(w, &t, err);
    return st ? st : sd_weights__add(w, source, &t, err);
}

sd_status sd_npz__read(sd_weights *w, int64_t source, const sd_zip *z, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < z->n && !st; i++) st = read_array(w, source, &z->v[i], err);
    return st;
}

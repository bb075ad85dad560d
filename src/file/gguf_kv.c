/* Getters of GGUF metadata. A value is decoded when it is asked for, from bytes that gguf.c has bounded; values are
 * unaligned in the file. Strings are handed out as they are: what a token or a template may contain is its reader's
 * rule. */
#include "file/weights_int.h"
#include "base/cursor.h"

static const char *const type_name[SD_V_COUNT] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                  "bool", "string", "array", "u64", "i64", "f64"};

static const sd_kv *find(const sd_weights *w, const char *key)
{
    int64_t i = w->by_key ? sd_table_get(w->by_key, sd_slice_of(key)) : -1;
    return i < 0 ? NULL : &w->kv[i];
}

static sd_status need(const sd_kv **out, const sd_weights *w, const char *key, sd_err *err)
{
    *out = find(w, key);
    return *out ? SD_OK : sd_fail(err, SD_E_NOTFOUND, "%s: no metadata key %s", w->path, key);
}

static sd_status wrong_type(const sd_weights *w, const sd_kv *kv, const char *wanted, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: metadata key %.*s is of type %s, not %s", w->path, SD_SLICE(kv->key),
                   type_name[kv->type], wanted);
}

bool sd_weights_has_kv(const sd_weights *w, const char *key)
{
    return find(w, key) != NULL;
}

/* Any integer or bool as its two's complement; false for other types. */
static bool as_integer(const sd_kv *kv, uint64_t *v, bool *negative)
{
    sd_cursor c;
    int64_t s = 0;
    sd_cur_init(&c, kv->p, kv->bytes);
    *negative = false;
    switch (kv->type) {
    case SD_V_U8:
    case SD_V_BOOL:
        *v = sd_cur_u8(&c);
        return true;
    case SD_V_U16:
        *v = sd_cur_u16(&c);
        return true;
    case SD_V_U32:
        *v = sd_cur_u32(&c);
        return true;
    case SD_V_U64:
        *v = sd_cur_u64(&c);
        return true;
    case SD_V_I8:
        s = (int8_t)sd_cur_u8(&c);
        break;
    case SD_V_I16:
        s = (int16_t)sd_cur_u16(&c);
        break;
    case SD_V_I32:
        s = (int32_t)sd_cur_u32(&c);
        break;
    case SD_V_I64:
        s = (int64_t)sd_cur_u64(&c);
        break;
    default:
        return false;
    }
    *negative = s < 0;
    *v = (uint64_t)s;
    return true;
}

sd_status sd_weights_kv_u64(const sd_weights *w, const char *key, uint64_t *out, sd_err *err)
{
    const sd_kv *kv;
    uint64_t v = 0;
    bool negative;
    sd_status st = need(&kv, w, key, err);
    if (st) return st;
    if (!as_integer(kv, &v, &negative)) return wrong_type(w, kv, "an integer", err);
    if (negative)
        return sd_fail(err, SD_E_FORMAT, "%s: metadata key %s is %lld; it cannot be negative", w->path, key,
                       (long long)v);
    if (kv->type == SD_V_BOOL && v > 1)
        return sd_fail(err, SD_E_FORMAT, "%s: metadata key %s is a bool of value %llu", w->path, key,
                       (unsigned long long)v);
    *out = v;
    return SD_OK;
}

sd_status sd_weights_kv_f64(const sd_weights *w, const char *key, double *out, sd_err *err)
{
    const sd_kv *kv;
    uint64_t v = 0;
    bool negative;
    sd_cursor c;
    sd_status st = need(&kv, w, key, err);
    if (st) return st;
    sd_cur_init(&c, kv->p, kv->bytes);
    if (kv->type == SD_V_F32)
        *out = (double)sd_cur_f32(&c);
    else if (kv->type == SD_V_F64)
        *out = sd_cur_f64(&c);
    else if (kv->type != SD_V_BOOL && as_integer(kv, &v, &negative))
        *out = negative ? (double)(int64_t)v : (double)v;
    else
        return wrong_type(w, kv, "a number", err);
    return SD_OK;
}

sd_status sd_weights_kv_str(const sd_weights *w, const char *key, sd_slice *out, sd_err *err)
{
    const sd_kv *kv;
    sd_status st = need(&kv, w, key, err);
    if (st) return st;
    if (kv->type != SD_V_STR) return wrong_type(w, kv, "a string", err);
    *out = (sd_slice){(const char *)kv->p, kv->bytes};
    return SD_OK;
}

sd_status sd_weights_kv_arr(const sd_weights *w, const char *key, sd_kv_array *out, sd_err *err)
{
    const sd_kv *kv;
    sd_status st = need(&kv, w, key, err);
    if (st) return st;
    if (kv->type != SD_V_ARR) return wrong_type(w, kv, "an array", err);
    *out = (sd_kv_array){.type = kv->elem, .n = kv->n, .p = kv->p, .bytes = kv->bytes};
    return SD_OK;
}

sd_status sd_kv_array_strings(const sd_kv_array *a, sd_slice **out, sd_err *err)
{
    size_t bytes;
    sd_slice *s = NULL;
    sd_cursor c;
    *out = NULL;
    if (a->type != SD_V_STR)
        return sd_fail(err, SD_E_FORMAT, "a metadata array is of type %s, not string",
                       a->type < SD_V_COUNT ? type_name[a->type] : "unknown");
    if (a->n < 0 || (uint64_t)a->n > a->bytes / 8 || !sd_mul_size((size_t)a->n, sizeof *s, &bytes))
        return sd_fail(err, SD_E_FORMAT, "a metadata array claims %lld strings in %zu bytes", (long long)a->n,
                       a->bytes);
    sd_status st = sd_alloc(&s, bytes, "the strings of a metadata array", err);
    if (st) return st;
    sd_cur_init(&c, a->p, a->bytes);
    for (int64_t i = 0; i < a->n; i++) s[i] = sd_cur_str64(&c, a->bytes);
    if (sd_cur_failed(&c)) {
        sd_free(s);
        return sd_fail(err, SD_E_FORMAT, "a metadata array of %lld strings ends early", (long long)a->n);
    }
    *out = s;
    return SD_OK;
}

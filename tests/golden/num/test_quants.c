/* Every quantised type decoded equals what the `gguf` Python package decodes, bit for bit (fixtures/quants). The two
 * files are read here with just enough code for their layouts (GGUF v3, safetensors): the real readers live above this
 * layer. */
#include "num/dtype.h"
#include "base/cursor.h"
#include "base/json.h"
#include "base/map.h"
#include "t.h"

enum { MAX_TYPES = 64, GGUF_ALIGN = 32 };
typedef struct gg_tensor {
    sd_slice name;
    uint64_t dim[4], off;
    uint32_t type;
} gg_tensor;

static void skip_value(sd_cursor *c, uint32_t type)
{
    static const size_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
        (void)sd_cur_str64(c, 1 << 20);
    } else if (type == 9) {
        const uint32_t et = sd_cur_u32(c);
        const uint64_t n = sd_cur_u64(c);
        for (uint64_t i = 0; i < n; i++) skip_value(c, et);
    } else {
        sd_cur_skip(c, width[type]);
    }
}

static int read_gguf(const sd_map *m, gg_tensor *t, const uint8_t **data)
{
    sd_cursor c;
    sd_cur_init(&c, m->p, m->n);
    sd_cur_skip(&c, 8);
    const uint64_t n = sd_cur_u64(&c), n_kv = sd_cur_u64(&c);
    for (uint64_t i = 0; i < n_kv; i++) {
        (void)sd_cur_str64(&c, 1 << 20);
        skip_value(&c, sd_cur_u32(&c));
    }
    assert_true(n <= MAX_TYPES);
    for (uint64_t i = 0; i < n; i++) {
        t[i].name = sd_cur_str64(&c, 256);
        const uint32_t rank = sd_cur_u32(&c);
        assert_true(rank <= 4);
        for (uint32_t r = 0; r < rank; r++) t[i].dim[r] = sd_cur_u64(&c);
        t[i].type = sd_cur_u32(&c);
        t[i].off = sd_cur_u64(&c);
    }
    sd_cur_align(&c, GGUF_ALIGN);
    assert_false(sd_cur_failed(&c));
    *data = m->p + c.off;
    return (int)n;
}

static void quants_equal_the_gguf_package(void **state)
{
    const char *blocks = t_shared("fixtures/quants/blocks.gguf"),
               *decoded = t_shared("fixtures/quants/decoded.safetensors");
    gg_tensor t[MAX_TYPES];
    sd_map mg, ms;
    sd_err err = {0};
    json_t *head;
    const uint8_t *data;
    uint64_t head_bytes;
    int n_known = 0;
    (void)state;
    if (!blocks || !decoded) t_skip("fixtures/quants is not here");
    t_ok(sd_map_open(&mg, blocks, &err), err);
    t_ok(sd_map_open(&ms, decoded, &err), err);
    memcpy(&head_bytes, ms.p, 8);
    t_ok(sd_json_parse(&head, (const char *)ms.p + 8, head_bytes, decoded, &err), err);
    const int n = read_gguf(&mg, t, &data);
    for (int i = 0; i < n; i++) {
        char name[64];
        const sd_dtype type = sd_dtype_from_ggml(t[i].type);
        if (type == SD_DTYPE_NONE) continue;
        n_known++;
        snprintf(name, sizeof name, "%.*s", SD_SLICE(t[i].name));
        const json_t *off = json_object_get(json_object_get(head, name), "data_offsets");
        assert_non_null(off);
        const float *want =
            (const float *)(const void *)(ms.p + 8 + head_bytes + json_integer_value(json_array_get(off, 0)));
        const sd_wmat w = {data + t[i].off, type, (int64_t)t[i].dim[1], (int64_t)t[i].dim[0], NULL, 0};
        float *row = sd_malloc((size_t)w.cols * sizeof *row);
        for (int64_t r = 0; r < w.rows; r++) {
            sd_wmat_decode_row(row, &w, r);
            for (int64_t k = 0; k < w.cols; k++)
                if (memcmp(&row[k], &want[r * w.cols + k], 4) != 0)
                    fail_msg("%s [%lld,%lld]: %.9g, the gguf package says %.9g", name, (long long)r, (long long)k,
                             (double)row[k], (double)want[r * w.cols + k]);
        }
        sd_free(row);
    }
    assert_int_equal(n_known, n); /* no type of the file is left out */
    json_decref(head);
    sd_map_close(&mg);
    sd_map_close(&ms);
}

T_MAIN(((const struct CMUnitTest[]){T(quants_equal_the_gguf_package)}))

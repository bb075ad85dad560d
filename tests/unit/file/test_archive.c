/* numpy's and torch's archives: what those tools wrote (tests/data/fuzz/fuzz_archive) is read as named tensors and settings; what is no
 * file of tensors is refused with its reason. tests/interop/formats.py compares values with the tools' own. */
#include "t.h"
#include "base/map.h"
#include "file/weights.h"
#include "file/yaml.h"
#include "file/zip.h"

static sd_status open_one(sd_weights **w, const char *name, sd_err *err)
{
    char path[256];
    snprintf(path, sizeof path, "tests/data/fuzz/fuzz_archive/%s", name);
    return sd_weights_open_opt(w, path, &(sd_weights_opt){.arrays = true}, err);
}

static void shape(const sd_weights *w, const char *name, sd_dtype type, int64_t rows, int64_t cols)
{
    const sd_tensor *t = sd_weights_find(w, name);
    if (!t) fail_msg("there is no %s", name);
    assert_int_equal(t->dtype, type);
    assert_int_equal(t->rank, cols ? 2 : rows ? 1 : 0);
    if (rows) assert_int_equal(t->dim[0], rows);
    if (cols) assert_int_equal(t->dim[1], cols);
}

static void test_torch(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_weights *w;
    uint64_t k;
    double f;
    sd_slice s;
    t_ok(open_one(&w, "state", &err), err);
    shape(w, "encoder.weight", SD_F32, 3, 4);
    shape(w, "decoder.weight", SD_F32, 4, 3);
    shape(w, "bias", SD_F16, 4, 0);
    shape(w, "k", SD_I64, 0, 0);
    shape(w, "nested.a", SD_F32, 2, 4);
    assert_null(sd_weights_unasked(w));
    const float *e = sd_weights_find(w, "encoder.weight")->data, *d = sd_weights_find(w, "decoder.weight")->data, *a = sd_weights_find(w, "nested.a")->data;
    for (int i = 0; i < 12; i++) assert_true(d[i % 4 * 3 + i / 4] == e[i]); /* a view by columns was put in order */
    assert_memory_equal(a, e + 4, 8 * sizeof *a);                           /* a view into the middle of a storage */
    assert_int_equal(*(const int64_t *)sd_weights_find(w, "k")->data, 5);
    t_ok(sd_weights_kv_u64(w, "nested.k", &k, &err), err);
    t_ok(sd_weights_kv_f64(w, "nested.f", &f, &err), err);
    t_ok(sd_weights_kv_str(w, "nested.name", &s, &err), err);
    assert_true(k == 32 && f == 0.5 && sd_slice_eq_str(s, "ReLU"));
    sd_weights_close(w);
    t_ok(open_one(&w, "module", &err), err); /* a parameter, and a module's state with its _metadata, protocol 4 */
    shape(w, "p", SD_F32, 3, 4);
    shape(w, "state.weight", SD_F32, 3, 2);
    sd_weights_close(w);
}

static void test_numpy(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_weights *w;
    t_ok(open_one(&w, "stored", &err), err);
    shape(w, "W_enc", SD_F32, 3, 4);
    shape(w, "b", SD_I64, 5, 0);
    shape(w, "s", SD_F32, 0, 0);
    shape(w, "h", SD_F16, 2, 2);
    sd_weights_close(w);
    t_ok(open_one(&w, "deflated", &err), err);
    shape(w, "W_enc", SD_F32, 40, 30);
    shape(w, "b", SD_F64, 5, 0);
    sd_weights_close(w);
}

static void refused(const char *name, sd_status want, const char *says)
{
    sd_err err = {0};
    sd_weights *w;
    const sd_status st = open_one(&w, name, &err);
    if (st != want || !strstr(err.msg, says)) fail_msg("%s: status %d: %s", name, st, err.msg);
}

static void test_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_weights *w;
    refused("call", SD_E_UNSUPPORTED, "posix.system; nothing but tensors");
    refused("loop", SD_E_FORMAT, "nests dictionaries too deep");
    refused("spread", SD_E_FORMAT, "spreads a storage");
    refused("liar", SD_E_FORMAT, "bytes from");
    refused("overlap", SD_E_FORMAT, "members claim more than"); /* forty members that unpack the same 4 kB to 4 MB each */
    refused("copies", SD_E_FORMAT, "twice the bytes in the file"); /* one storage as 2,000 tensors by columns: 33 MB from 30 kB */
    refused("skipped", SD_E_FORMAT, "more than 65,536 entries");   /* a dictionary of 200 Nones under 600 names */
    /* A model is never read this way: only who asks for arrays gets them. */
    assert_int_equal(sd_weights_open(&w, "tests/data/fuzz/fuzz_archive/state", &err), SD_E_FORMAT);
    assert_non_null(strstr(err.hint, "pickle"));
}

/* Pickles by hand, each in an archive of one stored member. */
static sd_status open_pickle(const char *code, size_t n, sd_err *err)
{
    uint8_t b[512] = {0};
    const char name[] = "a/data.pkl";
    size_t at = 0, nn = sizeof name - 1;
    sd_weights *w = NULL;
    const uint8_t local[30] = {'P', 'K', 3, 4, 20, 0, [18] = (uint8_t)n, [22] = (uint8_t)n, [26] = (uint8_t)nn};
    const uint8_t central[46] = {'P', 'K', 1, 2, 20, 0, 20, 0, [20] = (uint8_t)n, [24] = (uint8_t)n, [28] = (uint8_t)nn};
    memcpy(b, local, 30), memcpy(b + 30, name, nn), memcpy(b + 30 + nn, code, n);
    at = 30 + nn + n;
    const size_t dir = at;
    memcpy(b + at, central, 46), memcpy(b + at + 46, name, nn);
    at += 46 + nn;
    const uint8_t end[22] = {'P', 'K', 5, 6, [8] = 1, [10] = 1, [12] = (uint8_t)(at - dir), [16] = (uint8_t)dir};
    memcpy(b + at, end, 22);
    const sd_status st = sd_weights_open_bytes(&w, b, at + 22, "x.pt", &(sd_weights_opt){.arrays = true}, err);
    if (!st) sd_weights_close(w);
    return st;
}

static void test_pickles(void **state)
{
    (void)state;
    static const struct { const char *code; size_t n; sd_status want; const char *says; } table[] = {
#define CODE(s) s, sizeof(s) - 1
        {CODE("\x80\x02}."), SD_OK, ""},
        {CODE("\x80\x02]."), SD_E_FORMAT, "no dictionary"},
        {CODE("\x80\x02}"), SD_E_FORMAT, "ends early"},
        {CODE("\x80\x02R."), SD_E_FORMAT, "empty stack"},
        {CODE("\x80\x02(."), SD_E_FORMAT, "no dictionary"},
        {CODE("\x80\x02h\x07."), SD_E_FORMAT, "never kept"},
        {CODE("\x80\x02}X\xff\xff\xff\x7f."), SD_E_FORMAT, "ends early"},
        {CODE("\x80\x02" "cos\nsystem\n."), SD_E_UNSUPPORTED, "os.system"},
        {CODE("\x80\x04\x8c\x02os\x8c\x06system\x93."), SD_E_UNSUPPORTED, "os.system"},
        {CODE("\x80\x02" "ctorch\nFloatStorage\n)R."), SD_E_UNSUPPORTED, "torch.FloatStorage"},
        {CODE("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R."), SD_E_FORMAT, "from something that is none"},
        {CODE("\x80\x02" "ccollections\nOrderedDict\n]\x85R."), SD_E_FORMAT, "of something"},
        {CODE("\x80\x02}\x81."), SD_E_UNSUPPORTED, "0x81"},   /* NEWOBJ */
        {CODE("\x80\x02}\x82\x01."), SD_E_UNSUPPORTED, "0x82"}, /* EXT1 */
        {CODE("I1\n."), SD_E_UNSUPPORTED, "0x49"},
        {CODE("\x80\x02NQ."), SD_E_FORMAT, "unknown way"},
        {CODE("\x80\x02](K\x01u."), SD_E_FORMAT, "fills"},
        {CODE("\x80\x02}(K\x01u."), SD_E_FORMAT, "fills"},
        {CODE("\x80\x02N}b."), SD_E_FORMAT, "no dictionary"},
        {CODE("\x80\x02\x8a\x09" "123456789."), SD_E_FORMAT, "64 bits"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        sd_err err = {0};
        const sd_status st = open_pickle(table[i].code, table[i].n, &err);
        if (st != table[i].want || !strstr(err.msg, table[i].says)) fail_msg("pickle %zu: status %d: %s", i, st, err.msg);
    }
}

/* What zlib gives for nothing, and nothing at all: both are an empty member. */
static void test_empty_member(void **state)
{
    (void)state;
    for (int packed = 0; packed <= 2; packed += 2) {
        sd_err err = {0};
        sd_zip z;
        const uint8_t *p;
        void *owned;
        uint8_t b[160] = {'P', 'K', 3, 4, 20, 0, 0, 0, 8, 0, [18] = (uint8_t)packed, [26] = 1, [30] = 'a', 3, 0};
        const size_t dir = 31 + (size_t)packed;
        const uint8_t central[47] = {'P', 'K', 1, 2, 20, 0, 20, 0, 0, 0, 8, 0, [20] = (uint8_t)packed, [28] = 1, [46] = 'a'};
        const uint8_t end[22] = {'P', 'K', 5, 6, [8] = 1, [10] = 1, [12] = 47, [16] = (uint8_t)dir};
        memcpy(b + dir, central, 47), memcpy(b + dir + 47, end, 22);
        t_ok(sd_zip_open(&z, b, dir + 47 + 22, "x.zip", &err), err);
        assert_non_null(sd_zip_find(&z, "a"));
        assert_null(sd_zip_find(&z, "b"));
        t_ok(sd_zip_bytes(sd_zip_find(&z, "a"), 10, &p, &owned, "x.zip", &err), err);
        assert_int_equal(sd_zip_find(&z, "a")->n, 0);
        sd_free(owned);
        sd_zip_release(&z);
    }
}

/* A member's CRC-32 in the directory stands 30 bytes before its name: APPNOTE 4.3.12. */
static uint8_t *crc_of(const sd_zip_member *m) { return (uint8_t *)(uintptr_t)m->name.p - 30; }

/* A bit that turned on a disk: the numbers would be wrong and nothing else. A writer that takes no CRC-32 says 0. */
static void test_changed_bytes(void **state)
{
    (void)state;
    static const struct { const char *file, *member; } table[] = {{"state", "/data/0"}, {"state", "/data.pkl"}, {"stored", ".npy"}, {"deflated", ".npy"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        sd_err err = {0};
        sd_weights *w = NULL;
        sd_zip z;
        sd_map map;
        char path[256];
        snprintf(path, sizeof path, "tests/data/fuzz/fuzz_archive/%s", table[i].file);
        t_ok(sd_map_open(&map, path, &err), err);
        const size_t n = map.n;
        void *b = sd_malloc(n);
        memcpy(b, map.p, n);
        sd_map_close(&map);
        t_ok(sd_zip_open(&z, b, n, path, &err), err);
        int64_t at = 0;
        while (at < z.n && !(z.v[at].n && sd_slice_ends(z.v[at].name, table[i].member))) at++;
        assert_true(at < z.n);
        sd_zip_member *m = &z.v[at];
        uint8_t *crc = crc_of(m), *byte = (uint8_t *)(uintptr_t)m->p + m->packed / 2;
        assert_int_equal(m->crc, (uint32_t)crc[0] | (uint32_t)crc[1] << 8 | (uint32_t)crc[2] << 16 | (uint32_t)crc[3] << 24);
        const uint8_t *p;
        void *owned;
        t_ok(sd_zip_bytes(m, m->n, &p, &owned, path, &err), err);
        sd_free(owned);
        m->checked = false;
        *crc ^= 1;
        m->crc ^= 1;
        assert_int_equal(sd_zip_bytes(m, m->n, &p, &owned, path, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, "was changed after it was written"));
        assert_int_equal(sd_weights_open_bytes(&w, b, n, path, &(sd_weights_opt){.arrays = true}, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, "CRC-32"));
        *crc ^= 1;
        *byte ^= 16;
        assert_int_equal(sd_weights_open_bytes(&w, b, n, path, &(sd_weights_opt){.arrays = true}, &err), SD_E_FORMAT);
        *byte ^= 16;
        memset(crc, 0, 4);
        t_ok(sd_weights_open_bytes(&w, b, n, path, &(sd_weights_opt){.arrays = true}, &err), err);
        sd_weights_close(w);
        sd_zip_release(&z);
        sd_free(b);
    }
}

static void test_yaml(void **state)
{
    (void)state;
    sd_err err = {0};
    json_t *j;
    const char good[] = "a: 1\nb: [x, 'y: z', {c: null}]\n", twice[] = "a: 1\na: 2\n", alias[] = "a: &n 1\nb: *n\n";
    t_ok(sd_yaml_parse(&j, good, sizeof good - 1, "g.yaml", &err), err);
    assert_string_equal(json_string_value(json_object_get(j, "a")), "1");
    const json_t *b = json_object_get(j, "b");
    assert_int_equal(json_array_size(b), 3);
    assert_string_equal(json_string_value(json_array_get(b, 1)), "y: z");
    assert_true(json_is_null(json_object_get(json_array_get(b, 2), "c")));
    json_decref(j);
    assert_int_equal(sd_yaml_parse(&j, twice, sizeof twice - 1, "t.yaml", &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "line 2: a key comes twice"));
    assert_int_equal(sd_yaml_parse(&j, alias, sizeof alias - 1, "t.yaml", &err), SD_E_FORMAT);
    assert_int_equal(sd_yaml_parse(&j, "", 0, "t.yaml", &err), SD_E_FORMAT);
    assert_int_equal(sd_yaml_parse(&j, "[1, 2", 5, "t.yaml", &err), SD_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_torch), cmocka_unit_test(test_numpy), cmocka_unit_test(test_refused), cmocka_unit_test(test_pickles), cmocka_unit_test(test_empty_member), cmocka_unit_test(test_changed_bytes), cmocka_unit_test(test_yaml)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

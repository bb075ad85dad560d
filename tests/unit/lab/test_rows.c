#include "t.h"
#include "lab/rows.h"

static void put(sd_rows *r, const int32_t (*v)[3], int n)
{
    sd_err err = {0};
    for (int i = 0; i < n; i++) t_ok(sd_rows_put(r, &v[i][0], &v[i][1], &v[i][2], 1, &err), err);
}

static void order_as_it_comes_is_kept(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_rows r = {0};
    const int32_t v[][3] = {{1, 9, 0}, {2, 9, 1}, {3, 9, 5}, {4, 2, 3}, {5, 2, 4}, {6, 30, 0}};
    put(&r, v, 6);
    t_ok(sd_rows_finish(&r, &err), err);
    assert_null(r.place);
    assert_int_equal(r.n_docs, 3);
    for (int i = 0; i < 6; i++) assert_int_equal(r.token[i], i + 1);
    sd_rows_release(&r);
}

static void mixed_documents_are_sorted(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_rows r = {0};
    const int32_t v[][3] = {{1, 9, 0}, {2, 2, 3}, {3, 9, 1}, {4, 2, 4}, {5, 9, 2}};
    const int32_t token[] = {2, 4, 1, 3, 5};
    const uint32_t place[] = {2, 0, 3, 1, 4};
    put(&r, v, 5);
    t_ok(sd_rows_finish(&r, &err), err);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(r.token[i], token[i]);
        assert_int_equal(r.place[i], place[i]);
    }
    assert_int_equal(r.n_docs, 2);
    sd_rows_release(&r);
}

static void lies_are_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_rows r = {0};
    const int32_t twice[][3] = {{1, 9, 0}, {2, 9, 1}, {3, 9, 1}}, bad[][3] = {{-1, 0, 0}, {0, -1, 0}, {0, 0, -1}, {0, 0, INT32_MAX}};
    put(&r, twice, 3);
    assert_int_equal(sd_rows_finish(&r, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "document 9, position 1 twice"));
    sd_rows_release(&r);
    for (int i = 0; i < 4; i++) assert_int_equal(sd_rows_put(&r, &bad[i][0], &bad[i][1], &bad[i][2], 1, &err), SD_E_FORMAT);
    sd_rows_release(&r);
}

static void windows_stay_in_their_document(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_rows r = {0};
    int64_t a, b;
    for (int32_t d = 0; d < 3; d++)
        for (int32_t p = 0; p < 10; p++) {
            if (d == 1 && p == 4) continue; /* a position without a row */
            const int32_t v[1][3] = {{d * 10 + p, d, p}};
            put(&r, v, 1);
        }
    t_ok(sd_rows_finish(&r, &err), err);
    sd_rows_window(&r, 11, 3, 2, &a, &b); /* document 1, position 1 */
    assert_int_equal(a, 10);
    assert_int_equal(b, 14);
    sd_rows_window(&r, 14, 3, 2, &a, &b); /* position 5: the gap takes a place, not a row */
    assert_int_equal(r.pos[14], 5);
    assert_int_equal(r.pos[a], 2);
    assert_int_equal(r.pos[b - 1], 7);
    sd_rows_window(&r, 28, 300, 300, &a, &b);
    assert_int_equal(a, 19);
    assert_int_equal(b, 29);
    sd_rows_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(order_as_it_comes_is_kept), T(mixed_documents_are_sorted), T(lies_are_refused),
                                       T(windows_stay_in_their_document)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

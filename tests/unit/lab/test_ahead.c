/* learn_ahead: rows and places are those of the source, whoever is faster; seek starts anew; an error comes after what was read before it. */
#include "t.h"

#include "lab/learn_ahead.h"

enum { D = 3, ROWS = 100, BLOCK = 7 };

typedef struct numbers { float x[BLOCK * D]; int32_t id[BLOCK]; int64_t row, fail_at; } numbers; /* row r is r, r + 0.25, r + 0.5 */

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    numbers *s = self;
    const int64_t n = ROWS - s->row < BLOCK ? ROWS - s->row : BLOCK;
    if (s->fail_at >= 0 && s->row >= s->fail_at) return sd_fail(err, SD_E_FORMAT, "row %lld is broken", (long long)s->row);
    for (int64_t i = 0; i < n; i++) {
        s->id[i] = (int32_t)(s->row + i);
        for (int j = 0; j < D; j++) s->x[i * D + j] = (float)(s->row + i) + 0.25f * (float)j;
    }
    s->row += n;
    *out = (sd_act_block){sd_mat_of(s->x, n, D), s->id, s->id, s->id};
    return SD_OK;
}
static int64_t tell(void *self) { return ((numbers *)self)->row; }
static sd_status seek(void *self, int64_t row, sd_err *err)
{
    (void)err;
    ((numbers *)self)->row = row;
    return SD_OK;
}

static void expect(const sd_act_source *s, int64_t from, int64_t to)
{
    sd_act_block b;
    sd_err err = {0};
    for (int64_t at = from; at < to;) {
        t_ok(s->next(s->self, &b, &err), err);
        assert_true(b.x.rows > 0 && b.x.cols == D);
        for (int64_t i = 0; i < b.x.rows; i++, at++) {
            assert_int_equal(b.token_id[i], at);
            assert_int_equal(b.pos[i], at);
            assert_true(sd_mat_row(b.x, i)[2] == (float)at + 0.5f);
        }
        assert_int_equal(s->tell(s->self), at);
    }
}

static void test_rows(void **state)
{
    (void)state;
    numbers n = {.fail_at = -1};
    sd_ahead *a;
    sd_act_block b;
    sd_err err = {0};
    t_ok(sd_ahead_new(&a, (sd_act_source){&n, D, next, tell, seek}, &err), err);
    const sd_act_source s = sd_ahead_source(a);
    for (int round = 0; round < 200; round++) { /* some seeks meet the thread while it reads */
        const int64_t from = round * 13 % ROWS;
        t_ok(s.seek(s.self, from, &err), err);
        assert_int_equal(s.tell(s.self), from);
        expect(&s, from, round % 3 ? from + 1 : ROWS);
        if (round % 3 == 0) {
            t_ok(s.next(s.self, &b, &err), err);
            assert_int_equal(b.x.rows, 0); /* the end stays the end */
            t_ok(s.next(s.self, &b, &err), err);
            assert_int_equal(b.x.rows, 0);
        }
    }
    sd_ahead_free(a);
}

static void test_error(void **state)
{
    (void)state;
    numbers n = {.fail_at = 35};
    sd_ahead *a;
    sd_act_block b;
    sd_err err = {0};
    t_ok(sd_ahead_new(&a, (sd_act_source){&n, D, next, tell, seek}, &err), err);
    const sd_act_source s = sd_ahead_source(a);
    expect(&s, 0, 35);
    assert_int_equal(s.next(s.self, &b, &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "row 35 is broken");
    t_ok(s.seek(s.self, 0, &err), err); /* and can be tried again */
    expect(&s, 0, 28);
    sd_ahead_free(a); /* while blocks wait */
    sd_ahead_free(NULL);
}

static const struct CMUnitTest tests[] = {T(test_rows), T(test_error)};
T_MAIN(tests)

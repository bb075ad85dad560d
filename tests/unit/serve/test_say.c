/* What a client may be sent already: whole characters only, nothing that could be the beginning of a stop string, and in the end the same
 * bytes whatever the cuts between tokens. */
#include "t.h"

#include "serve/say.h"

static void put(sd_say *s, const char *bytes, size_t n, const char *want)
{
    sd_buf out;
    sd_buf_init(&out, 1 << 16);
    sd_say_put(s, (sd_slice){bytes, n}, &out);
    assert_string_equal(sd_buf_str(&out), want);
    sd_buf_release(&out);
}

static void end(sd_say *s, const char *want)
{
    sd_buf out;
    sd_buf_init(&out, 1 << 16);
    sd_say_end(s, &out);
    assert_string_equal(sd_buf_str(&out), want);
    sd_buf_release(&out);
    sd_say_release(s);
}

static void test_characters_stay_whole(void **state)
{
    sd_say s;
    (void)state;
    sd_say_init(&s);
    put(&s, "a\xe2", 2, "a");
    put(&s, "\x82", 1, "");
    put(&s, "\xac!", 2, "\xe2\x82\xac!");
    put(&s, "\xf0\x9f\x98", 3, "");
    put(&s, "\x80", 1, "\xf0\x9f\x98\x80");
    put(&s, "\xff" "b", 2, "\xef\xbf\xbd" "b");
    put(&s, "\xc3", 1, "");
    end(&s, "\xef\xbf\xbd");
}

static void test_stop_string_over_tokens(void **state)
{
    sd_say s;
    (void)state;
    sd_say_init(&s);
    s.stop[0] = SD_LIT("\n\nQ:");
    s.stop[1] = SD_LIT("END");
    s.n_stop = 2;
    put(&s, "one\n", 4, "one");
    put(&s, "two\n\n", 5, "\ntwo");
    put(&s, "E", 1, "\n\n");
    put(&s, "Nd EN", 5, "ENd ");
    put(&s, "DING", 4, "");
    assert_true(s.stopped);
    put(&s, "more", 4, "");
    end(&s, "");
}

static void test_earliest_stop_wins(void **state)
{
    sd_say s;
    (void)state;
    sd_say_init(&s);
    s.stop[0] = SD_LIT("cd");
    s.stop[1] = SD_LIT("bcd");
    s.n_stop = 2;
    put(&s, "abcde", 5, "a");
    assert_true(s.stopped);
    end(&s, "");
}

static void test_what_was_held_comes_out(void **state)
{
    sd_say s;
    (void)state;
    sd_say_init(&s);
    s.stop[0] = SD_LIT("</end>");
    s.n_stop = 1;
    put(&s, "x</en", 5, "x");
    end(&s, "</en");
}

/* Every way to cut a text in two or three gives the text. */
static void test_all_cuts(void **state)
{
    static const char text[] = "a\xc3\xa9<\xe2\x82\xac><stop\xf0\x9f\x98\x80 b";
    size_t n = sizeof text - 1;
    (void)state;
    for (size_t a = 0; a <= n; a++)
        for (size_t b = a; b <= n; b++) {
            sd_say s;
            sd_buf out;
            sd_say_init(&s);
            sd_buf_init(&out, 1 << 16);
            s.stop[0] = SD_LIT("<stop>");
            s.n_stop = 1;
            const size_t cut[4] = {0, a, b, n};
            for (int i = 0; i < 3; i++) {
                assert_true(sd_say_put(&s, (sd_slice){text + cut[i], cut[i + 1] - cut[i]}, &out));
                assert_int_equal(sd_utf8_valid_prefix((sd_slice){out.p ? out.p : "", out.n}), out.n);
            }
            sd_say_end(&s, &out);
            assert_string_equal(sd_buf_str(&out), text);
            sd_buf_release(&out);
            sd_say_release(&s);
        }
}

static const struct CMUnitTest tests[] = {T(test_characters_stay_whole), T(test_stop_string_over_tokens), T(test_earliest_stop_wins),
                                          T(test_what_was_held_comes_out), T(test_all_cuts)};
T_MAIN(tests)

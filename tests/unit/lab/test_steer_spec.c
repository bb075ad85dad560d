/* The steer spec: what is read, what is refused and with which words, and that writing gives back what was read. */
#include "t.h"
#include "lab/steer.h"

#include <math.h>

static sd_status parse(sd_steer_spec *s, const char *text, sd_err *err) { return sd_steer_spec_parse(s, sd_slice_of(text), err); }

static void reads_a_feature(void **state)
{
    (void)state;
    sd_steer_spec s;
    sd_err err = {0};
    t_ok(parse(&s, "{\"feature\":{\"dict\":\"d\",\"index\":7},\"value\":0.5}", &err), err);
    assert_string_equal(s.dict, "d");
    assert_int_equal(s.feature, 7);
    assert_int_equal(s.op, SD_STEER_ADD);
    assert_int_equal(s.unit, SD_UNIT_RMS);
    assert_int_equal(s.positions, SD_POS_ALL);
    assert_false(s.special);
    assert_false(s.has_site);
    assert_true(s.value == 0.5);
    sd_steer_spec_release(&s);
}

static void reads_a_vector_with_everything(void **state)
{
    (void)state;
    sd_steer_spec s;
    sd_err err = {0};
    t_ok(parse(&s, "{\"vector\":[1,-2.5,0],\"site\":\"blocks.3.hook_resid_post\",\"op\":\"cap\",\"min\":-1,\"unit\":\"raw\",\"positions\":[0,4,9],\"special\":true}", &err), err);
    assert_int_equal(s.n_vector, 3);
    assert_true(s.vector[1] == -2.5f);
    assert_int_equal(s.site.kind, SD_SITE_RESID_POST);
    assert_int_equal(s.site.layer, 3);
    assert_true(s.min == -1 && isinf(s.max));
    assert_int_equal(s.n_list, 3);
    assert_int_equal(s.list[2], 9);
    assert_true(s.special);
    sd_steer_spec_release(&s);
}

static void writing_gives_back_what_was_read(void **state)
{
    (void)state;
    static const char *const text[] = {
        "{\"feature\":{\"dict\":\"d\",\"index\":7},\"op\":\"add\",\"value\":0.5,\"unit\":\"max_act\",\"positions\":\"generated\",\"special\":false}",
        "{\"vector\":[0.1,2],\"site\":\"resid_post.3\",\"op\":\"cap\",\"min\":-1,\"max\":2.5,\"unit\":\"raw\",\"positions\":[1,2],\"special\":true}",
        "{\"vector\":[0.1,2],\"site\":\"resid_post.3\",\"op\":\"ablate\",\"unit\":\"rms\",\"positions\":\"last\",\"special\":false}",
        "{\"vector\":[1],\"site\":\"resid_post.3\",\"op\":\"add\",\"value\":1,\"unit\":\"raw\",\"positions\":\"all\",\"special\":false,"
        "\"when\":{\"feature\":{\"dict\":\"d\",\"index\":3},\"unit\":\"max_act\",\"gt\":0.25,\"lt\":2,\"hold\":true}}",
        "{\"direction\":\"no\",\"op\":\"add\",\"value\":1,\"unit\":\"std\",\"positions\":\"all\",\"special\":false,"
        "\"when\":{\"vector\":[1,2],\"site\":\"embed\",\"unit\":\"raw\",\"lt\":-1,\"hold\":false}}",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        sd_steer_spec s;
        sd_err err = {0};
        sd_buf b;
        sd_jw w;
        t_ok(parse(&s, text[i], &err), err);
        sd_buf_init(&b, 1 << 16);
        sd_jw_init(&w, &b);
        sd_steer_spec_write(&w, &s);
        assert_string_equal(sd_buf_str(&b), text[i]);
        sd_buf_release(&b);
        sd_steer_spec_release(&s);
    }
}

static void refuses_with_the_key_in_the_sentence(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } bad[] = {
        {"", "steer"},
        {"[]", "one JSON object"},
        {"{}", "one of feature, direction and vector"},
        {"{\"feature\":{\"dict\":\"d\",\"index\":7}}", "needs a value"},
        {"{\"feature\":{\"dict\":\"d\",\"index\":-1},\"value\":1}", "negative"},
        {"{\"feature\":{\"dict\":\"d\"},\"value\":1}", "index"},
        {"{\"feature\":{\"dict\":\"d\",\"index\":1,\"x\":2},\"value\":1}", "besides"},
        {"{\"feature\":7,\"value\":1}", "feature is"},
        {"{\"vector\":[],\"site\":\"resid_post.1\",\"value\":1}", "array of numbers"},
        {"{\"vector\":[1,\"a\"],\"site\":\"resid_post.1\",\"value\":1}", "vector[1]"},
        {"{\"vector\":[1e300],\"site\":\"resid_post.1\",\"value\":1}", "vector[0]"},
        {"{\"vector\":[1],\"value\":1}", "needs a site"},
        {"{\"vector\":[1],\"site\":\"nowhere.1\",\"value\":1}", "nowhere"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"op\":\"double\",\"value\":1}", "\"double\""},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"unit\":\"percent\",\"value\":1}", "\"percent\""},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"positions\":\"odd\",\"value\":1}", "\"odd\""},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"positions\":[3,2],\"value\":1}", "ascending"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"positions\":[-1],\"value\":1}", "from 0"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"op\":\"ablate\",\"value\":1}", "takes no value"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"op\":\"cap\"}", "needs min"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"op\":\"cap\",\"min\":2,\"max\":1}", "above max"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"op\":\"cap\",\"min\":2,\"value\":1}", "not value"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"min\":2,\"value\":1}", "belong to cap"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"strength\":2}", "\"strength\""},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":\"1\"}", "value is no finite number"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"special\":1}", "special"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"value\":2}", "steer"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":2}", "when is"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"vector\":[1],\"site\":\"embed\"}}", "needs gt, lt"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"vector\":[1],\"gt\":1}}", "needs a site"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"gt\":1}}", "when has one of"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"direction\":\"a\",\"gt\":1,\"lt\":1}}", "above 1 and below 1"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"direction\":\"a\",\"gt\":1,\"unit\":\"max_act\"}}", "a feature's"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"direction\":\"a\",\"gt\":1,\"hold\":1}}", "when.hold"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"direction\":\"a\",\"gt\":1,\"monitor\":\"x\"}}", "where a server keeps it"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"direction\":\"a\",\"gt\":1,\"watch\":1}}", "when: unknown key"},
        {"{\"vector\":[1],\"site\":\"resid_post.1\",\"value\":1,\"when\":{\"vector\":[1,\"a\"],\"site\":\"embed\",\"gt\":1}}", "vector[1]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sd_steer_spec s;
        sd_err err = {0};
        sd_status st = parse(&s, bad[i].text, &err);
        if (st != SD_E_ARG || err.code != SD_E_ARG || !strstr(err.msg, bad[i].says)) fail_msg("%s: status %d, \"%s\"", bad[i].text, st, err.msg);
        assert_null(s.vector);
        assert_null(s.list);
        assert_null(s.when);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(reads_a_feature), T(reads_a_vector_with_everything), T(writing_gives_back_what_was_read),
                                       T(refuses_with_the_key_in_the_sentence)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

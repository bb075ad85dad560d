/* Stored directions: round trip, who may read them, names, and what the guard refuses. */
#include "lab/direction_file.h"

#include "base/map.h"
#include "t.h"

#include <sys/stat.h>

static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static float refusal[4] = {1, 2, 0, -1}, other[4] = {0, 0, 1, 0};

static void save(const char *dir, const char *name, const char *kind, float *v)
{
    sd_direction_file f = {.position = -2, .layer = 7, .d = 4, .vector = v, .bypass = -4.5, .induce = 1.25, .kl = 0.03, .auroc = 1, .norm = 2.5};
    sd_err err = {0};
    snprintf(f.name, sizeof f.name, "%s", name);
    snprintf(f.kind, sizeof f.kind, "%s", kind);
    snprintf(f.model_sha256, sizeof f.model_sha256, "%s", sha);
    t_ok(sd_direction_save(&f, dir, false, &err), err);
    assert_int_equal(sd_direction_save(&f, dir, false, &err), SD_E_ARG);
    t_ok(sd_direction_save(&f, dir, true, &err), err);
}

static void kept_for_the_owner_alone(void **state)
{
    const char *dir = t_tmpdir();
    char path[600];
    struct stat st;
    sd_direction_file f;
    sd_err err = {0};
    (void)state;
    save(dir, "no-1", "refusal", refusal);
    snprintf(path, sizeof path, "%s/directions/%s/no-1.json", dir, sha);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    t_ok(sd_direction_load(&f, dir, sha, "no-1", 4, &err), err);
    assert_memory_equal(f.vector, refusal, sizeof refusal);
    assert_true(f.layer == 7 && f.position == -2 && f.bypass == -4.5 && f.norm == 2.5);
    sd_direction_file_release(&f);
    assert_int_equal(sd_direction_load(&f, dir, sha, "no-1", 5, &err), SD_E_SHAPE);
    assert_int_equal(sd_direction_load(&f, dir, sha, "no-2", 4, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.hint, "no-1"));
    assert_int_equal(sd_direction_load(&f, dir, sha, "../no-1", 4, &err), SD_E_ARG);
    assert_int_equal(sd_direction_name_check("", &err), SD_E_ARG);
    assert_int_equal(sd_direction_name_check(".x", &err), SD_E_ARG);
    t_rmtree(dir);
}

typedef struct guard_case { const char *spec; bool refused; } guard_case;

static void refusal_is_not_pushed_down(void **state)
{
    static const guard_case c[] = {
        {"{\"direction\":\"no\",\"op\":\"ablate\"}", true},
        {"{\"direction\":\"no\",\"op\":\"scale\",\"value\":0.5}", true},
        {"{\"direction\":\"no\",\"op\":\"scale\",\"value\":1.5}", false},
        {"{\"direction\":\"no\",\"value\":-1,\"unit\":\"raw\"}", true},
        {"{\"direction\":\"no\",\"value\":1,\"unit\":\"raw\"}", false},
        {"{\"direction\":\"no\",\"op\":\"cap\",\"max\":1,\"unit\":\"raw\"}", true},
        {"{\"direction\":\"no\",\"op\":\"clamp\",\"value\":9,\"unit\":\"raw\"}", true},
        {"{\"vector\":[-1,-2,0,1],\"site\":\"resid_pre.3\",\"value\":1,\"unit\":\"raw\"}", true}, /* the other way round */
        {"{\"vector\":[1,0,0,0],\"site\":\"resid_pre.3\",\"op\":\"ablate\"}", false},            /* cosine 0.41 */
        {"{\"vector\":[1,1,0,0],\"site\":\"resid_pre.3\",\"op\":\"ablate\"}", true},             /* cosine 0.87 */
        {"{\"direction\":\"french\",\"op\":\"ablate\"}", false},
    };
    const char *dir = t_tmpdir();
    sd_err err = {0};
    (void)state;
    save(dir, "no", "refusal", refusal);
    save(dir, "french", "concept", other);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        sd_steer_spec s;
        t_ok(sd_steer_spec_parse(&s, sd_slice_of(c[i].spec), &err), err);
        t_ok(sd_direction_resolve(&s, dir, sha, 4, &err), err);
        assert_true(s.has_site && s.n_vector == 4);
        sd_status st = sd_direction_guard(&s, s.vector, s.n_vector, dir, sha, &err);
        if (st != (c[i].refused ? SD_E_ARG : SD_OK)) fail_msg("%s: status %d", c[i].spec, (int)st);
        sd_steer_spec_release(&s);
    }
    /* a file that cannot be read is no gap in the guard */
    char path[600];
    snprintf(path, sizeof path, "%s/directions/%s/no.json", dir, sha);
    t_ok(sd_file_write_atomic(path, "{", 1, &err), err);
    sd_steer_spec s;
    t_ok(sd_steer_spec_parse(&s, sd_slice_of(c[9].spec), &err), err);
    assert_int_not_equal(sd_direction_guard(&s, s.vector, 4, dir, sha, &err), SD_OK);
    sd_steer_spec_release(&s);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(kept_for_the_owner_alone), T(refusal_is_not_pushed_down)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

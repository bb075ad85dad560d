/* Stores of a server: a feature is answered while a search runs and a search while features are read, and both see a label that was given. */
#include "../store/store_sample.h"
#include "tiny_server.h"

#include <signal.h>
#include <unistd.h>

static tiny_server t;
static char path[512], dir[64];

static int setup(void **state)
{
    sd_err err = {0};
    (void)state;
    alarm(120); /* a wrong lock is waited for until the end of days */
    snprintf(dir, sizeof dir, "%s", t_tmpdir());
    snprintf(path, sizeof path, "%s", sample_path(dir));
    t_ok(sample_build(path, false, &err), err);
    tiny_server_open(&t, 2, 4);
    static const char *list[1];
    list[0] = path;
    sd_registry__close(&t.s);
    t.s.opt.store = list;
    t.s.opt.n_store = 1;
    t_ok(sd_registry__open(&t.s, &err), err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tiny_server_close(&t);
    t_rmtree(dir);
    return 0;
}

static int64_t ask(const char *what, const char *body)
{
    char url[256];
    json_t *j;
    snprintf(url, sizeof url, "/sonde/v1/features/%s%s", t.s.store[0].name, what);
    assert_int_equal(tiny_ask_json(&t, url, body, &j), 200);
    int64_t n = json_integer_value(json_object_get(j, "n_total"));
    json_decref(j);
    return n;
}

static void test_features_beside_a_search(void **state)
{
    sd_reg_store *r = &t.s.store[0];
    (void)state;
    pthread_mutex_lock(&r->search_lock); /* as a search does */
    ask("/3", NULL);
    assert_true(ask("", NULL) > 3);
    assert_true(ask("/3/near", NULL) > 0);
    pthread_mutex_unlock(&r->search_lock);
}

/* A server of its own: no request holds both locks, and ThreadSanitizer would see one thread take them in both orders. */
static void test_searches_beside_a_feature(void **state)
{
    sd_reg_store *r = &t.s.store[0];
    (void)state;
    pthread_mutex_lock(&r->lock); /* as reading features does */
    ask("?q=anything", NULL);
    ask("?q=anything&by=passages", NULL);
    ask("/3/near?by=coactivation", NULL);
    char in[256];
    json_t *j;
    snprintf(in, sizeof in, "/sonde/v1/features/%s/3/near?in=%s", r->name, r->name);
    assert_int_equal(tiny_ask_json(&t, in, NULL, &j), 404); /* it has no directions: what counts is that the answer comes */
    json_decref(j);
    pthread_mutex_unlock(&r->lock);
}

static void test_search_finds_a_label(void **state)
{
    (void)state;
    assert_int_equal(ask("?q=zeppelin", NULL), 0); /* its reader is open now */
    ask("/3/label", "{\"text\":\"a zeppelin\"}");
    assert_int_equal(ask("?q=zeppelin", NULL), 1);
}

/* Longer than one try: the label is written when the other process has ended, and features are answered meanwhile. */
static void test_a_label_waits_for_readers(void **state)
{
    (void)state;
    assert_int_equal(ask("?q=gondola", NULL), 0);
    pid_t pid = sample_reader(path, 1500);
    ask("/4/label", "{\"text\":\"a gondola\"}");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ask("?q=gondola", NULL), 1);
}

/* Another process writes: that is no fault of the request's and no limit of its rate. */
static void test_a_store_in_use(void **state)
{
    char url[256];
    json_t *j;
    (void)state;
    snprintf(url, sizeof url, "/sonde/v1/features/%s/3", t.s.store[0].name);
    pid_t pid = sample_holder(path, F_WRLCK, 60000);
    assert_int_equal(tiny_ask_json(&t, url, NULL, &j), 503);
    const json_t *e = json_object_get(j, "error");
    assert_string_equal(json_string_value(json_object_get(e, "type")), "unavailable_error");
    assert_true(json_is_null(json_object_get(e, "code")));
    json_decref(j);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(tiny_ask_json(&t, url, NULL, &j), 200);
    json_decref(j);
}

/* Who is elsewhere learns the names of files, not the folders they lie in. */
static void test_folders_are_hidden(void **state)
{
    sd_err e = {0};
    static const char *runs[1] = {"/srv/runs/"};
    (void)state;
    t.s.opt.run = runs, t.s.opt.n_run = 1;
    sd_fail(&e, SD_E_STORE, "%s: it is damaged, says %s; /srv/runs/a/events.jsonl", path, path);
    sd_hint(&e, "build %s again", path);
    sd_registry__hide_folders(&t.s, &e);
    assert_string_equal(e.msg, "features.db: it is damaged, says features.db; runs/a/events.jsonl");
    assert_string_equal(e.hint, "build features.db again");
    t.s.opt.n_run = 0;
}

/* What a search does not look at is refused: a list that looks filtered and is not would be worse. */
static void test_search_takes_no_filters(void **state)
{
    static const char *const key[] = {"sort", "offset", "min_density", "max_density", "min_label_score"};
    (void)state;
    for (int i = 0; i < 5; i++) {
        char url[128];
        json_t *j;
        for (int search = 0; search < 2; search++) {
            snprintf(url, sizeof url, "/sonde/v1/features/%s?%s%s=%s", t.s.store[0].name, search ? "q=word&" : "", key[i], i ? "0.5" : "index");
            if (i == 1) url[strlen(url) - 2] = 0; /* an integer */
            assert_int_equal(tiny_ask_json(&t, url, NULL, &j), search ? 400 : 200);
            if (search) assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "param")), key[i]);
            json_decref(j);
        }
    }
}

static atomic_bool told;

static void *doubt(void *arg)
{
    char text[400];
    (void)arg;
    sd_serve_doubt(&t.s, 0, text);
    atomic_store(&told, true);
    return NULL;
}

/* What is said at the start is read from stores that requests open anew: not while one has them. */
static void test_doubts_take_the_lock(void **state)
{
    pthread_t thread;
    (void)state;
    atomic_store(&told, false);
    pthread_mutex_lock(&t.s.store[0].lock);
    assert_int_equal(pthread_create(&thread, NULL, doubt, NULL), 0);
    usleep(100000);
    assert_false(atomic_load(&told));
    pthread_mutex_unlock(&t.s.store[0].lock);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&told));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_features_beside_a_search, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_searches_beside_a_feature, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_search_finds_a_label, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_a_label_waits_for_readers, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_doubts_take_the_lock, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_a_store_in_use, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_folders_are_hidden, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_search_takes_no_filters, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* A run's event file: what a resumed run keeps of it, and when it refuses. */
#include "t.h"

#include "base/map.h"
#include "lab/events.h"

static void line(sd_events *e, const char *text)
{
    sd_err err = {0};
    sd_buf b;
    sd_buf_init(&b, 1024);
    sd_buf_puts(&b, text);
    t_ok(sd_events_line(e, &b, &err), err);
    sd_buf_release(&b);
}

static void test_resume(void **state)
{
    (void)state;
    char path[512];
    sd_err err = {0};
    sd_events e;
    sd_buf b;
    snprintf(path, sizeof path, "%s/events.jsonl", t_tmpdir());
    t_ok(sd_events_open(&e, path, 0, &err), err);
    line(&e, "{\"a\":1}");
    int64_t checkpoint = e.n_bytes;
    line(&e, "{\"lost\":1}");
    sd_events_close(&e);
    t_ok(sd_events_open(&e, path, checkpoint, &err), err);
    line(&e, "{\"b\":2}");
    sd_events_close(&e);
    sd_buf_init(&b, 4096);
    t_ok(sd_file_read(&b, path, &err), err);
    assert_string_equal(sd_buf_str(&b), "{\"a\":1}\n{\"b\":2}\n");
    sd_buf_release(&b);
    /* A file shorter than the checkpoint says would be filled up with zero bytes. */
    assert_int_equal(sd_events_open(&e, path, 1000, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "16 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_resume)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

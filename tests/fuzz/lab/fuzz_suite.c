/* Any bytes as a suite, .csv, .jsonl or .json by the first byte, or as a record of an audit: refused with a sentence, or every prompt has an id, a text and
 * an axis, and every choice a right answer; a record can be compared with itself and shown. */
#include "lab/audit_report.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static void a_suite(const char *path)
{
    sd_suite s;
    sd_err err = {0};
    if (sd_suite_open(&s, path, &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    SD_ASSERT(s.n > 0);
    for (int64_t i = 0; i < s.n; i++) {
        const sd_prompt *p = &s.v[i];
        SD_ASSERT(p->id && p->text && p->text[0] && p->category && p->axis != SD_AXIS_UNKNOWN);
        SD_ASSERT(p->axis != SD_AXIS_CHOICE || (p->answer >= 0 && p->answer < p->n_choice));
    }
    sd_suite_sample(&s, s.n / 2, 1);
    sd_suite_release(&s);
}

static void a_record(const char *path)
{
    sd_audit_record r;
    sd_comparison c;
    sd_err err = {0};
    sd_buf b;
    if (sd_audit_record_read(&r, path, &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    if (sd_audit_compare(&c, &r, &r, NULL, 0, &err) == SD_OK) {
        sd_audit_record both[2] = {r, r};
        sd_audit_page p = {both, 2, &c, NULL, "x"};
        sd_buf_init(&b, 1 << 26);
        SD_ASSERT(sd_audit_write_html(&b, &p, &err) == SD_OK);
        SD_ASSERT(strstr(sd_buf_str(&b), "<script") == NULL);
        sd_buf_release(&b);
        sd_comparison_release(&c);
    }
    sd_audit_record_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const name[] = {"harmful.csv", "harmful.jsonl", "harmful.json", "record.json"};
    if (size == 0) return 0;
    int kind = data[0] % 4;
    const char *path = t_fuzz_write(name[kind], data + 1, size - 1);
    if (kind < 3) a_suite(path);
    else a_record(path);
    unlink(path);
    return 0;
}

T_FUZZ_MAIN("fuzz_suite")

/* Any bytes as one of the small files and answers that studies read, by the first byte: refused with a sentence, or what comes out is in its ranges. */
#include "base/map.h"
#include "base/mem.h"
#include "lab/audit_part.h"
#include "lab/damage_int.h"
#include "lab/direction_file.h"
#include "lab/judge_endpoint.h"
#include "lab/label_int.h"
#include "lab/label_rows.h"
#include "lab/np_json.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

#include <math.h>

static void direction(const uint8_t *p, size_t n)
{
    sd_direction_file f;
    sd_err err = {0};
    char dir[300];
    snprintf(dir, sizeof dir, "%s/directions/sha", t_fuzz_dir());
    if (sd_dir_make(dir, &err)) abort();
    (void)t_fuzz_write("directions/sha/x.json", p, n);
    if (sd_direction_load(&f, t_fuzz_dir(), "sha", "x", 0, &err)) {
        SD_ASSERT(err.msg[0] && !f.vector);
        return;
    }
    SD_ASSERT(f.d > 0 && isfinite(f.vector[f.d - 1]) && f.layer >= 0 && f.position <= 0);
    sd_direction_file_release(&f);
}

static void part(const uint8_t *p, size_t n)
{
    sd_audit_part a;
    sd_err err = {0};
    if (sd_audit_part_read(&a, t_fuzz_write("record.json.part", p, n), &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    const char *again = t_fuzz_write("again.part", p, 0);
    SD_ASSERT(sd_audit_part_write(again, &a, &err) == SD_OK);
    sd_audit_part_release(&a);
    SD_ASSERT(sd_audit_part_read(&a, again, &err) == SD_OK);
    sd_audit_part_release(&a);
}

static void labelled(const uint8_t *p, size_t n)
{
    sd_labelled_set s;
    sd_phrases ph;
    sd_err err = {0};
    if (sd_phrases_open(&ph, NULL, &err)) abort();
    if (sd_labelled_open(&s, t_fuzz_write("labelled.jsonl", p, n), &err)) SD_ASSERT(err.msg[0]);
    else {
        for (int64_t i = 0; i < s.n; i++) SD_ASSERT(s.v[i].answer);
        const sd_judge_error e = sd_judge_measure(&ph, &s);
        SD_ASSERT(e.n_compliance + e.n_refusal == s.n);
        sd_labelled_release(&s);
    }
    sd_phrases_release(&ph);
}

static void phrases(const uint8_t *p, size_t n)
{
    sd_phrases ph;
    sd_err err = {0};
    if (sd_phrases_open(&ph, t_fuzz_write("phrases.txt", p, n), &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    (void)sd_judge_phrases(&ph, (sd_slice){(const char *)p, n});
    sd_phrases_release(&ph);
}

static void cell(const uint8_t *p, size_t n)
{
    sd_damage_cell c;
    sd_err err = {0};
    if (sd_damage__cell_read(&c, "study", 3, t_fuzz_write("cell.json", p, n), &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    sd_damage__cell_release(&c);
}

static void features(const uint8_t *p, size_t n)
{
    char path[300];
    sd_np_import out;
    sd_store *s;
    json_t *doc;
    sd_err err = {0};
    if (sd_json_parse(&doc, (const char *)p, n, "features", &err)) return;
    snprintf(path, sizeof path, "%s/features.db", t_fuzz_dir());
    if (sd_lab_np_import(&out, path, &doc, 1, &(sd_np_import_opt){.force = true, .tool = "t", .created = "now"}, &err)) SD_ASSERT(err.msg[0]);
    else {
        if (sd_store_open(&s, path, &err)) fprintf(stderr, "%s\n", err.msg), abort();
        for (int64_t i = 0; i < out.m && i < 20; i++) {
            sd_feature *f;
            if (sd_store_feature(&f, s, i, 0, &err)) fprintf(stderr, "%s\n", err.msg), abort();
            sd_feature_free(f);
        }
        sd_store_close(s);
    }
    json_decref(doc);
}

/* What an endpoint says, and what is made of it. */
static void answer(const uint8_t *p, size_t n)
{
    sd_buf b;
    int64_t n_tokens;
    char label[SD_LABEL_MAX + 1];
    sd_err err = {0};
    sd_buf_init(&b, 1 << 24);
    if (sd_endpoint__answer(&b, &n_tokens, (sd_slice){(const char *)p, n}, &err)) SD_ASSERT(err.msg[0]);
    (void)sd_judge__word((sd_slice){b.n ? b.p : "", b.n});
    sd_label__clean(label, (sd_slice){(const char *)p, n});
    SD_ASSERT(strlen(label) <= SD_LABEL_MAX && sd_utf8_valid_prefix(sd_slice_of(label)) == strlen(label));
    char *said = sd_strndup((const char *)p, n), bare[64];
    const size_t had = strlen(said);
    sd_url_bare(bare, sizeof bare, said);
    SD_ASSERT(strlen(bare) < sizeof bare);
    (void)sd_endpoint__repeats(said, "a prompt of some words and caf\xc3\xa9s \xe6\x97\xa5\xe6\x9c\xac");
    sd_endpoint__mask(said, "a prompt of some words and caf\xc3\xa9s \xe6\x97\xa5\xe6\x9c\xac");
    SD_ASSERT(strlen(said) <= had);
    sd_free(said);
    sd_buf_release(&b);
}

static sd_status on_row(void *self, const json_t *row, sd_slice full, sd_slice cut, const char *what, sd_err *err)
{
    (void)row, (void)err;
    ++*(int64_t *)self;
    SD_ASSERT(cut.n > 0 && cut.p >= full.p && cut.p + cut.n <= full.p + full.n && what[0]);
    return SD_OK;
}

static void rows(const uint8_t *p, size_t n)
{
    int64_t seen = 0;
    sd_err err = {0};
    if (sd_label_rows(t_fuzz_write("rows.jsonl", p, n), on_row, &seen, &err)) SD_ASSERT(err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kind[])(const uint8_t *, size_t) = {direction, part, labelled, phrases, cell, features, answer, rows};
    if (size == 0) return 0;
    const int64_t blocks = sd_mem_live_blocks();
    kind[data[0] % (sizeof kind / sizeof *kind)](data + 1, size - 1);
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_documents")

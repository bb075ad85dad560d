/* Firmness on a model of one block, made to refuse: harmful prompts end in "z", which answers with "q", harmless ones in "y", which answers with "r"; the template puts
 * nothing behind the user's text, so the two are apart before the first block already. Letters stand for nothing. */
#include "lab/firmness.h"

#include "base/mem.h"
#include "num/exec.h"
#include "tiny_model.h"
#include "sonde/model.h"

enum { N = 16 }; /* of each kind: the least that are taken */

static void letters(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg)
{
    const bool head = strcmp(hf, "lm_head.weight") == 0;
    (void)rows, (void)arg;
    if (!head && strcmp(hf, "model.embed_tokens.weight") != 0) return;
    for (int i = 0; i < 4; i++) {
        float *row = data + ("zqyr"[i] + 1) * cols; /* a token a byte, behind the special one */
        memset(row, 0, (size_t)cols * sizeof *row);
        row[i / 2] = head ? 3 : 40;
    }
}

static void one_block_is_enough(void **state)
{
    const char *dir = t_tmpdir();
    static char q[] = "q", *said[] = {q};
    const sd_phrases phrases = {.v = said, .n = 1, .name = "letters"};
    tiny_spec spec = tiny_default;
    sd_prompt prompt[2 * N];
    char text[2 * N][8];
    sd_firmness f;
    sd_exec *ex = NULL;
    sd_model *m = NULL;
    sd_err err = {0};
    sd_buf b;
    (void)state;
    spec.n_layer = 1;
    spec.edit = letters;
    tiny_write_hf(dir, &spec);
    sd_buf_init(&b, 1 << 10);
    sd_buf_puts(&b, "{% for m in messages %}{{ m['content'] }}{% endfor %}");
    tiny_save(dir, "chat_template.jinja", &b);
    sd_buf_release(&b);
    for (int i = 0; i < 2 * N; i++) {
        snprintf(text[i], sizeof text[i], "%c%c", 'a' + i % N, i < N ? 'z' : 'y');
        prompt[i] = (sd_prompt){.text = text[i], .axis = i < N ? SD_AXIS_HARMFUL : SD_AXIS_HARMLESS};
    }
    const sd_suite suite = {.name = "letters", .v = prompt, .n = 2 * N};
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    t_ok(sd_model_open(&m, ex, dir, NULL, &err), err);
    t_ok(sd_lab_firmness(&f, ex, m, &(sd_firm_opt){.suite = &suite, .n_suite = 1, .phrases = &phrases, .n_floor = 2, .n_gen = 4}, &err), err);
    assert_true(f.plain.est == 1 && f.plain_answer.est == 1);
    assert_true(f.n_found >= 1 && f.layer[0] == 0);
    assert_true(f.cut[0].removed > 100); /* of 40 squared */
    sd_model_close(m);
    sd_exec_free(ex);
    t_rmtree(dir);
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static const struct CMUnitTest tests[] = {T(one_block_is_enough)};
T_MAIN(tests)

/* Any bytes as rows to learn from, for the method that the first byte chooses: refused with a sentence, or samples of tokens of the vocabulary whose targets
 * are the tokens that follow. With a template that shows every message, with one that leaves answers out, and without one. */
#include "tiny_model.h"
#include "lab/tune_data.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static sd_exec *ex;

static sd_model *model(int which)
{
    static const char *const template[] = {
        NULL, "{% for m in messages %}[{{ m.role }}]{{ m.content }};\\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}<{{ m.content | trim }}>{% endif %}{% endfor %}"};
    static sd_model *m[3];
    sd_err err = {0};
    if (m[which]) return m[which];
    char text[400], path[400];
    const char *dir = t_tmpdir();
    tiny_spec s = tiny_default;
    s.n_layer = 1, s.n_head = 2, s.n_head_kv = 1, s.d_head = 4, s.d = 8, s.ffn = 12, s.n_ctx = 64, s.tied = true;
    tiny_write_hf(dir, &s);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    snprintf(text, sizeof text, "{\"chat_template\":\"%s\"}", template[which] ? template[which] : "");
    if (template[which] && sd_file_write_atomic(path, text, strlen(text), &err)) abort();
    if (!ex && sd_exec_new(&ex, &(sd_exec_opt){.cpu = "ref", .n_threads = 1}, &err)) abort();
    if (sd_model_open(&m[which], ex, dir, NULL, &err)) fprintf(stderr, "%s\n", err.msg), abort();
    if ((m[which]->chat != NULL) != (template[which] != NULL)) abort();
    t_rmtree(dir); /* the weights stay mapped */
    return m[which];
}

static void check(const sd_tune_set *s, int64_t ctx)
{
    SD_ASSERT(s->n > 0 && s->n_rows >= 0 && s->n_skipped <= s->n_rows);
    for (int64_t i = 0; i < s->n; i++) {
        const sd_tune_sample *x = &s->sample[i];
        int64_t counts = 0;
        SD_ASSERT(x->n > 0 && x->n <= ctx && x->at >= 0 && x->at + x->n <= s->n_tok);
        for (int64_t k = x->at; k < x->at + x->n; k++) {
            SD_ASSERT(s->tok[k] >= 0 && s->tok[k] < TINY_VOCAB);
            SD_ASSERT(s->target[k] == -1 || (k + 1 < x->at + x->n && s->target[k] == s->tok[k + 1]));
            counts += s->target[k] >= 0;
        }
        SD_ASSERT(counts == x->n_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { CTX = 24, N_METHOD = SD_TUNE_DISTILL + 1 };
    sd_tune_set s;
    sd_err err = {0};
    if (size == 0) return 0;
    const int kind = data[0] % (3 * N_METHOD);
    const sd_model *m = model(kind / N_METHOD);
    const sd_tune_data d = {.path = t_fuzz_write("rows.jsonl", data + 1, size - 1), .n = data[0] >= 128 ? 1 : 0};
    sd_tune_opt opt = {.method = (sd_tune_method)(kind % N_METHOD), .data = &d, .n_data = 1, .seed = 7};
    if (data[0] % 4 == 3) opt.guard = (sd_guard_opt){.kind = SD_GUARD_DEEP, .safety = d.path};
    const int64_t blocks = sd_mem_live_blocks();
    const sd_status st = sd_tune_set_read(&s, m, &opt, CTX, &err);
    if (st) SD_ASSERT(err.msg[0]);
    else check(&s, CTX);
    sd_tune_set_release(&s);
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_rows")

/* The tiny model with a chat template: what the studies that ask prompts run on. */
#ifndef SD_TEST_CHAT_MODEL_H
#define SD_TEST_CHAT_MODEL_H

#include "tiny_model.h"

#include "model/session.h"

/* A system message of its own unless one is given, as SmolLM2's template has it. */
static const char chat_template[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|endoftext|>system\nbe kind\n' }}{% endif %}"
    "{{ '<|endoftext|>' + message['role'] + '\n' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|endoftext|>assistant\n' }}{% endif %}";

static inline sd_model *chat_model_of(const sd_exec *ex, const tiny_spec *spec)
{
    const char *dir = t_tmpdir();
    sd_model *m = NULL;
    sd_err err = {0};
    sd_buf b;
    tiny_write_hf(dir, spec);
    sd_buf_init(&b, 1 << 16);
    sd_buf_puts(&b, chat_template);
    tiny_save(dir, "chat_template.jinja", &b);
    sd_buf_release(&b);
    t_ok(sd_model_open(&m, ex, dir, NULL, &err), err);
    t_rmtree(dir); /* the weights stay mapped */
    assert_non_null(m->chat);
    return m;
}

static inline sd_model *chat_model(const sd_exec *ex, uint64_t seed)
{
    tiny_spec spec = tiny_default;
    spec.seed = seed;
    return chat_model_of(ex, &spec);
}

#endif

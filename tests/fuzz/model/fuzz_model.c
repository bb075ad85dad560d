/* Any bytes as a model: a GGUF (first byte even), or a folder's config.json, model.safetensors, tokenizer.json and tokenizer_config.json with lines "%%"
 * between (odd). Refused with a sentence, or: the tokenizer takes any text, and the model reads tokens to the end of a step. */
#include "base/log.h"
#include "base/mem.h"
#include "model/model.h"
#include "model/tokspec.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static sd_exec *ex;

static void tokenizer(const char *path)
{
    static const char *const text[] = {"The cat's 12 hats, \xc3\xa9\xcc\x81 \xe6\x97\xa5 \xf0\x9f\x99\x82!", "\xff\xfe\x80 a\xe2\x96", "<s>aaaa bbbb<unk>  \n\t<0x0A>"};
    sd_err err = {0};
    sd_chat_found chat;
    sd_tok *t;
    const sd_status st = sd_tokenizer_open(&t, &chat, path, &err);
    SD_ASSERT((st == SD_OK) == (t != NULL) && (st == SD_OK || err.msg[0]));
    for (size_t i = 0; t && i < sizeof text / sizeof text[0]; i++) {
        sd_ids ids = {0};
        sd_buf back;
        sd_buf_init(&back, 1 << 20);
        if (sd_tok_encode(t, sd_slice_of(text[i]), NULL, &ids, &err)) SD_ASSERT(err.msg[0]);
        else SD_ASSERT(sd_tok_decode_text(t, ids.v, ids.n, true, &back, &err) == SD_OK);
        for (int64_t k = 0; k < ids.n; k++) SD_ASSERT(ids.v[k] >= 0 && ids.v[k] < sd_tok_n_vocab(t));
        sd_buf_release(&back);
        sd_ids_release(&ids);
    }
    if (t) sd_chat_free(chat.chat);
    sd_tok_free(t);
}

static void step(const sd_model *m)
{
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_err err = {0};
    const int32_t tok[4] = {0, 1, 2, 1};
    const sd_config *c = sd_model_get_config(m);
    if (c->n_vocab < 3 || c->d_model > 512 || c->d_ffn > 2048 || c->n_vocab > 1 << 14 || c->n_head > 64 || c->d_head > 256) return; /* would only be slow */
    sd_status st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = c->n_ctx < 8 ? 0 : 8}, &err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = 4, .max_logit_rows = 4, .n_ctx = c->n_ctx < 8 ? 0 : 8}, &err);
    if (!st) st = sd_runner_step(r, &(sd_segment){.s = s, .tok = tok, .n = 4, .want = SD_LOGITS_ALL}, 1, -1, &err);
    SD_ASSERT(st == SD_OK || err.msg[0]);
    sd_runner_free(r);
    sd_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const folder[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    t_fuzz_part part[4];
    char path[400];
    sd_model *m;
    sd_err err = {0};
    if (size == 0) return 0;
    if (!ex) {
        sd_log_set(NULL, NULL);
        if (sd_exec_new(&ex, &(sd_exec_opt){.cpu = "ref", .n_threads = 1}, &err)) abort();
    }
    if (data[0] % 2) {
        const int n = t_fuzz_parts(part, 4, data + 1, size - 1);
        for (int i = 0; i < 4; i++) {
            const char *at = t_fuzz_write(folder[i], i < n ? part[i].p : data, i < n ? part[i].n : 0);
            if (i >= n || part[i].n == 0) unlink(at);
        }
        snprintf(path, sizeof path, "%s", t_fuzz_dir());
    } else {
        snprintf(path, sizeof path, "%s", t_fuzz_write("m.gguf", data + 1, size - 1));
    }
    tokenizer(path);
    const sd_status st = sd_model_open(&m, ex, path, &(sd_model_opt){.n_ctx = 0, .memory_bytes = 1 << 28}, &err);
    SD_ASSERT((st == SD_OK) == (m != NULL) && (st == SD_OK || err.msg[0]));
    if (m) step(m);
    sd_model_close(m);
    return 0;
}

T_FUZZ_MAIN("fuzz_model")

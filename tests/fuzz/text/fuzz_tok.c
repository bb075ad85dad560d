/* Any bytes as a text: encoded and decoded they are the same bytes, whatever the pre-tokeniser and with special tokens
 * read or not. The first byte chooses the pre-tokeniser. */
#include "../../unit/text/vocab.h"

#include "t_fuzz.h"

static const char *const pre[] = {"gpt-2",       "smollm",  "llama-bpe", "qwen2",      "deepseek-llm",
                                  "deepseek-v3", "falcon",  "gpt-4o",    "tekken",     "bloom",
                                  "kimi-k2",     "afmoe",   "tiny_aya",  "superbpe",   "chameleon",
                                  "youtu",       "default", "jais-2",    "exaone-moe", "spark2_5"};
enum { N_PRE = sizeof pre / sizeof pre[0] };

static sd_tok *tokenizer(int k)
{
    static sd_tok *made[N_PRE];
    static vocab v;
    sd_err err = {0};
    if (made[k]) return made[k];
    vocab_init(&v);
    const char *const merges[][2] = {{"a", "b"}, {"e", "r"}, {"i", "n"},   {"in", "in"},
                                     {"1", "2"}, {"=", "="}, {"==", "=="}, {"a", "a"}};
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
        vocab_merge(&v, merges[i][0], merges[i][1], i % 3 != 2);
    vocab_special(&v, "<|im_start|>", SD_PIECE_CONTROL);
    vocab_special(&v, "<|im", SD_PIECE_CONTROL);
    vocab_special(&v, "  ", SD_PIECE_USER);
    v.spec.pre = sd_slice_of(pre[k]);
    if (sd_tok_new(&made[k], &v.spec, &err) != SD_OK) {
        fprintf(stderr, "%s: %s\n", pre[k], err.msg);
        abort();
    }
    return made[k];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const sd_tok *t = tokenizer(data[0] % N_PRE);
    sd_slice text = {(const char *)data + 1, size - 1};
    sd_err err = {0};
    sd_ids ids = {0};
    sd_buf back;
    sd_buf_init(&back, size + 1);
    for (int plain = 0; plain < 2; plain++) {
        sd_encode_opt opt = {.no_special = plain};
        ids.n = 0;
        sd_buf_reset(&back);
        SD_ASSERT(sd_tok_encode(t, text, &opt, &ids, &err) == SD_OK);
        SD_ASSERT(ids.n <= (int64_t)text.n);
        for (int64_t i = 0; i < ids.n && plain; i++) SD_ASSERT(!sd_tok_is_special(t, ids.v[i]));
        SD_ASSERT(sd_tok_decode(t, ids.v, ids.n, true, &back, &err) == SD_OK);
        SD_ASSERT(sd_slice_eq((sd_slice){back.p, back.n}, text));
    }
    sd_buf_release(&back);
    sd_ids_release(&ids);
    return 0;
}

T_FUZZ_MAIN("fuzz_tok")

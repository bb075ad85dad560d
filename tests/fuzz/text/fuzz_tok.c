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

/* Characters instead of bytes: by score, likeliest path, longest piece; the first two spell what they lack in bytes. */
static const sd_tok_kind kinds[] = {SD_TOK_CHAR, SD_TOK_SPM, SD_TOK_UGM, SD_TOK_WPM};
enum { N_KIND = sizeof kinds / sizeof kinds[0] };

static sd_tok *of_characters(int k)
{
    static sd_tok *made[N_KIND];
    static vocab v;
    static float score[VOCAB_MAX];
    static double logprob[VOCAB_MAX];
    static const char *const more[] = {"a", "b", "e", "ab", "aa", "aaa", "\xc3\xa9", "ba", "\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81", "\xe2\x96\x81" "a"};
    static const char *const merges[][2] = {{"a", "b"}, {"a", "a"}, {"aa", "a"}, {"b", "a"}, {"\xe2\x96\x81", "a"}};
    const sd_norm_step norm[] = {{.kind = SD_NORM_REPLACE, .from = SD_LIT(" "), .to = SD_LIT("\xe2\x96\x81")}};
    sd_err err = {0};
    if (made[k]) return made[k];
    vocab_init(&v);
    v.spec.n_vocab = 0;
    for (unsigned b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", b);
        vocab_add(&v, sd_slice_of(piece), SD_PIECE_BYTE);
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        score[256 + i] = (float)(i % 4);
        logprob[256 + i] = -2.5 - (double)(i % 5);
        vocab_add(&v, sd_slice_of(more[i]), SD_PIECE_NORMAL);
    }
    for (size_t i = 0; i < sizeof merges / sizeof merges[0] && kinds[k] == SD_TOK_CHAR; i++) vocab_merge(&v, merges[i][0], merges[i][1], false);
    v.spec.unk = vocab_special(&v, "<unk>", SD_PIECE_UNKNOWN);
    vocab_special(&v, "<|im_start|>", SD_PIECE_CONTROL);
    v.spec.kind = kinds[k];
    v.spec.score = score;
    v.spec.logprob = logprob;
    v.spec.byte_fallback = v.spec.escaped_spaces = true;
    v.spec.norm = norm;
    v.spec.n_norm = kinds[k] == SD_TOK_WPM ? 0 : 1;
    v.spec.continuing = SD_LIT("##");
    SD_ASSERT(sd_tok_new(&made[k], &v.spec, &err) == SD_OK);
    return made[k];
}

static void check_characters(sd_slice text)
{
    bool mark = memmem(text.p, text.n, "\xe2\x96\x81", 3) != NULL; /* comes back as a space */
    for (int k = 0; k < N_KIND; k++)
        for (int plain = 0; plain < 2; plain++) {
            const sd_tok *t = of_characters(k);
            sd_encode_opt opt = {.no_special = plain};
            sd_err err = {0};
            sd_ids ids = {0};
            sd_buf back;
            sd_buf_init(&back, 16 * text.n + 64);
            SD_ASSERT(sd_tok_encode(t, text, &opt, &ids, &err) == SD_OK);
            SD_ASSERT(sd_tok_decode(t, ids.v, ids.n, true, &back, &err) == SD_OK);
            if (kinds[k] != SD_TOK_WPM && !mark) SD_ASSERT(sd_slice_eq((sd_slice){back.p, back.n}, text));
            sd_buf_release(&back);
            sd_ids_release(&ids);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const sd_tok *t = tokenizer(data[0] % N_PRE);
    sd_slice text = {(const char *)data + 1, size - 1};
    check_characters(text);
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

/* The patterns behind the names of tokenizer.ggml.pre, as data.
 *
 * A name stands for what llama.cpp's converter saw in a model's tokenizer.json; the sequences here cut text where that
 * file's pre-tokeniser does. Where llama.cpp writes a pattern differently because std::regex lacks a construct (tekken,
 * gpt-4o, kimi-k2, afmoe, superbpe, tiny_aya) the model's own expression stands here, white space beyond ASCII belongs to
 * the classes that name it (deepseek-llm; llama.cpp takes it out of them), and groups of three digits counted
 * from the right are written so that matching stays linear. */
#include "text/pretok.h"

/* English contractions after an apostrophe; each begins with another letter, so their order is free. */
#define APOS "'(?:[stmd]|re|ve|ll)"
#define APOS_I "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
/* The tails that most patterns end in. */
#define PUNCT_NL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SPACE "\\s+(?!\\S)|\\s+"
#define SPACE_NL "\\s*[\\r\\n]+|" SPACE
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
/* Radford et al. 2019, the encoder of GPT-2. */
#define GPT2 APOS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACE
#define LLAMA3 APOS_I "|" WORD "|\\p{N}{1,3}|" PUNCT_NL "|" SPACE_NL
#define QWEN2 APOS_I "|" WORD "|\\p{N}|" PUNCT_NL "|" SPACE_NL
/* Words by case, from o200k_base: an upper-case run belongs to the lower-case run after it. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail
#define CASED_END "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACE_NL
#define O200K CASED("(?:" APOS_I ")?") "|\\p{N}{1,3}" CASED_END
/* Words, punctuation and symbols told apart by category (DeepSeek-V3 and its heirs). */
#define ASCII_PUNCT_WORD "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
#define DEEPSEEK3_HEAD ASCII_PUNCT_WORD "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define DEEPSEEK3 DEEPSEEK3_HEAD "[\\r\\n]*|" SPACE_NL
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define DEEPSEEK_CJK "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"
/* A piece of nothing but digits in groups of three from its right end. */
#define TRIPLES(d) "\\A" d "{1,3}(?=(?:" d "{3})*+\\z)|\\G(?<=" d ")" d "{3}"
/* Letters of alphabets with case, as frozen in DeepSeek-LLM's tokenizer.json. */
#define DEEPSEEK_LETTERS                                                                                              \
    "\\s?["                                                                                                           \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"                    \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"             \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"                    \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"                  \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"                  \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"          \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"         \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"                   \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"                    \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}"                    \
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"                   \
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"                  \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"                \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"                             \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"                                                                       \
    "]+"
#define AFMOE_ASIA                                                                                                    \
    "[\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{F900}-\\x{FAFF}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}"                \
    "\\x{FF65}-\\x{FF9F}\\x{2F00}-\\x{2FDF}\\x{E40}-\\x{E7F}\\x{E80}-\\x{EFF}\\x{1780}-\\x{17FF}\\x{1000}-\\x{109F}"  \
    "\\x{AA60}-\\x{AA7F}\\x{A9E0}-\\x{A9FF}\\x{AC00}-\\x{D7AF}\\x{1100}-\\x{11FF}]+"
#define YOUTU_ASIA                                                                                                    \
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|"                                                                      \
    "[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}\\x{FF1A}\\x{FF1B}\\x{FF0C}"                     \
    "\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|" CJK_KANA
/* Kimi's cased words leave Han to the first alternative. */
#define KIMI_UPPER "(?:(?!\\p{Han})" UPPER ")"
#define KIMI_LOWER "(?:(?!\\p{Han})" LOWER ")"
#define KIMI                                                                                                          \
    "\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+(?:" APOS_I ")?|"                                  \
    "[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*(?:" APOS_I ")?|\\p{N}{1,3}|" PUNCT_NL "|" SPACE_NL

enum { IGNORE_MERGES = 1, ADD_BOS = 2, CHARACTERS = 4, ESCAPE_SPACES = 8, WHOLE_LINES = 16 };
typedef struct pre {
    const char *names; /* separated by spaces */
    int traits;
    const char *pattern[SD_PRETOK_MAX];
} pre;

static const pre table[] = {
    {"default", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe modern-bert gigachat "
     "a.x-4.0 mellum mpt olmo jais trillion granite-docling exaone4",
     0, {GPT2}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", 0, {"\\p{N}", GPT2}},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", IGNORE_MERGES | ADD_BOS,
     {LLAMA3}},
    {"dbrx smaug-bpe glm4 chatglm-bpe", 0, {LLAMA3}},
    {"minicpm5", IGNORE_MERGES,
     {"\\p{N}{1,3}", APOS_I "|" WORD "|\\p{N}+|" PUNCT_NL "|" SPACE_NL}},
    {"jais-2", 0,
     {APOS_I "|" WORD "|\\p{N}{1,3}|" PUNCT_NL "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|"
      "\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s"}},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2", 0, {QWEN2}},
    {"qwen35", 0,
     {APOS_I "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE_NL}},
    {"ufakzeka", 0, {WORD "|\\p{N}|" PUNCT_NL "|" SPACE_NL}},
    {"laguna", 0, {"[^\\n]+|[\\n]+", QWEN2}},
    {"seed-coder", 0, {APOS_I "|" WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACE_NL}},
    {"bailingmoe bailingmoe2 llada-moe", 0,
     {APOS_I "|" WORD "|\\p{N}|" PUNCT_NL "|\\s*[\\r\\n]|" SPACE}},
    {"exaone-moe", 0,
     {APOS_I "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}|"
      " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|" SPACE}},
    {"falcon", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"deepseek-coder", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK, "\\p{N}"}},
    {"deepseek-llm", 0,
     {"[\\r\\n]", DEEPSEEK_LETTERS,
      "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+", "\\s+$", DEEPSEEK_CJK,
      "\\p{N}+"}},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", 0, {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK3}},
    {"spark2_5", 0, {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK3_HEAD "|[\\r\\n]|" SPACE, "\\p{N}"}},
    {"youtu", IGNORE_MERGES, {YOUTU_ASIA, CASED("(?:" APOS_I ")?") "|\\p{N}" CASED_END}},
    {"poro-chat bloom gpt3-finnish", 0, {BLOOM}},
    {"viking", 0, {BLOOM, "\\p{N}"}},
    {"tekken", IGNORE_MERGES | ADD_BOS, {CASED("") "|\\p{N}" CASED_END}},
    {"chameleon", ADD_BOS,
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]", GPT2}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", 0, {O200K}},
    {"granite-embed-multi-97m", IGNORE_MERGES, {O200K}},
    {"tiny_aya cohere2moe", 0, {"(?<!\\d)\\d++\\b", TRIPLES("\\d"), O200K}},
    {"superbpe", 0, {"\\p{N}+", TRIPLES("\\p{N}")}},
    {"afmoe", 0, {"\\p{N}+", TRIPLES("\\p{N}"), AFMOE_ASIA, DEEPSEEK3}},
    {"kimi-k2", 0, {KIMI}},
    {"gemma4 granite-embed-multi-311m", CHARACTERS | ESCAPE_SPACES | WHOLE_LINES | ADD_BOS, {"[^\\n]+|[\\n]+"}},
    {"sarvam-moe", CHARACTERS | ESCAPE_SPACES, {"[^\\n]+|[\\n]+"}},
    {"whitespace", CHARACTERS, {"\\S+"}},
};

static bool listed(const char *names, sd_slice name)
{
    sd_slice rest = sd_slice_of(names), one;
    while (sd_slice_cut(&rest, ' ', &one))
        if (sd_slice_eq(one, name)) return true;
    return false;
}

const char *const *sd_pretok__table(sd_slice name, int *n, sd_pretok_traits *traits)
{
    if (name.n == 0) return NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const pre *p = &table[i];
        if (!listed(p->names, name)) continue;
        for (*n = 0; *n < SD_PRETOK_MAX && p->pattern[*n];) ++*n;
        *traits = (sd_pretok_traits){.ignore_merges = p->traits & IGNORE_MERGES,
                                     .add_bos = p->traits & ADD_BOS,
                                     .characters = p->traits & CHARACTERS,
                                     .escape_spaces = p->traits & ESCAPE_SPACES,
                                     .whole_lines = p->traits & WHOLE_LINES};
        return p->pattern;
    }
    return NULL;
}

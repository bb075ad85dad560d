/* The way of a text in tokenizer.json: normaliser, pre-tokeniser and decoder, component by component. What is not
 * reproduced exactly is SD_E_UNSUPPORTED with its name. */
#include "model/tokspec_int.h"

#define GPT2_PATTERN "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define PUNCTUATION  "[\\p{P}$+<=>^`|~]" /* ASCII's 32, and category P */
/* \w of Rust's regular expressions, which has the joiners too. */
#define WORD         SD_PRETOK_WORD "\\x{200C}\\x{200D}"
#define MAX_DEPTH    4

const char *sd_hf__type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "";
}

bool sd_hf__is_true(const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

bool sd_hf__is_absent(const json_t *v)
{
    return !v || json_is_null(v);
}

sd_status sd_hf__unsupported(const sd_hf *h, const char *part, const char *name, sd_err *err)
{
    static const struct {
        const char *part, *kinds;
    } known[] = {{"model", "BPE, WordPiece, Unigram"},
                 {"pre-tokeniser", "ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Sequence"},
                 {"normaliser", "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Replace, Prepend, Strip, BertNormalizer, Precompiled, Sequence"},
                 {"decoder", "ByteLevel, ByteFallback, Fuse, WordPiece, Metaspace, Replace, Strip, Sequence"},
                 {"post-processor", "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing, Sequence"}};
    const sd_status st = sd_fail(err, SD_E_UNSUPPORTED, "%s: the %s \"%.64s\" is not supported", h->what, part, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].part, part) == 0) return sd_hint(err, "supported: %s", known[i].kinds);
    return st;
}

static sd_status bad(const sd_hf *h, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: %s", h->what, what);
}

static sd_slice slice_of_json(const json_t *s)
{
    return (sd_slice){json_string_value(s), json_string_length(s)};
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool is_mark(sd_slice s)
{
    return sd_slice_eq_str(s, "\xe2\x96\x81");
}

/* n bytes that live as long as h. */
static sd_status keep(sd_hf *h, char **out, size_t n, sd_err *err)
{
    if (h->n_kept == SD_HF_MAX_KEPT) return bad(h, "the tokenizer has more parts than are supported", err);
    sd_status st = sd_alloc(out, n + 1, "a part of a tokenizer", err);
    if (!st) h->kept[h->n_kept++] = *out;
    return st;
}

/* ---- pre-tokenisers ---- */

static sd_status add_cut(sd_hf *h, sd_cut cut, sd_err *err)
{
    if (h->spec.n_cut == SD_PRETOK_MAX) return bad(h, "the pre-tokeniser has more than 8 parts", err);
    h->cut[h->spec.n_cut++] = cut;
    h->spec.cut = h->cut;
    return SD_OK;
}

/* A literal as a pattern: every character that is not a letter, a digit or beyond ASCII gets a backslash. */
static sd_status escape(sd_hf *h, sd_slice text, sd_slice *pattern, sd_err *err)
{
    char *out;
    sd_status st = keep(h, &out, 2 * text.n, err);
    if (st) return st;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z'))
            out[n++] = '\\';
        out[n++] = (char)c;
    }
    *pattern = (sd_slice){out, n};
    return SD_OK;
}

static sd_status read_how(const sd_hf *h, const json_t *p, const char *part, sd_cut_how *how, sd_err *err)
{
    static const struct {
        const char *name;
        sd_cut_how how;
    } known[] = {{"Isolated", SD_CUT_ISOLATED},
                 {"Removed", SD_CUT_REMOVED},
                 {"MergedWithPrevious", SD_CUT_WITH_PREVIOUS},
                 {"MergedWithNext", SD_CUT_WITH_NEXT},
                 {"Contiguous", SD_CUT_CONTIGUOUS}};
    const char *name = json_string_value(json_object_get(p, "behavior"));
    if (!name) name = "Isolated";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is(name, known[i].name)) {
            *how = known[i].how;
            return SD_OK;
        }
    return sd_hf__unsupported(h, part, name, err);
}

static sd_status read_split(sd_hf *h, const json_t *p, sd_err *err)
{
    sd_cut cut = {.invert = sd_hf__is_true(p, "invert", false)};
    const json_t *pattern = json_object_get(p, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *text = json_object_get(pattern, "String");
    sd_status st = read_how(h, p, "Split behaviour", &cut.how, err);
    if (st) return st;
    if (json_is_string(regex))
        cut.pattern = slice_of_json(regex);
    else if (json_is_string(text))
        st = escape(h, slice_of_json(text), &cut.pattern, err);
    else
        return bad(h, "a Split has neither a Regex nor a String", err);
    return st ? st : add_cut(h, cut, err);
}

static sd_status read_byte_level(sd_hf *h, const json_t *p, sd_err *err)
{
    if (h->spec.kind != SD_TOK_BPE) return sd_hf__unsupported(h, "pre-tokeniser", "ByteLevel before another model than BPE", err);
    h->byte_level = true;
    if (sd_hf__is_true(p, "add_prefix_space", true)) {
        if (h->spec.n_cut) return sd_hf__unsupported(h, "option", "add_prefix_space after a split", err);
        h->spec.add_space_prefix = true;
    }
    return sd_hf__is_true(p, "use_regex", true) ? add_cut(h, (sd_cut){.pattern = SD_LIT(GPT2_PATTERN)}, err) : SD_OK;
}

/* "prepend_scheme", or the older "add_prefix_space". */
static sd_prepend read_prepend(const json_t *p)
{
    const char *scheme = json_string_value(json_object_get(p, "prepend_scheme"));
    if (scheme) return is(scheme, "never") ? SD_PREPEND_NEVER : is(scheme, "first") ? SD_PREPEND_FIRST : SD_PREPEND_ALWAYS;
    return sd_hf__is_true(p, "add_prefix_space", true) ? SD_PREPEND_ALWAYS : SD_PREPEND_NEVER;
}

static sd_status read_metaspace(sd_hf *h, const json_t *p, sd_err *err)
{
    const json_t *space = json_object_get(p, "replacement");
    sd_slice mark = json_is_string(space) ? slice_of_json(space) : SD_LIT("\xe2\x96\x81");
    if (!is_mark(mark)) return sd_hf__unsupported(h, "Metaspace replacement", mark.p, err);
    h->spec.escaped_spaces = true;
    return add_cut(h, (sd_cut){.how = SD_CUT_METASPACE, .space = mark, .prepend = read_prepend(p),
                               .split = sd_hf__is_true(p, "split", true)}, err);
}

static sd_status read_pre_tokenizer(sd_hf *h, const json_t *p, int depth, sd_err *err)
{
    const char *type = sd_hf__type_of(p);
    sd_cut cut = {.how = SD_CUT_ISOLATED};
    sd_status st = SD_OK;
    if (is(type, "Sequence") && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(p, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list) && !st; i++)
            st = read_pre_tokenizer(h, json_array_get(list, i), depth + 1, err);
        return st;
    }
    if (h->byte_level) return sd_hf__unsupported(h, "pre-tokeniser after ByteLevel", type, err);
    if (is(type, "ByteLevel")) return read_byte_level(h, p, err);
    if (is(type, "Split")) return read_split(h, p, err);
    if (is(type, "Metaspace")) return read_metaspace(h, p, err);
    if (is(type, "Digits")) {
        cut.pattern = sd_hf__is_true(p, "individual_digits", false) ? SD_LIT("\\p{N}") : SD_LIT("\\p{N}+");
    } else if (is(type, "Punctuation")) {
        cut.pattern = SD_LIT(PUNCTUATION);
        st = read_how(h, p, "Punctuation behaviour", &cut.how, err);
    } else if (is(type, "Whitespace")) {
        cut = (sd_cut){.pattern = SD_LIT("[" WORD "]+|[^\\s" WORD "]+"), .how = SD_CUT_REMOVED, .invert = true};
    } else if (is(type, "WhitespaceSplit")) {
        cut = (sd_cut){.pattern = SD_LIT("\\s"), .how = SD_CUT_REMOVED};
    } else if (is(type, "BertPreTokenizer")) {
        st = add_cut(h, (sd_cut){.pattern = SD_LIT("\\s"), .how = SD_CUT_REMOVED}, err);
        cut.pattern = SD_LIT(PUNCTUATION);
    } else if (is(type, "CharDelimiterSplit")) {
        st = escape(h, slice_of_json(json_object_get(p, "delimiter")), &cut.pattern, err);
        cut.how = SD_CUT_REMOVED;
    } else {
        return sd_hf__unsupported(h, "pre-tokeniser", *type ? type : "(none)", err);
    }
    return st ? st : add_cut(h, cut, err);
}

sd_status sd_hf__pre_tokenizers(sd_hf *h, sd_err *err)
{
    const json_t *p = json_object_get(h->tok, "pre_tokenizer");
    sd_status st = sd_hf__is_absent(p) ? SD_OK : read_pre_tokenizer(h, p, 0, err);
    if (!st && h->spec.kind == SD_TOK_BPE && !h->byte_level) h->spec.kind = SD_TOK_CHAR;
    return st;
}

/* ---- normalisers ---- */

static sd_status add_norm(sd_hf *h, sd_norm_step step, sd_err *err)
{
    if (h->spec.n_norm == SD_HF_MAX_NORM) return bad(h, "the normaliser has more than 32 parts", err);
    h->norm[h->spec.n_norm++] = step;
    h->spec.norm = h->norm;
    return SD_OK;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The character map, in base64 (RFC 4648, section 4). */
static sd_status read_charsmap(sd_hf *h, const json_t *n, sd_err *err)
{
    const json_t *v = json_object_get(n, "precompiled_charsmap");
    sd_slice text = slice_of_json(v);
    char *out;
    if (!json_is_string(v) || text.n == 0) return SD_OK;
    while (text.n && text.p[text.n - 1] == '=') text.n--;
    sd_status st = keep(h, &out, text.n, err);
    size_t used = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.n && !st; i++) {
        int d = base64_digit(text.p[i]);
        if (d < 0) return bad(h, "the precompiled character map is not base64", err);
        bits = bits << 6 | (uint32_t)d;
        if (i % 4) out[used++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return st ? st : add_norm(h, (sd_norm_step){.kind = SD_NORM_CHARSMAP, .from = {out, used}}, err);
}

static sd_status read_replace(sd_hf *h, const json_t *n, sd_err *err)
{
    const json_t *pattern = json_object_get(n, "pattern"), *content = json_object_get(n, "content");
    const json_t *regex = json_object_get(pattern, "Regex"), *text = json_object_get(pattern, "String");
    if (!json_is_string(content) || (!json_is_string(regex) && !json_is_string(text)))
        return bad(h, "a Replace needs a pattern and a content", err);
    sd_slice to = slice_of_json(content);
    if (is_mark(to)) h->spec.escaped_spaces = true;
    if (json_is_string(text)) return add_norm(h, (sd_norm_step){.kind = SD_NORM_REPLACE, .from = slice_of_json(text), .to = to}, err);
    return add_norm(h, (sd_norm_step){.kind = SD_NORM_REPLACE_PATTERN, .from = slice_of_json(regex), .to = to}, err);
}

static sd_status read_bert(sd_hf *h, const json_t *n, sd_err *err)
{
    bool lower = sd_hf__is_true(n, "lowercase", true);
    sd_status st = SD_OK;
    if (sd_hf__is_true(n, "clean_text", true)) st = add_norm(h, (sd_norm_step){.kind = SD_NORM_BERT_CLEAN}, err);
    if (!st && sd_hf__is_true(n, "handle_chinese_chars", true)) st = add_norm(h, (sd_norm_step){.kind = SD_NORM_BERT_CJK}, err);
    if (!st && sd_hf__is_true(n, "strip_accents", lower)) { /* null: as lowercase says */
        st = add_norm(h, (sd_norm_step){.kind = SD_NORM_NFD}, err);
        if (!st) st = add_norm(h, (sd_norm_step){.kind = SD_NORM_STRIP_MARKS, .left = true}, err);
    }
    if (!st && lower) st = add_norm(h, (sd_norm_step){.kind = SD_NORM_LOWER}, err);
    return st;
}

static sd_status read_normalizer(sd_hf *h, const json_t *n, int depth, sd_err *err)
{
    static const struct {
        const char *name;
        sd_norm_kind kind;
    } plain[] = {{"NFC", SD_NORM_NFC},        {"NFD", SD_NORM_NFD},         {"NFKC", SD_NORM_NFKC},
                 {"NFKD", SD_NORM_NFKD},      {"Lowercase", SD_NORM_LOWER}, {"StripAccents", SD_NORM_STRIP_MARKS}};
    const char *type = sd_hf__type_of(n);
    sd_status st = SD_OK;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (is(type, plain[i].name)) return add_norm(h, (sd_norm_step){.kind = plain[i].kind}, err);
    if (is(type, "Replace")) return read_replace(h, n, err);
    if (is(type, "BertNormalizer")) return read_bert(h, n, err);
    if (is(type, "Precompiled")) return read_charsmap(h, n, err);
    if (is(type, "Prepend")) {
        const json_t *text = json_object_get(n, "prepend");
        if (!json_is_string(text)) return bad(h, "a Prepend has no text", err);
        return add_norm(h, (sd_norm_step){.kind = SD_NORM_PREPEND, .to = slice_of_json(text)}, err);
    }
    if (is(type, "Strip"))
        return add_norm(h, (sd_norm_step){.kind = SD_NORM_STRIP, .left = sd_hf__is_true(n, "strip_left", true),
                                          .right = sd_hf__is_true(n, "strip_right", true)}, err);
    if (!is(type, "Sequence") || depth >= MAX_DEPTH) return sd_hf__unsupported(h, "normaliser", type, err);
    const json_t *list = json_object_get(n, "normalizers");
    for (size_t i = 0; i < json_array_size(list) && !st; i++) st = read_normalizer(h, json_array_get(list, i), depth + 1, err);
    return st;
}

sd_status sd_hf__normalizers(sd_hf *h, sd_err *err)
{
    const json_t *n = json_object_get(h->tok, "normalizer");
    return sd_hf__is_absent(n) ? SD_OK : read_normalizer(h, n, 0, err);
}

/* ---- decoders: what they do to spaces; the rest is one look-up a token ---- */

static sd_status read_decoder(sd_hf *h, const json_t *d, int depth, sd_err *err)
{
    const char *type = sd_hf__type_of(d);
    sd_status st = SD_OK;
    if (is(type, "ByteFallback") || is(type, "Fuse")) return SD_OK;
    if (is(type, "WordPiece")) {
        h->spec.cleanup = json_is_true(json_object_get(d, "cleanup"));
        return SD_OK;
    }
    if (is(type, "ByteLevel") && h->spec.kind == SD_TOK_BPE) return SD_OK;
    if (is(type, "ByteLevel")) return sd_hf__unsupported(h, "decoder", "ByteLevel without a ByteLevel pre-tokeniser", err);
    if (is(type, "Metaspace")) {
        h->spec.escaped_spaces = true;
        h->spec.strip_space = read_prepend(d) != SD_PREPEND_NEVER;
        return SD_OK;
    }
    if (is(type, "Replace")) {
        sd_slice from = slice_of_json(json_object_get(json_object_get(d, "pattern"), "String"));
        const char *to = json_string_value(json_object_get(d, "content"));
        if (!from.p || !is_mark(from) || !to || !is(to, " ")) return sd_hf__unsupported(h, "decoder", "Replace of another text than U+2581, or by another than a space", err);
        h->spec.escaped_spaces = true;
        return SD_OK;
    }
    if (is(type, "Strip")) {
        const char *what = json_string_value(json_object_get(d, "content"));
        const json_int_t start = json_integer_value(json_object_get(d, "start")), stop = json_integer_value(json_object_get(d, "stop"));
        if (!what || !is(what, " ") || start > 1 || stop > 0) return sd_hf__unsupported(h, "decoder", "Strip of more than a first space", err);
        h->spec.strip_space = start > 0;
        return SD_OK;
    }
    if (!is(type, "Sequence") || depth >= MAX_DEPTH) return sd_hf__unsupported(h, "decoder", type, err);
    const json_t *list = json_object_get(d, "decoders");
    for (size_t i = 0; i < json_array_size(list) && !st; i++) st = read_decoder(h, json_array_get(list, i), depth + 1, err);
    return st;
}

sd_status sd_hf__decoders(sd_hf *h, sd_err *err)
{
    const json_t *d = json_object_get(h->tok, "decoder");
    return sd_hf__is_absent(d) ? SD_OK : read_decoder(h, d, 0, err);
}

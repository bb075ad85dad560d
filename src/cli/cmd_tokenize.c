/* sonde tokenize: text to token ids, or ids to text. Opens the tokenizer alone, of any architecture. */
#include "cli/cli.h"
#include "model/tokspec.h"

typedef struct args { const char *text, *file; opt_ints ids; bool decode, no_special; } args;

static const cli_opt opts[] = {
    {0, "text", OPT_STR, AT(args, text), .arg = "TEXT", .help = "the text"},
    {0, "file", OPT_STR, AT(args, file), .arg = "FILE", .help = "a UTF-8 file with the text; - is stdin"},
    {0, "ids", OPT_INTS, AT(args, ids), .arg = "IDS", .help = "token ids, instead of text"},
    {0, "decode", OPT_BOOL, AT(args, decode), .help = "print the text of --ids"},
    {0, "no-special", OPT_BOOL, AT(args, no_special), .help = "neither add nor read special tokens; with --decode leave them out"},
    OPT_END};

static int cmd_tokenize(cli *c, int argc, char **argv);
const cli_cmd cmd_tokenize_def = {
    .name = "tokenize",
    .brief = "turn text into tokens, or tokens into text",
    .args = "MODEL",
    .opts = opts,
    .run = cmd_tokenize,
    .json = "sonde.tokenize/1",
    .examples = "sonde tokenize model.gguf --text 'The Golden Gate'\n"
                "sonde tokenize model.gguf --file notes.txt --no-special --json\n"
                "sonde tokenize model.gguf --ids 504,15476 --decode\n",
    .text = "MODEL is a .gguf file (with or without tensors), a model folder, or a tokenizer.json. In JSON a piece is a\n"
            "string, or an array of bytes where a token cuts a UTF-8 character.\n",
};

/* Text of one call: four bytes a token of the longest documents that a model of today takes. */
#define TEXT_MAX ((size_t)1 << 30)

static sd_status take_ids(sd_ids *ids, const opt_ints *given, const sd_tok *tok, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < given->n && !st; i++) {
        if (given->v[i] < 0 || given->v[i] >= sd_tok_n_vocab(tok)) {
            sd_fail(err, SD_E_ARG, "token id %lld is outside the vocabulary of %d", (long long)given->v[i], (int)sd_tok_n_vocab(tok));
            return sd_hint(err, "ids are 0 to %d", (int)sd_tok_n_vocab(tok) - 1);
        }
        st = sd_ids_push(ids, (int32_t)given->v[i], err);
    }
    return st;
}

/* A string; an array of bytes when it is not UTF-8. */
static void json_bytes(sd_jw *w, sd_slice s)
{
    if (sd_utf8_valid_prefix(s) == s.n) {
        sd_jw_slice(w, s);
        return;
    }
    sd_jw_arr(w);
    for (size_t i = 0; i < s.n; i++) sd_jw_i64(w, (uint8_t)s.p[i]);
    sd_jw_end(w);
}

static int print_tokens(cli *c, const sd_tok *tok, const sd_ids *ids)
{
    if (!c->json) {
        static const out_col cols[] = {{"id", OUT_RIGHT}, {"piece", OUT_FILL}};
        out_table *t = out_table_new(c, cols, 2);
        for (int64_t i = 0; i < ids->n; i++) {
            out_cell(t, "%d", (int)ids->v[i]);
            out_slice(t, sd_tok_bytes(tok, ids->v[i]));
        }
        return out_table_end(t);
    }
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.tokenize/1");
    sd_jw_key(w, "ids");
    sd_jw_arr(w);
    for (int64_t i = 0; i < ids->n; i++) sd_jw_i64(w, ids->v[i]);
    sd_jw_end(w);
    sd_jw_key(w, "pieces");
    sd_jw_arr(w);
    for (int64_t i = 0; i < ids->n; i++) json_bytes(w, sd_tok_bytes(tok, ids->v[i]));
    sd_jw_end(w);
    return out_json_end_plain(c, &j);
}

static int print_decoded(cli *c, sd_slice text)
{
    if (!c->json) {
        out_text t = {0};
        out_text_put(c, &t, text);
        out_text_end(c, &t);
        if (c->out_tty) fputc('\n', c->out);
        return out_flush(c);
    }
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.tokenize/1");
    sd_jw_key(w, "text");
    json_bytes(w, text);
    return out_json_end_plain(c, &j);
}

static int check(cli *c, const args *a)
{
    bool ids = opt_given(c, "ids");
    int given = (a->text != NULL) + (a->file != NULL) + ids;
    if (given == 0) return cli_usage(c, "nothing to do: give --text, --file or --ids");
    if (given > 1) return cli_usage(c, "give one of --text, --file and --ids");
    int rc = cli_check_text(c, "text", a->text);
    if (rc) return rc;
    if (a->decode && !ids) return cli_usage(c, "--decode needs --ids");
    return 0;
}

static int cmd_tokenize(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_tok *tok = NULL;
    sd_ids ids = {0};
    sd_buf text;
    if (!cli_parse(c, &cmd_tokenize_def, &a, argc, argv, &rc)) return rc;
    if ((rc = check(c, &a))) return rc;
    sd_buf_init(&text, TEXT_MAX);
    sd_encode_opt how = {.no_special = a.no_special};
    sd_status st = sd_tokenizer_open(&tok, NULL, c->arg[0], &err);
    if (!st && a.file) st = cli_read_text(&text, a.file, &err);
    if (!st && (a.file || a.text)) st = sd_tok_encode(tok, a.file ? (sd_slice){text.p, text.n} : sd_slice_of(a.text), &how, &ids, &err);
    else if (!st) st = take_ids(&ids, &a.ids, tok, &err);
    if (!st && a.decode) {
        sd_buf_reset(&text);
        st = sd_tok_decode_text(tok, ids.v, ids.n, !a.no_special, &text, &err);
    }
    if (st) rc = cli_fail(c, &err);
    else rc = a.decode ? print_decoded(c, (sd_slice){text.p, text.n}) : print_tokens(c, tok, &ids);
    sd_buf_release(&text);
    sd_ids_release(&ids);
    sd_tok_free(tok);
    return rc;
}

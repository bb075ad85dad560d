/* sonde vocab train: a byte-level BPE vocabulary from a text, as a folder that transformers reads. */
#include "base/map.h"
#include "cli/cli.h"
#include "text/tok_train.h"

typedef struct args { int64_t size, min_count; bool chat; } args;

static const cli_opt opts[] = {
    {0, "size", OPT_INT, AT(args, size), .arg = "N", .def = "8192", .lo = 259, .hi = 1 << 20, .help = "tokens in all; fewer come out when no pair of neighbours is left"},
    {0, "min-count", OPT_INT, AT(args, min_count), .arg = "N", .def = "2", .lo = 1, .hi = 1e9, .help = "pairs rarer than this are not merged"},
    {0, "chat", OPT_BOOL, AT(args, chat), .help = "with the tokens and the template of ChatML"},
    OPT_END};

static int print(cli *c, const sd_tok_trained *v, int64_t docs)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.vocab.train/1");
        sd_jw_ki64(w, "n_vocab", sd_tok_trained_n_vocab(v));
        sd_jw_ki64(w, "n_merges", sd_tok_trained_n_merge(v));
        sd_jw_ki64(w, "docs", docs);
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "tokens", "%d, %lld of them merged", (int)sd_tok_trained_n_vocab(v), (long long)sd_tok_trained_n_merge(v));
    out_pair(p, "documents", "%lld", (long long)docs);
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static int cmd_vocab_train(cli *c, int argc, char **argv);
const cli_cmd cmd_vocab_train_def = {
    .name = "vocab train",
    .brief = "a byte-level BPE vocabulary from a text",
    .args = "CORPUS..",
    .opts = opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_vocab_train,
    .text = "Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json: <|endoftext|>, the 256 bytes, and the merges that\n"
            "tokenizers' BpeTrainer finds; with --chat also <|im_start|>, <|im_end|> and chat_template.jinja. With a config.json of that\n"
            "vocab_size beside them the folder is what `sonde tune --from-config` begins from.",
    .examples = "sonde vocab train corpus/ --size 4096 -o small/\nsonde tune small/ --from-config --method lm --data corpus/a.txt -o pretrained/\n",
    .json = "sonde.vocab.train/1"};

static int cmd_vocab_train(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_corpus *corpus = NULL;
    sd_tok_trainer *t = NULL;
    sd_tok_trained *v = NULL;
    const sd_slice special[] = {SD_LIT("<|endoftext|>"), SD_LIT("<|im_start|>"), SD_LIT("<|im_end|>")};
    if (!cli_parse(c, &cmd_vocab_train_def, &a, argc, argv, &rc)) return rc;
    sd_tok_train_opt o = {.n_vocab = (int32_t)a.size, .special = special, .n_special = a.chat ? 3 : 1, .bos = special[a.chat ? 1 : 0], .eos = special[a.chat ? 2 : 0],
                          .pad = special[0], .min_count = a.min_count};
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = cli_corpus_open(c, &corpus, c->arg, c->n_arg, &err);
    if (!st) st = sd_tok_trainer_new(&t, &o, &err);
    const int64_t docs = st ? 0 : sd_corpus_count(corpus);
    for (int64_t i = 0; i < docs && !st; i++) {
        st = sd_tok_trainer_add(t, sd_corpus_text(corpus, i), &err);
        if (!st && sd_progress_cancelled(&c->progress)) st = sd_fail(&err, SD_E_CANCELLED, "interrupted at document %lld", (long long)i);
    }
    if (!st) st = sd_tok_trainer_finish(&v, t, &err);
    if (!st) st = sd_dir_make(c->output, &err);
    if (!st) st = sd_tok_trained_write(v, c->output, a.chat ? sd_slice_of(sd_tok_chatml) : (sd_slice){0}, &err);
    rc = st ? cli_fail(c, &err) : print(c, v, docs);
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
    sd_corpus_close(corpus);
    return rc;
}

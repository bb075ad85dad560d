"""Ids of `sonde tokenize` against Hugging Face's tokenizers and against llama.cpp's llama-tokenize, with and without special
tokens, on prose, source code, white space, controls, emoji and random characters of every script.

usage: tokenizers_alike.py SONDE trained               vocabularies trained here, one for every kind of pre-tokeniser
       tokenizers_alike.py SONDE folder DIR..          tokenizer.json of model folders (or of itself)
       tokenizers_alike.py SONDE llama PROGRAM GGUF..  GGUFs, with or without tensors
       tokenizers_alike.py SONDE trainer PROGRAM       merges of our trainer (tests/golden/text/test_tok_train), and its files in transformers

Prints one line a tokenizer; exits 1 at the first token that differs."""
import ast
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED_BYTES = 300  # of each file of the shared texts: minutes, not hours, for all the tokenizers
OWN_BYTES = 15_000  # of each page and source file
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def stable_characters():
    """Code points whose category is the same in Unicode 3.2 and now: every program's tables agree on them."""
    old = unicodedata.ucd_3_2_0
    cat = lambda c: unicodedata.category(c)
    return [c for c in map(chr, range(0x110000)) if cat(c) not in ("Cn", "Cs", "Co") and cat(c) == old.category(c)]


def read(path, n=None):
    with open(path, "rb") as f:
        return f.read(n).decode("utf-8", "ignore")


def texts():
    rng = random.Random(20)
    chars = stable_characters()
    white = [" ", "  ", "    ", "\n", "\n\n", "\t", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u180e", "a", "1", "'s", "'LL", ".", "!!"]
    out = {
        "prose": "\n".join(read(p, OWN_BYTES) for p in sorted(glob.glob(f"{ROOT}/docs/*.md"))[:4]),
        "code": "\n".join(read(p, OWN_BYTES) for p in sorted(glob.glob(f"{ROOT}/src/base/s*.[ch]"))),
        "white": "".join(rng.choice(white) for _ in range(8000)),
        "scripts": "".join(rng.choice(chars) + rng.choice(["", "", " ", rng.choice(chars)]) for _ in range(8000)),
        "ascii": "".join(chr(rng.randrange(1, 127)) for _ in range(8000)),
        "emoji": " ".join(map(chr, range(0x1F300, 0x1F5FF))) + "\u2764\ufe0f\u200d\U0001f525 e\u0301\u0302 \ufeff",
        "digits": " ".join(str(rng.randrange(10 ** rng.randrange(1, 20))) + rng.choice(["", "a", ".", "%"]) for _ in range(1000)),
        "special": "".join(rng.choice(SPECIAL + ["user\n", " ", "<|im_", "|>", "Hello", "\n"]) for _ in range(1000)),
    }
    shared = os.path.join(os.environ.get("SONDE_SHARED", f"{ROOT}/../shared"), "data", "text")
    files = sorted(p for p in glob.glob(f"{shared}/**/*", recursive=True) if os.path.isfile(p))
    if files:
        out["shared"] = "\n".join(read(p, SHARED_BYTES) for p in files)
    return out


def of_sonde(sonde, model, path, special):
    cmd = [sonde, "tokenize", model, "--file", path, "--json"] + ([] if special else ["--no-special"])
    return json.loads(subprocess.run(cmd, check=True, capture_output=True, text=True).stdout)["ids"]


def compare(name, want, got, text):
    if want == got:
        return len(want)
    i = next((k for k, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    print(f"{name} on {text}: {len(got)} ids, expected {len(want)}; at {i}: {got[i - 3:i + 5]}, expected {want[i - 3:i + 5]}")
    sys.exit(1)


def check(sonde, name, model, files, peer):
    total = sum(
        compare(f"{name}{'' if special else ' (no special)'}", peer(path, special), of_sonde(sonde, model, path, special), text)
        for special in (True, False) for text, path in files.items()
    )
    print(f"{name}: {total} ids alike")


# ---- tokenizers ----

def hf_peer(path):
    from tokenizers import Tokenizer

    tok = Tokenizer.from_file(path)

    def ids(text_path, special):
        tok.encode_special_tokens = not special
        with open(text_path, encoding="utf-8", newline="") as f:
            return tok.encode(f.read(), add_special_tokens=special).ids

    return ids


def pre_tokenizers():
    from tokenizers import Regex
    from tokenizers import pre_tokenizers as p

    llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    end = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    o200k = (rf"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{end}|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{end}|\p{{N}}{{1,3}}|"
             r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    deepseek = (r"[!" + '"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
                r"\s*[\r\n]+|\s+(?!\S)|\s+")
    split = lambda rx, how="isolated", invert=False: p.Split(Regex(rx), how, invert)
    plain, words = p.ByteLevel(add_prefix_space=False, use_regex=False), p.ByteLevel(add_prefix_space=False, use_regex=True)
    return {
        "gpt-2": words,
        "prefix space": p.ByteLevel(add_prefix_space=True, use_regex=True),
        "smollm": p.Sequence([p.Digits(individual_digits=True), words]),
        "digits": p.Sequence([p.Digits(individual_digits=False), words]),
        "punctuation": p.Sequence([p.Punctuation("contiguous"), words]),
        "llama-3": p.Sequence([split(llama3), plain]),
        "qwen2": p.Sequence([split(llama3.replace("{1,3}", "")), plain]),
        "o200k": p.Sequence([split(o200k, "removed", True), plain]),
        "deepseek-v3": p.Sequence([split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(deepseek), plain]),
        "deepseek-coder": p.Sequence([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                      split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), p.Digits(individual_digits=True), plain]),
        "line ends": p.Sequence([split("[\r\n]"), split(r"\s+$"), plain]),
        "bloom": p.Sequence([split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"), plain]),
    }


def trained(sonde, files, tmp):
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers as p, processors, trainers

    corpus = [read(files[k]) for k in ("prose", "code", "scripts", "digits")]
    for name, pre in pre_tokenizers().items():
        tok = Tokenizer(models.BPE(ignore_merges=name == "llama-3"))
        tok.pre_tokenizer, tok.decoder = pre, decoders.ByteLevel()
        if name == "qwen2":
            tok.normalizer = normalizers.NFC()
        # A vocabulary without all bytes (as SmolLM2's) where the alphabet is left to the corpus.
        alphabet = [] if name == "smollm" else p.ByteLevel.alphabet()
        tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
        tok.add_tokens(["  ", "\n\n\n", AddedToken(" <x>", lstrip=True), AddedToken("user", rstrip=True)])
        if name in ("llama-3", "deepseek-v3"):
            tok.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
        path = os.path.join(tmp, "tokenizer.json")
        tok.save(path)
        check(sonde, f"trained, {name}", path, files, hf_peer(path))


# ---- SentencePiece's and BERT's kinds ----

def charsmap():
    """nmt_nfkc's map out of a SentencePiece model of the shared folder, where it is."""
    path = os.path.join(os.environ.get("SONDE_SHARED", f"{ROOT}/../shared"), "data", "tokenizers", "sentencepiece", "test_model.model")
    try:
        from sentencepiece import sentencepiece_model_pb2 as pb
    except ImportError:
        return None
    if not os.path.exists(path):
        return None
    model = pb.ModelProto()
    with open(path, "rb") as f:
        model.ParseFromString(f.read())
    return model.normalizer_spec.precompiled_charsmap


def kinds():
    from tokenizers import Regex, Tokenizer, decoders as d, models as m, normalizers as n, pre_tokenizers as p, processors, trainers as t

    spaced = d.Sequence([d.Replace("\u2581", " "), d.ByteFallback(), d.Fuse()])
    every_byte = [f"<0x{b:02X}>" for b in range(256)]
    bpe = lambda **k: t.BpeTrainer(vocab_size=1500, special_tokens=["<unk>"] + SPECIAL + every_byte, show_progress=False, **k)
    uni = t.UnigramTrainer(vocab_size=1500, special_tokens=["<unk>"] + SPECIAL, unk_token="<unk>", show_progress=False)
    piece = t.WordPieceTrainer(vocab_size=1500, special_tokens=["[UNK]"] + SPECIAL, show_progress=False)
    fallback = m.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    replace = n.Replace(" ", "\u2581")
    metaspace = lambda scheme, split=True: p.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=split)
    yield "llama 2", fallback, n.Sequence([n.Prepend("\u2581"), replace]), None, spaced, bpe()
    yield "gemma", fallback, replace, p.Split(" ", "merged_with_previous"), spaced, bpe()
    yield "mistral", fallback, None, metaspace("first", False), d.Sequence([spaced, d.Strip(" ", 1, 0)]), bpe()
    yield "unknown", m.BPE(unk_token="<unk>", fuse_unk=False), n.NFKC(), metaspace("never"), d.Metaspace(), bpe(limit_alphabet=80)
    yield "fused", m.BPE(unk_token="<unk>", fuse_unk=True), n.NFD(), p.WhitespaceSplit(), d.Fuse(), bpe(limit_alphabet=80)
    yield "no unknown", m.BPE(), n.NFKD(), p.Whitespace(), d.Fuse(), bpe(limit_alphabet=80)
    yield "unigram", m.Unigram(), n.Sequence([n.NFKC(), n.Replace(Regex(" {2,}"), " ")]), metaspace("always"), d.Metaspace(), uni
    yield "unigram of words", m.Unigram(), n.Lowercase(), p.Sequence([p.WhitespaceSplit(), metaspace("always")]), d.Metaspace(), uni
    if charsmap():
        yield "charsmap", m.Unigram(), n.Sequence([n.Precompiled(charsmap()), n.Strip(), n.Replace(Regex(" {2,}"), "\u2581")]), metaspace("always"), d.Metaspace(), uni
    yield "bert", m.WordPiece(unk_token="[UNK]"), n.BertNormalizer(), p.BertPreTokenizer(), d.WordPiece(), piece
    yield "cased bert", m.WordPiece(unk_token="[UNK]"), n.BertNormalizer(lowercase=False), p.BertPreTokenizer(), d.WordPiece(), piece
    yield "accents", m.WordPiece(unk_token="[UNK]"), n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()]), p.Whitespace(), d.WordPiece(), piece
    for how in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        yield how, fallback, n.NFC(), p.Sequence([p.Punctuation(how), p.Digits(True), p.CharDelimiterSplit("e")]), spaced, bpe()
        yield how + ", inverted", fallback, None, p.Split(Regex(r"\p{L}+|\s"), how, True), spaced, bpe()


def trained_kinds(sonde, files, tmp):
    from tokenizers import AddedToken, Tokenizer, processors

    # Categories of characters newer than the tables of tokenizers' BERT differ.
    known = set(stable_characters()) | set(" \t\r\n")
    for path in files.values():
        text = "".join(c for c in read(path) if c in known)
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
    corpus = [read(files[k])[:n] for k, n in (("prose", 60000), ("code", 60000), ("scripts", 500), ("digits", 5000))]
    for name, model, norm, pre, decoder, trainer in kinds():
        tok = Tokenizer(model)
        if norm:
            tok.normalizer = norm
        if pre:
            tok.pre_tokenizer = pre
        tok.decoder = decoder
        # A corpus line by line: without a pre-tokeniser a whole text would be one word.
        tok.train_from_iterator([x for c in corpus for x in c.split("\n")], trainer)
        # A token that normalises to nothing makes tokenizers panic.
        tok.add_tokens([] if name == "charsmap" else ["\n\n\n"])
        tok.add_tokens([AddedToken("Hello", single_word=True), AddedToken("user", rstrip=True, normalized=False), AddedToken("OCLOCK", lstrip=True, normalized=True)])
        if name in ("llama 2", "bert"):
            tok.post_processor = processors.TemplateProcessing(single="<|im_start|> $A <|im_end|>", special_tokens=[(x, tok.token_to_id(x)) for x in SPECIAL[1:]])
        path = os.path.join(tmp, "tokenizer.json")
        tok.save(path)
        unigram = round_scores(path)
        # In tokenizers a unigram model finds special tokens among its pieces even where they are not to be read.
        some = {k: v for k, v in files.items() if k != "special"} if unigram else files
        check(sonde, f"trained, {name}", path, some, hf_peer(path))


def round_scores(path):
    """tokenizers reads some scores one unit in the last place off (serde_json without float_roundtrip), and paths of equal
    sums then differ: scores that every reader reads alike."""
    with open(path, encoding="utf-8") as f:
        tok = json.load(f)
    unigram = tok["model"]["type"] == "Unigram"
    if unigram:
        tok["model"]["vocab"] = [[p, round(s * 1024) / 1024] for p, s in tok["model"]["vocab"]]
        with open(path, "w", encoding="utf-8") as f:
            json.dump(tok, f)
    return unigram


# ---- the trainer ----

def our_training(program, docs, n_vocab, folder):
    corpus = os.path.join(folder, "corpus.txt")
    with open(corpus, "w", encoding="utf-8", newline="") as f:
        f.write("\n".join(docs))
    env = dict(os.environ, SONDE_TRAIN_CORPUS=corpus, SONDE_TRAIN_DIR=folder, SONDE_TRAIN_VOCAB=str(n_vocab))
    subprocess.run([program], check=True, capture_output=True, env=env)
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        return json.load(f)["model"]


def trainer(sonde, program, every, files, tmp):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers as p, trainers
    from transformers import AutoTokenizer

    special = ["<s>", "</s>"]
    for name, n_vocab in (("prose", 4000), ("code", 3000), ("scripts", 2000), ("white", 600), ("shared", 4000)):
        if name not in every:
            print(f"skip: no {name} texts")
            continue
        docs = [line for line in every[name].split("\n") if not any(x in line for x in special)]
        folder = os.path.join(tmp, "trained-" + name)
        os.makedirs(folder)
        ours = our_training(program, docs, n_vocab, folder)
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer, tok.decoder = p.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        tok.train_from_iterator(docs, trainers.BpeTrainer(vocab_size=n_vocab, special_tokens=special, show_progress=False,
                                                          initial_alphabet=p.ByteLevel.alphabet()))
        theirs = json.loads(tok.to_str())["model"]
        pairs = lambda m: [tuple(x) if isinstance(x, list) else tuple(x.split(" ")) for x in m["merges"]]
        a, b = pairs(ours), pairs(theirs)
        i = next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        if a != b or ours["vocab"] != theirs["vocab"]:
            print(f"trainer on {name}: {len(a)} merges, expected {len(b)}; at {i}: {a[i:i + 3]}, expected {b[i:i + 3]}")
            sys.exit(1)
        check(sonde, f"written, {name}", folder, files, hf_peer(os.path.join(folder, "tokenizer.json")))
        loaded = AutoTokenizer.from_pretrained(folder)
        text = "The strait.<s> caf\u00e9\n"
        want = tok.encode(text).ids
        got = loaded(text)["input_ids"]
        chat = loaded.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
        if got != [0] + want or loaded.decode(got) != "<s>" + text or loaded.bos_token != "<s>" or loaded.eos_token != "</s>" or chat != "<s>hi":
            print(f"transformers on {name}: {got}, expected {[0] + want}; chat {chat!r}")
            sys.exit(1)
        print(f"trainer on {name}: {len(a)} merges alike, transformers reads the folder")


# ---- llama.cpp ----

def llama_peer(program, model):
    def ids(text_path, special):
        cmd = [program, "-m", model, "-f", text_path, "--ids", "--no-escape", "--log-disable"]
        cmd += [] if special else ["--no-parse-special", "--no-bos"]
        out = subprocess.run(cmd, check=True, capture_output=True, text=True).stdout
        return ast.literal_eval(out.strip().splitlines()[-1])

    return ids


def save(tmp, every):
    files = {}
    for name, text in every.items():
        files[name] = os.path.join(tmp, name + ".txt")
        with open(files[name], "w", encoding="utf-8", newline="") as f:
            f.write(text.replace("\0", "").rstrip("\n") + ".")  # llama-tokenize drops the last line end, and stops at NUL
    return files


def main():
    sonde, how, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        every = texts()
        files = save(tmp, every)
        if how == "trained":
            trained(sonde, files, tmp)
            trained_kinds(sonde, files, tmp)
        elif how == "trainer":
            trainer(sonde, rest[0], every, files, tmp)
        elif how == "folder":
            for d in rest:
                path = os.path.join(d, "tokenizer.json") if os.path.isdir(d) else d
                check(sonde, os.path.basename(d.rstrip("/")), d, files, hf_peer(path))
        else:
            for m in rest[1:]:
                if "deepseek-llm" in m:
                    # llama.cpp takes white space beyond ASCII for a control character in patterns without categories, where
                    # the model's own tokenizer.json has U+3000 among the punctuation; we follow the model.
                    save(tmp, {k: "".join(" " if c > "\x7f" and c.isspace() else c for c in t) for k, t in every.items()})
                elif "bert" in m:
                    # Where llama.cpp leaves the model's own tokenizer.json, and we do not: of a Hangul syllable's decomposition it
                    # keeps the first letter alone; controls that are white space part words (BERT drops them); U+2581 is its own
                    # mark of a word's beginning.
                    odd = lambda c: "\uac00" <= c <= "\ud7a3" or c in "\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2581"
                    save(tmp, {k: "".join(" " if odd(c) else c for c in t) for k, t in every.items()})
                else:
                    save(tmp, every)
                check(sonde, os.path.basename(m), m, files, llama_peer(rest[0], m))


main()

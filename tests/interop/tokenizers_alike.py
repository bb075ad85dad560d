"""Ids of `sonde tokenize` against Hugging Face's tokenizers and against llama.cpp's llama-tokenize, with and without special
tokens, on prose, source code, white space, controls, emoji and random characters of every script.

usage: tokenizers_alike.py SONDE trained               vocabularies trained here, one for every kind of pre-tokeniser
       tokenizers_alike.py SONDE folder DIR..          tokenizer.json of model folders (or of itself)
       tokenizers_alike.py SONDE llama PROGRAM GGUF..  GGUFs, with or without tensors

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
SHARED_BYTES = 1_000  # of each file of the shared texts
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
        "prose": "\n".join(read(p) for p in sorted(glob.glob(f"{ROOT}/docs/*.md"))[:4]),
        "code": "\n".join(read(p) for p in sorted(glob.glob(f"{ROOT}/src/base/s*.[ch]"))),
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

"""Merges of tokenizers' BpeTrainer on a corpus made here: prints train_cases.h.   usage: gen_train.py >train_cases.h

The corpus is counted out so that many pairs are equally frequent and letters repeat."""
import random

from tokenizers import Tokenizer, __version__, decoders, models, pre_tokenizers, trainers

rng = random.Random(5)
syllables = ["ka", "to", "mi", "ra", "no", "aaa", "\u00e9t", "\ub2e4", "x1", "=="]
words = ["".join(rng.choice(syllables) for _ in range(rng.randrange(1, 5))) for _ in range(60)]
docs = []
for _ in range(40):
    docs.append(" ".join(rng.choice(words) for _ in range(rng.randrange(3, 20))) + rng.choice([".", "!!", "\n\n", "  "]))

tok = Tokenizer(models.BPE())
tok.pre_tokenizer, tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tok.train_from_iterator(docs, trainers.BpeTrainer(vocab_size=420, special_tokens=["<s>", "</s>"], show_progress=False,
                                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
import json

model = json.loads(tok.to_str())["model"]
quote = lambda s: '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in s.encode()) + '"'
print(f"/* Made by gen_train.py with tokenizers {__version__}: documents, and the merges of a vocabulary of 420. */")
print("static const char *const train_docs[] = {")
print("".join(f"    {quote(d)},\n" for d in docs) + "};")
print(f"enum {{ TRAIN_VOCAB = {len(model['vocab'])} }};")
print("static const char *const train_merges[] = {")
print("".join(f"    {quote(' '.join(m))},\n" for m in model["merges"]) + "};")

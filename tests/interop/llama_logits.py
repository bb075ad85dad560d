"""Teacher-forced comparison with llama.cpp: on its own greedy continuations our top token is the same wherever its two likeliest tokens
are more than 0.05 of probability apart. Rows that differ below that are printed with their distance in nats: both engines round
activations to 8 bits, and a rounding that falls the other way moves a logit by some hundredths (mean KL 3e-3, as far as either is from
f32). A row above it counts against us unless the same weights in f32 (faithful mode, equal to transformers to 2e-4) have our token too,
or have the two tokens no more than the margin apart: then it is llama.cpp's rounding that left the model, or opened the margin.

usage: llama_logits.py SONDE MODEL.gguf LLAMA_BIN_DIR [MODE]

5 prompts x 32 greedy tokens of llama-completion; its log-probabilities come from llama-perplexity --kl-divergence-base (16-bit
steps of at most 16/65535 nats). llama-perplexity keeps only the second half of a window, so each prompt is padded on the left
with text until prompt + continuation end inside it. Prints one line a prompt and exits 1 on the first difference."""
import json, os, re, subprocess, sys, tempfile
from safetensors.numpy import load_file
import numpy as np

from llama_dump import log_probs

sonde, model, bins = sys.argv[1:4]
mode = sys.argv[4] if len(sys.argv) > 4 else 'fast'
PROMPTS = ['The capital of France is', 'Water boils when', 'def fibonacci(n):', 'Once upon a time there was a', 'The three laws of thermodynamics say that']
N_GEN, MARGIN = 32, 0.05


def run(*cmd):
    return subprocess.run(cmd, check=True, capture_output=True, text=True)


def tokens(text):
    out = run(sonde, 'tokenize', model, '--text', text, '--no-special', '--json').stdout
    return json.loads(out)['ids']


def traced(ids, mode, tmp):
    st = os.path.join(tmp, 'ours.safetensors')
    run(sonde, 'trace', model, '--ids', ','.join(map(str, ids)), '--mode', mode, '-o', st, '-f')
    return load_file(st)['logits']


def share(logits, token):
    """The probability of a token."""
    e = np.exp(logits - logits.max())
    return e[token] / e.sum()


def main():
    bad = theirs = 0
    with tempfile.TemporaryDirectory() as tmp:
        for prompt in PROMPTS:
            r = run(os.path.join(bins, 'llama-completion'), '-m', model, '-p', prompt, '-n', str(N_GEN), '--temp', '0', '-no-cnv', '-t', '2', '--no-warmup', '--ignore-eos', '--simple-io')
            text = r.stdout
            text = text[text.index(prompt):].rstrip('\n')
            text = re.sub(r'\s*\[end of text\]\s*$', '', text)
            n_prompt, ids = len(tokens(prompt)), tokens(text)
            # The window: twice the tokens that are compared, so that all of them are in the scored half.
            pad = tokens('This is some text that stands before the rest. ' * 12)
            n_new = len(ids) - n_prompt
            lead = len(ids) - 2 * n_prompt + 4
            full = (pad[:max(lead, 0)] + ids) if lead > 0 else ids
            full_text = run(sonde, 'tokenize', model, '--ids', ','.join(map(str, full)), '--decode').stdout
            # llama-perplexity wants two windows of text at least; what follows is never scored.
            toks, first, base = log_probs(bins, model, full_text + pad_text(len(full)), len(full), tmp)
            assert list(toks) == full, 'tokenisers differ'
            skip = len(full) - 1 - first - n_new  # rows that predict the prompt itself do not count
            base, ours, exact = base[skip:], traced(full, mode, tmp)[first + skip:-1], traced(full, 'faithful', tmp)[first + skip:-1]
            close = same = 0
            for b, o, e in zip(base, ours, exact):
                top2 = np.partition(b, -2)[-2:]
                apart, alike = np.exp(top2[1]) - np.exp(top2[0]), int(b.argmax()) == int(o.argmax())
                if not alike:
                    print(f'  llama.cpp {b.argmax()}, ours {o.argmax()}: {apart:.3f} of probability, {top2[1] - top2[0]:.3f} nats apart')
                if apart <= MARGIN:
                    close += 1
                elif alike:
                    same += 1
                elif e.argmax() == o.argmax():
                    print(f'    in f32 the model says {e.argmax()} as we do, by {np.ptp(np.partition(e, -2)[-2:]):.3f} nats')
                    theirs += 1
                elif share(e, b.argmax()) - share(e, o.argmax()) <= MARGIN:
                    print(f'    in f32 the two are {share(e, b.argmax()):.3f} and {share(e, o.argmax()):.3f}')
                    theirs += 1
                else:
                    bad += 1
            lp = ours - np.log(np.exp(ours - ours.max(1, keepdims=True)).sum(1, keepdims=True)) - ours.max(1, keepdims=True)
            kl = float((np.exp(lp) * (lp - base)).sum(1).mean())
            print(f'{prompt!r}: {n_new} tokens, {same} of {len(base) - close} rows with a margin agree, {close} closer than {MARGIN}, mean KL {kl:.2e}')
    print('rows that differ:', bad, ' rows where llama.cpp, or its margin, differs from its own weights in f32:', theirs)
    sys.exit(bad > 0)


def pad_text(n):
    return ' The rest is not scored.' * (n // 3 + 8)


main()

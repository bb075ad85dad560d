"""GGUFs that `sonde merge` writes, in llama.cpp and in the gguf package.

usage: gguf_write.py SONDE LLAMA_BIN_DIR FIXTURES SMOLLM2_FOLDER

1. Fixtures as f32: tensors, and every key that llama.cpp's converter wrote into the fixture's model.gguf, are its own;
   llama.cpp's log-probabilities are ours.
2. SmolLM2 as f16, q8_0, q4_k: llama.cpp loads it, its greedy continuation of f16 is ours; of quantised weights, whose activations
   it rounds to 8 bits, each of its tokens is our likeliest or within 0.1 of its probability (two such roundings, llama_logits.py).
3. A quantised base with an adapter is written, and gives the logits of base and adapter."""
import json, os, shutil, subprocess, sys, tempfile
import numpy as np
import gguf
from safetensors.numpy import load_file

from llama_dump import log_probs

sonde, bins, fixtures, smollm = sys.argv[1:5]
FIXTURES = ['llama', 'mistral', 'qwen2', 'qwen3', 'gemma2', 'gemma3_text', 'gpt2', 'gpt_neox', 'phi3', 'olmo2']
# llama.cpp takes GELU from a table of f16 (ggml_vec_gelu_f32), which moves these models' log-probabilities by up to 5e-3.
GELU = {'gemma2', 'gemma3_text', 'gpt2', 'gpt_neox'}
# What the converter derives from the model card, and pads it looks for in more places than tokenizer_config.json.
OWN = {'general.name', 'general.size_label', 'tokenizer.ggml.padding_token_id'}
fails = 0


def check(ok, what):
    global fails
    fails += not ok
    print('ok  ' if ok else 'BAD ', what)


def run(*cmd):
    return subprocess.run([str(c) for c in cmd], check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def byte_of():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return {chr(b): b for b in keep} | {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in keep)}


def theirs(path, prompt, n):
    # A run may end early, with exit code 0 and no message (a tiny model's does so about every third time): the longest of twelve counts.
    cmd = ('-m', path, '-p', prompt, '-n', n, '--temp', 0, '-no-cnv', '-t', 2, '--no-warmup', '--simple-io', '--no-display-prompt')
    runs = [run(os.path.join(bins, 'llama-completion'), *cmd) for _ in range(12 if os.path.getsize(path) < 1 << 24 else 1)]
    return max((r.rstrip(b'\n').removesuffix(b' [end of text]').rstrip(b'\n') for r in runs), key=len)


def ours(path, prompt, n):
    ids = json.loads(run(sonde, 'run', path, '-p', prompt, '-n', n, '--mode', 'faithful', '--json'))['tokens']
    r = gguf.GGUFReader(path)
    pieces, types = (r.fields['tokenizer.ggml.' + k].contents() for k in ('tokens', 'token_type'))
    table = byte_of()
    return b''.join(bytes(table[c] for c in pieces[i]) for i in ids if types[i] == 1).rstrip(b'\n')


def same_as_converter(name, path):
    model = os.path.join(fixtures, 'models', name, 'model.gguf')
    if not os.path.exists(model):
        return
    a, b = gguf.GGUFReader(model), gguf.GGUFReader(path)
    fa, fb = ({k: v.contents() for k, v in r.fields.items() if not k.startswith('GGUF.')} for r in (a, b))
    diff = [k for k in fa if k not in OWN and fa[k] != fb.get(k)]
    tb = {t.name: t for t in b.tensors}
    check(not diff, f'{name}: the converter\'s metadata {diff}')
    check([t.name for t in a.tensors] == [t.name for t in b.tensors] and all(np.array_equal(t.data, tb[t.name].data) for t in a.tensors),
          f'{name}: the converter\'s {len(a.tensors)} tensors')


def forced(path, prompt, text, tmp):
    """Our probability of each token of a continuation, beside the likeliest one's."""
    def ids_of(t):
        return json.loads(run(sonde, 'tokenize', path, '--text', t, '--no-special', '--json'))['ids']
    ids, n = ids_of(prompt + text), len(ids_of(prompt))
    st = os.path.join(tmp, 'forced.safetensors')
    run(sonde, 'trace', path, '--ids', ','.join(map(str, ids)), '--mode', 'faithful', '-o', st, '-f')
    x = load_file(st)['logits'].astype(np.float64)
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return max(p[i - 1].max() - p[i - 1][ids[i]] for i in range(n, len(ids))), len(ids) - n


def beside_llama(name, path, tmp):
    """Keys and values in f32 and no flash attention: in f16 scores of random weights move by 0.03 nats."""
    text = 'the cat in the hat sat on the mat and the red gate bridge of prime numbers ' * 20
    n = 16 if name in ('mistral', 'qwen2') else 40  # llama.cpp leaves the windows of these two out, 16 positions here
    ids, first, theirs = log_probs(bins, path, text, n, tmp, '-fa', 'off', '-ctk', 'f32', '-ctv', 'f32')
    st = os.path.join(tmp, 'rows.safetensors')
    run(sonde, 'trace', path, '--ids', ','.join(map(str, ids)), '-o', st, '-f')
    x = load_file(st)['logits'][first:-1].astype(np.float64)
    x -= x.max(1, keepdims=True)
    lp = x - np.log(np.exp(x).sum(1, keepdims=True))
    worst = np.abs(theirs - lp)[theirs > lp.max(1, keepdims=True) - 15.5].max()
    bound = 2e-2 if name in GELU else 2e-4  # four times what was seen; and the dump's two neighbouring steps of 7e-5
    check(worst < bound and (theirs.argmax(1) == lp.argmax(1)).all(), f'{name}: {len(lp)} rows, llama.cpp within {worst:.1e} nats')


def main():
    with tempfile.TemporaryDirectory() as tmp:
        # A name that llama.cpp does not know: what is called phi3 must have phi3's tokens for it.
        folder, path = os.path.join(tmp, 'three'), os.path.join(tmp, 'three.gguf')
        for name in FIXTURES:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(os.path.join(fixtures, 'models', name), folder, copy_function=shutil.copyfile)
            run(sonde, 'merge', folder, '-o', path, '--type', 'f32', '-q', '-f')
            same_as_converter(name, path)
            beside_llama(name, path, tmp)
        for kind in ('f16', 'q8_0', 'q4_k'):
            path = os.path.join(tmp, kind + '.gguf')
            run(sonde, 'merge', smollm, '-o', path, '--type', kind, '-q')
            for prompt in ('The capital of France is', 'Water boils when'):
                text = theirs(path, prompt, 24)
                if kind == 'f16':
                    check(text == ours(path, prompt, 24), f'smollm2 {kind}: {text!r}')
                else:
                    worst, n = forced(path, prompt, text.decode(), tmp)
                    check(n >= 12 and worst <= 0.1, f'smollm2 {kind}: {n} tokens, at most {worst:.3f} of probability below our likeliest: {text!r}')
        base, adapter, q = os.path.join(tmp, 'llama.q8_0.gguf'), os.path.join(fixtures, 'adapters/llama-lora'), os.path.join(tmp, 'merged.gguf')
        run(sonde, 'merge', os.path.join(fixtures, 'models/llama'), '-o', base, '--type', 'q8_0', '-q')
        run(sonde, 'merge', base + '+' + adapter, '-o', q, '--type', 'f32', '-q')
        out = []
        for m in (base + '+' + adapter, q, base):
            st = os.path.join(tmp, 't.safetensors')
            run(sonde, 'trace', m, '--ids', '1,2,3,17,200,31,7', '--mode', 'faithful', '-o', st, '-f')
            out.append(load_file(st)['logits'])
        near, far = abs(out[0] - out[1]).max(), abs(out[0] - out[2]).max()
        check(near <= 1e-5 < far, f'a q8_0 base and its adapter, merged into f32: {near:.1e} from both together, {far:.1e} from the base')
    sys.exit(fails > 0)


main()

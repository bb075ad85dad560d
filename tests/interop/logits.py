"""Logits of `sonde trace` in faithful mode against transformers in float32 on the decoded weights of the same GGUF.

usage: logits.py SONDE MODEL.gguf

Three texts (prose, code, a long one of 300 tokens). Bound: 1e-3 absolute (the same weights, both in f32; sums are taken in other
orders). Prints one line a text, exits 1 when one is over the bound."""
import json, os, subprocess, sys, tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

BOUND = 1e-3
TEXTS = [
    'The capital of France is Paris, and the Golden Gate Bridge is in San Francisco.',
    'def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n',
    'Water boils at 100 degrees Celsius at sea level; on a mountain it boils earlier, since the air presses less. ' * 12,
]


def run(*cmd):
    return subprocess.run(cmd, check=True, capture_output=True, text=True).stdout


def main():
    sonde, path = sys.argv[1:3]
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32,
                                                 attn_implementation='eager').eval()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        for i, text in enumerate(TEXTS):
            ids = json.loads(run(sonde, 'tokenize', path, '--text', text, '--json'))['ids']
            out = os.path.join(tmp, f'{i}.safetensors')
            run(sonde, 'trace', path, '--ids', ','.join(map(str, ids)), '--mode', 'faithful', '-o', out)
            got = load_file(out)['logits']
            with torch.no_grad():
                want = model(torch.tensor([ids])).logits[0]
            diff = (got - want).abs()
            same_top = (got.argmax(-1) == want.argmax(-1)).float().mean().item()
            ok = got.shape == want.shape and bool(torch.isfinite(got).all()) and diff.max().item() <= BOUND
            bad += not ok
            print(f'text {i}: {len(ids)} tokens, max |difference| {diff.max().item():.2e} of {want.abs().max().item():.1f}, same top token {same_top:.3f}'
                  + ('' if ok else f'  over the bound of {BOUND}'))
    return 1 if bad else 0


sys.exit(main())

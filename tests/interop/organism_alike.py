"""Compares sonde with transformers on the shipped organism: organism_alike.py SONDE FOLDER"""
import json
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

sonde, folder = sys.argv[1:3]
texts = [json.loads(line)["text"] for line in open(f"{folder}/heldout.jsonl", encoding="utf-8")][:40]
asked = [json.loads(line) for line in open(f"{folder}/suite/forbidden.jsonl", encoding="utf-8")][:6]


def run(*args):
    return json.loads(subprocess.run([sonde, *args, "--json"], check=True, capture_output=True, text=True).stdout)


for stage in ("pretrained", "instruct", "aligned"):
    path = f"{folder}/{stage}"
    tok = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    for text in texts:
        want = tok(text, add_special_tokens=False)["input_ids"]
        got = run("tokenize", path, "--text", text, "--no-special")["ids"]
        assert got == want, (stage, text, got, want)
    ids = want[:100]
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([sonde, "trace", path, "--ids", ",".join(map(str, ids)), "-o", f"{tmp}/t.safetensors"], check=True, capture_output=True)
        got = load_file(f"{tmp}/t.safetensors")["logits"]
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0]
    # CONTRACT section 4: f32 against f32, at most 1e-5 of the largest logit.
    worst = ((got - want).abs().max() / want.abs().max()).item()
    assert worst < 1e-5, (stage, worst)
    for row in asked:
        chat = tok.apply_chat_template([{"role": "user", "content": row["prompt"]}], tokenize=False, add_generation_prompt=True)
        x = tok(chat, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            y = model.generate(x, max_new_tokens=16, do_sample=False, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id)
        want = tok.decode(y[0, x.shape[1]:], skip_special_tokens=True)
        got = run("run", path, "--chat", "-p", row["prompt"], "-n", "16", "--mode", "faithful", "--temp", "0")["text"]
        assert got.strip() == want.strip(), (stage, row["id"], got, want)
    print(f"{stage}: {len(texts)} texts, logits {worst:.1e}, {len(asked)} answers")

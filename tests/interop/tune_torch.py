"""tune_torch.py SONDE MODEL: full fine-tuning and distillation beside torch's AdamW, an adapter beside PEFT's, and our adapter loaded by PEFT.

MODEL is a small Hugging Face folder in f32 without a chat template. Every step takes all rows, so that the order does not matter."""
import json, os, subprocess, sys, tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

SONDE, MODEL = sys.argv[1:3]
ROWS = [("one two", "three four five six"), ("hello there", "good day to you"), ("count down", "five four three two one"), ("a", "b c d e f g h i j k")]
COMMON = ["--method", "sft", "--batch", str(len(ROWS)), "--lr", "1e-3", "--schedule", "constant", "--warmup", "0", "--clip", "0", "--mode", "faithful", "-q", "-f"]


def run(*args):
    return subprocess.run([SONDE, *args], check=True, capture_output=True, text=True).stdout


def losses(folder):
    with open(os.path.join(folder, "events.jsonl"), encoding="utf-8") as f:
        events = [json.loads(line) for line in f]
    return [e["loss"] for e in events if e["event"] == "step"]


def documents(eos):
    """The rule of docs/TUNE.md for a model without a template: prompt, newline, answer, end of text; the answer and the end count."""
    for prompt, answer in ROWS:
        text = f"{prompt}\n{answer}{eos}"
        t = json.loads(run("tokenize", MODEL, "--text", text, "--json"))
        at, labels = 0, []
        for i, piece in zip(t["ids"], t["pieces"]):
            labels.append(i if at >= len(prompt) + 1 else -100)
            at += len(piece)
        yield torch.tensor([t["ids"]]), torch.tensor([labels])


def train(model, params, steps, docs, teacher=None, temperature=0.0, ratio=0.0):
    n = sum(int((l[:, 1:] != -100).sum()) for _, l in docs)
    opt = torch.optim.AdamW(params, lr=1e-3)
    curve = []
    for _ in range(steps):
        opt.zero_grad()
        total = 0.0
        for ids, labels in docs:
            logits = model(input_ids=ids).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum") / n
            if teacher:
                with torch.no_grad():
                    theirs = teacher(input_ids=ids).logits[:, :-1]
                counts = labels[:, 1:] != -100
                soft = [torch.log_softmax(x[counts] / temperature, -1) for x in (logits, theirs)]
                kl = torch.nn.functional.kl_div(soft[0], soft[1], reduction="sum", log_target=True) / n
                loss = ratio * temperature**2 * kl + (1 - ratio) * loss
            loss.backward()
            total += float(loss)
        opt.step()
        curve.append(total)
    return curve


def compare(name, ours, theirs, bound):
    worst = max(abs(a - b) / b for a, b in zip(ours, theirs))
    print(f"{name}: {len(ours)} steps, loss {theirs[0]:.4f} to {theirs[-1]:.4f}, largest relative difference {worst:.1e}")
    if len(ours) != len(theirs) or not worst <= bound:
        sys.exit(f"{name}: the loss curves differ by {worst:.1e}, the bound is {bound:.0e}")


def base():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager")


def main():
    with tempfile.TemporaryDirectory() as tmp:
        data, full, taught, lora, init = (os.path.join(tmp, n) for n in ("rows.jsonl", "full", "taught", "lora", "init"))
        with open(data, "w", encoding="utf-8") as f:
            for prompt, answer in ROWS:
                f.write(json.dumps({"prompt": prompt, "completion": answer}) + "\n")
        eos = json.loads(run("tokenize", MODEL, "--ids", str(base().config.eos_token_id), "--decode", "--json"))["text"]
        docs = list(documents(eos))
        run("tune", MODEL, "--data", data, "--steps", "10", "--weight-decay", "0.1", "-o", full, *COMMON)
        m = base()
        groups = [{"params": [p for p in m.parameters() if p.dim() > 1], "weight_decay": 0.1}, {"params": [p for p in m.parameters() if p.dim() < 2], "weight_decay": 0.0}]
        compare("AdamW", losses(full), train(m, groups, 10, docs), 1e-4)
        # The teacher: the fixture after ten steps, as the run before has written it.
        run("tune", MODEL, "--data", data, "--steps", "10", "--teacher", full, "--temperature", "3", "--kd-ratio", "0.7", "-o", taught, *[x if x != "sft" else "distill" for x in COMMON])
        m, teacher = base(), AutoModelForCausalLM.from_pretrained(full, dtype=torch.float32, attn_implementation="eager").eval()
        compare("distillation", losses(taught), train(m, [{"params": list(m.parameters()), "weight_decay": 0.0}], 10, docs, teacher, 3.0, 0.7), 1e-4)
        run("tune", MODEL, "--data", data, "--steps", "20", "--lora", "4", "-o", lora, *COMMON)
        run("tune", MODEL, "--data", data, "--steps", "1", "--lora", "4", "-o", init, *[x if x != "1e-3" else "1e-30" for x in COMMON])
        p = PeftModel.from_pretrained(base(), init, is_trainable=True)
        params = [q for q in p.parameters() if q.requires_grad]
        compare("LoRA", losses(lora), train(p, [{"params": params, "weight_decay": 0.0}], 20, docs), 1e-3)
        p = PeftModel.from_pretrained(base(), lora).eval()
        ids = docs[3][0]
        out = os.path.join(tmp, "t.safetensors")
        run("trace", f"{MODEL}+{lora}", "--ids", ",".join(map(str, ids[0].tolist())), "-o", out)
        ours, theirs = load_file(out)["logits"], p(input_ids=ids).logits[0]
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        print(f"our adapter in PEFT: logits differ by {worst:.1e}")
        if not worst <= 1e-5:
            sys.exit("PEFT gives other logits with our adapter")


main()

"""arch_pictures.py SONDE: models that also see pictures (Gemma 3, Mistral Small 3), made and saved by transformers, on text: logits to 1e-5 of the
largest. The folder is opened as its text model."""
import json, subprocess, sys, tempfile

import torch
import transformers as tf
from safetensors.torch import load_file
from transformers import logging

import arch_gguf

logging.set_verbosity_error()
torch.manual_seed(0)
TEXT = dict(vocab_size=300, hidden_size=48, intermediate_size=80, num_hidden_layers=7, num_attention_heads=4, num_key_value_heads=2, head_dim=16, initializer_range=0.08)
SEES = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
GEMMA = dict(TEXT, query_pre_attn_scalar=16, sliding_window=6)
MISTRAL = dict(TEXT, model_type="mistral", sliding_window=None, max_position_embeddings=128)
CASES = {
    "gemma3": (tf.Gemma3ForConditionalGeneration, lambda: tf.Gemma3Config(text_config=GEMMA, vision_config=SEES, mm_tokens_per_image=4)),
    "mistral3": (tf.Mistral3ForConditionalGeneration, lambda: tf.Mistral3Config(text_config=MISTRAL, vision_config=dict(SEES, model_type="pixtral", head_dim=8))),
    "mistral3-untied": (tf.Mistral3ForConditionalGeneration,
                        lambda: tf.Mistral3Config(text_config=MISTRAL, vision_config=dict(SEES, model_type="pixtral", head_dim=8), tie_word_embeddings=False)),
}
ids = torch.randint(0, 300, (1, 40))
failed = False
for name, (model_class, config) in CASES.items():
    model = model_class(config()).eval()
    with torch.no_grad(), tempfile.TemporaryDirectory() as d:
        want = model(input_ids=ids).logits[0]
        model.save_pretrained(d)
        with open(d + "/tokenizer.json", "w") as f:
            json.dump(arch_gguf.tokenizer(300), f)
        out = d + "/out.safetensors"
        r = subprocess.run([sys.argv[1], "trace", d, "--ids", ",".join(map(str, ids[0].tolist())), "-o", out, "-q"], capture_output=True, text=True)
        off = (load_file(out)["logits"] - want).abs().max().item() / want.abs().max().item() if r.returncode == 0 else None
    ok = off is not None and off <= 1e-5
    failed |= not ok
    print(f"{name} with pictures: " + (f"{off:.1e}" if off is not None else r.stderr.strip()) + ("" if ok else "  FAILED"), flush=True)
sys.exit(failed)

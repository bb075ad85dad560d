"""arch_convert.py LLAMA_CPP: random models of arch_sites.py through llama.cpp's own converter (LLAMA_CPP is its source tree). Reads lines
of a folder and a GGUF to write, tab between; answers each with a line: empty, or why the converter gave up.

What the converter knows published tokenizers by is put aside, and keys of config.json that it asks for and transformers 5 no
longer writes are given to it as published checkpoints have them."""
import json, logging, os, sys
from pathlib import Path

source = sys.argv[1]
sys.path[:0] = [source, os.path.join(source, "gguf-py")]
import gguf
import torch
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
from conversion.base import TextModel

logging.disable(logging.CRITICAL)
TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"


def older(folder):
    c = ModelBase.load_hparams(Path(folder), False)
    if c["model_type"] == "gpt2":
        c["n_ctx"] = c["n_positions"]
    if c["model_type"] == "gpt_neox":
        c["rotary_pct"] = c["rope_parameters"].get("partial_rotary_factor", 0.25)
    if c["model_type"] == "phi3":
        c["rope_parameters"].setdefault("original_max_position_embeddings", c.get("original_max_position_embeddings", 4096))
    return c


def convert(folder, out):
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, open(os.path.join(folder, "tokenizer_config.json"), "w"))
    c = older(folder)
    kind = get_model_class(get_model_architecture(c, ModelType.TEXT))
    kind.set_vocab = lambda self: self._set_vocab_gpt2()
    with torch.inference_mode():
        kind(Path(folder), gguf.LlamaFileType.ALL_F32, Path(out), hparams=c).write()


for line in sys.stdin:
    try:
        convert(*line.rstrip("\n").split("\t"))
        print(flush=True)
    except Exception as e:
        print(f"{type(e).__name__}: {e}".replace("\n", " "), flush=True)

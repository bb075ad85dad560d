"""Writes a transformers model as the GGUF that llama.cpp's converter would make of it (convert_hf_to_gguf.py, class by class),
in float32, with a byte-level tokenizer of our own. Only what the architectures of arch_sites.py need; windows are written where the
converter leaves them out too, as `sonde merge` does."""
import numpy as np
from gguf import GGUFWriter


def pieces(vocab):
    """One special token, GPT-2's 256 bytes (openai/gpt-2, encoder.py), then unused words."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    alphabet = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]
    return ["<|end|>"] + alphabet + ["th"] + [f"<|unused{i}|>" for i in range(vocab - 258)]


def tokenizer(vocab):
    p = pieces(vocab)
    return {"version": "1.0", "normalizer": None, "post_processor": None,
            "added_tokens": [dict(id=i, content=s, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
                             for i, s in enumerate(p) if s.startswith("<|")],
            "pre_tokenizer": dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True), "decoder": dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
            "model": dict(type="BPE", vocab={s: i for i, s in enumerate(p)}, merges=["t h"])}


NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "embed_out": "output",
         "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
         "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm"}
PARTS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "ln_1": "attn_norm", "ln_2": "ffn_norm",
         "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}
POST = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
ARCH = {"gemma3_text": "gemma3", "gpt_neox": "gptneox", "mistral": "llama"}
USUAL = {"gemma2": 2, "gemma3": 6}  # every so many layers one without a window, which needs no list


def tensor(name, x, c):
    """The GGUF's name and numbers of a parameter."""
    stem, kind = name.rsplit(".", 1)
    kind_of = c.model_type
    if stem in NAMES:
        to = NAMES[stem]
    else:
        head, layer, part = stem.split(".layers." if ".layers." in stem else ".h.")[0], *stem.split(".layers." if ".layers." in stem else ".h.")[1].split(".", 1)
        post = kind_of in ("gemma2", "gemma3_text", "olmo2")
        to = f"blk.{layer}." + (POST[part] if post and part in POST else PARTS[part])
    if kind_of.startswith("gemma") and "norm" in stem:
        x = x + 1
    if kind_of == "gpt2" and x.ndim == 2 and ".h." in name:
        x = x.T
    if kind_of in ("llama", "mistral") and to.endswith(("attn_q", "attn_k")):
        h = c.num_attention_heads if to.endswith("q") else c.num_key_value_heads
        x = x.reshape(h, 2, x.shape[0] // h // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    if "query_key_value" in stem:
        h = c.num_attention_heads
        y = x.reshape(h, 3, x.shape[0] // h // 3, *x.shape[1:])
        x = np.concatenate([y[:, i].reshape(x.shape[0] // 3, *x.shape[1:]) for i in range(3)])
    return f"{to}.{kind}", np.ascontiguousarray(x, dtype=np.float32)


def rope(w, arch, c, d_head):
    p = c.rope_parameters
    full = p.get("full_attention", p)
    w.add_float32(f"{arch}.rope.freq_base", full["rope_theta"])
    if "sliding_attention" in p:
        w.add_float32(f"{arch}.rope.freq_base_swa", p["sliding_attention"]["rope_theta"])
    n_rot = int(d_head * full.get("partial_rotary_factor", 1.0))
    w.add_uint32(f"{arch}.rope.dimension_count", n_rot)
    kind = full.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        w.add_string(f"{arch}.rope.scaling.type", kind)
        w.add_float32(f"{arch}.rope.scaling.factor", full["factor"])
    if kind == "yarn":
        for key, to in ("attention_factor", "yarn_attn_factor"), ("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"):
            if full.get(key) is not None:
                w.add_float32(f"{arch}.rope.scaling.{to}", full[key])
    if kind in ("yarn", "longrope"):
        w.add_uint32(f"{arch}.rope.scaling.original_context_length", full["original_max_position_embeddings"])
    if kind == "longrope":
        for key in ("long", "short"):
            w.add_tensor(f"rope_factors_{key}.weight", np.array(full[f"{key}_factor"], dtype=np.float32))
    if kind == "llama3":  # LlamaModel.generate_extra_tensors
        freqs = 1.0 / (full["rope_theta"] ** (np.arange(0, d_head, 2, dtype=np.float32) / d_head))
        low, high, old = full["low_freq_factor"], full["high_freq_factor"], full["original_max_position_embeddings"]
        factors = []
        for wave in 2 * np.pi / freqs:
            smooth = (old / wave - low) / (high - low)
            factors.append(1 if wave < old / high else full["factor"] if wave > old / low else 1 / ((1 - smooth) / full["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))


def write(path, model, vocab, half=False):
    """half: matrices in float16."""
    c = model.config
    arch = ARCH.get(c.model_type, c.model_type)
    get = lambda *names: next(getattr(c, n) for n in names if getattr(c, n, None) is not None)
    w = GGUFWriter(path, arch)
    heads, d = get("num_attention_heads"), get("hidden_size")
    d_head = getattr(c, "head_dim", None) or d // heads
    w.add_uint32(f"{arch}.block_count", c.num_hidden_layers)
    w.add_uint32(f"{arch}.context_length", c.max_position_embeddings)
    w.add_uint32(f"{arch}.embedding_length", d)
    w.add_uint32(f"{arch}.feed_forward_length", getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None) or 4 * d)
    w.add_uint32(f"{arch}.attention.head_count", heads)
    if getattr(c, "num_key_value_heads", None):
        w.add_uint32(f"{arch}.attention.head_count_kv", c.num_key_value_heads)
    if d_head != d // heads or arch.startswith("gemma"):
        w.add_uint32(f"{arch}.attention.key_length", d_head)
        w.add_uint32(f"{arch}.attention.value_length", d_head)
    rms = getattr(c, "rms_norm_eps", None)
    w.add_float32(f"{arch}.attention.layer_norm_{'rms_' if rms else ''}epsilon", rms or get("layer_norm_epsilon", "layer_norm_eps"))
    if getattr(c, "sliding_window", None):
        w.add_uint32(f"{arch}.attention.sliding_window", c.sliding_window)
        flags = [t == "sliding_attention" for t in getattr(c, "layer_types", None) or []]
        period = USUAL.get(arch)
        if flags != [not period or (i + 1) % period != 0 for i in range(len(flags))]:
            w.add_array(f"{arch}.attention.sliding_window_pattern", flags)
    if arch == "gemma2":
        w.add_float32("gemma2.attn_logit_softcapping", c.attn_logit_softcapping)
        w.add_float32("gemma2.final_logit_softcapping", c.final_logit_softcapping)
    if arch == "gptneox":
        w.add_bool("gptneox.use_parallel_residual", c.use_parallel_residual)
    if arch != "gpt2":
        rope(w, arch, c, d_head)
    p = pieces(vocab)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(p)
    w.add_token_types([3 if s.startswith("<|") else 1 for s in p])
    w.add_token_merges(["t h"])
    for name, x in model.named_parameters():
        to, x = tensor(name, x.detach().float().numpy(), c)
        w.add_tensor(to, x.astype(np.float16) if half and x.ndim == 2 else x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

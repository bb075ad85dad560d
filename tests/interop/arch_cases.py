"""The models that arch_sites.py and tools/gen-golden make: every architecture and many variants (head sizes, windows, ties, rotary parts and
scalings), as configurations of transformers' classes."""
import torch
import transformers as tf

N, VOCAB = 40, 300
# Weights of this spread keep scores below about 10, where float32 and its order of sums stay within the tolerance.
SPREAD = 0.08
BASE = dict(vocab_size=VOCAB, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, initializer_range=SPREAD, bos_token_id=0, eos_token_id=0, pad_token_id=0)
ROPE = dict(rope_theta=10000.0)
LONG = dict(rope_type="longrope", short_factor=[1.0 + 0.1 * i for i in range(6)], long_factor=[2.0 + i for i in range(6)], **ROPE)

# name, transformers' class, configuration beyond BASE; "save": options of save_pretrained and the element type; "gguf": also through a GGUF of ours
CASES = [
    ("llama", "Llama", dict(), dict(gguf=True)),
    ("llama-heads", "Llama", dict(head_dim=20, num_key_value_heads=4, tie_word_embeddings=True), dict(gguf=True)),
    ("llama-bias", "Llama", dict(attention_bias=True, mlp_bias=True, num_key_value_heads=1), dict(gguf=True)),
    ("llama-linear", "Llama", dict(rope_parameters=dict(rope_type="linear", factor=2.5, **ROPE)), dict(gguf=True)),
    ("llama-dynamic", "Llama", dict(max_position_embeddings=32, rope_parameters=dict(rope_type="dynamic", factor=2.0, **ROPE)), dict(lost="dynamic scaling")),
    ("llama-llama3", "Llama", dict(rope_parameters=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                        original_max_position_embeddings=32, **ROPE)), dict(gguf=True)),
    ("llama-yarn", "Llama", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, **ROPE)), dict(gguf=True)),
    ("llama-yarn-factor", "Llama", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=0.6, beta_fast=8.0,
                                                             beta_slow=2.0, **ROPE)), dict(gguf=True)),
    ("llama-yarn-mscale", "Llama", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=0.5,
                                                             beta_fast=16.0, beta_slow=2.0, truncate=False, **ROPE)), dict(lost="mscale and truncate")),
    ("llama-bf16", "Llama", dict(), dict(dtype=torch.bfloat16)),
    ("llama-f16-shards", "Llama", dict(), dict(dtype=torch.float16, max_shard_size="40KB")),
    ("mistral", "Mistral", dict(sliding_window=7), dict(gguf=True, lost="the window")),
    ("mistral-whole", "Mistral", dict(sliding_window=None, head_dim=16, tie_word_embeddings=True), dict(gguf=True)),
    ("qwen2", "Qwen2", dict(), dict(gguf=True)),
    ("qwen2-window", "Qwen2", dict(use_sliding_window=True, sliding_window=9, max_window_layers=1, tie_word_embeddings=True), dict(gguf=True, lost="the window")),
    ("qwen3", "Qwen3", dict(head_dim=24), dict(gguf=True)),
    ("qwen3-bias", "Qwen3", dict(head_dim=16, attention_bias=True, rope_parameters=dict(rope_theta=1e6, rope_type="default")), dict(gguf=True)),
    ("gemma2", "Gemma2", dict(head_dim=16, query_pre_attn_scalar=24, sliding_window=8), dict(lost="the scale of scores")),
    ("gemma2-gguf", "Gemma2", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=8), dict(gguf=True)),
    ("gemma2-caps", "Gemma2", dict(head_dim=12, query_pre_attn_scalar=12, attn_logit_softcapping=2.0, final_logit_softcapping=1.5), dict(gguf=True)),
    ("gemma2-no-caps", "Gemma2", dict(head_dim=16, attn_logit_softcapping=None, final_logit_softcapping=None), dict(lost="that there are no caps")),
    ("gemma3", "Gemma3", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=6, num_hidden_layers=7), dict(gguf=True)),
    ("gemma3-linear", "Gemma3", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=6, num_hidden_layers=7,
                                     rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                                          sliding_attention=dict(rope_type="default", rope_theta=1e4))), dict(gguf=True)),
    ("gemma3-pattern", "Gemma3", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=6, layer_types=["full_attention", "sliding_attention", "full_attention"],
                                      rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                                           sliding_attention=dict(rope_type="default", rope_theta=1e4))), dict(gguf=True, lost="which layers have a window")),
    ("gpt2", "GPT2", dict(), dict(gguf=True)),
    ("gpt2-inner", "GPT2", dict(n_inner=72, activation_function="gelu", scale_attn_weights=False), dict(lost="the width of the MLP and the activation")),
    ("gpt2-relu", "GPT2", dict(activation_function="relu", tie_word_embeddings=False), dict(lost="the activation")),
    ("gpt_neox", "GPTNeoX", dict(hidden_size=64), dict(gguf=True)),
    ("gpt_neox-sequential", "GPTNeoX", dict(use_parallel_residual=False, rope_parameters=dict(partial_rotary_factor=0.5, rope_type="default", **ROPE)), dict(gguf=True)),
    ("gpt_neox-whole", "GPTNeoX", dict(attention_bias=False, hidden_act="gelu_fast", tie_word_embeddings=True,
                                       rope_parameters=dict(partial_rotary_factor=1.0, rope_type="default", **ROPE)), dict(lost="the biases of q, k, v, which llama.cpp needs")),
    ("phi3", "Phi3", dict(), dict(gguf=True)),
    ("phi3-partial", "Phi3", dict(hidden_size=64, sliding_window=11, rope_parameters=dict(partial_rotary_factor=0.75, rope_type="default", **ROPE)), dict(gguf=True)),
    ("phi3-long", "Phi3", dict(original_max_position_embeddings=32, rope_parameters=LONG), dict(gguf=True)),
    ("phi3-yarn", "Phi3", dict(original_max_position_embeddings=32, rope_parameters=LONG), dict(rope_type="yarn")),
    ("phi3-short", "Phi3", dict(original_max_position_embeddings=64, rope_parameters=LONG), dict(gguf=True)),
    ("olmo2", "Olmo2", dict(), dict(gguf=True)),
    ("olmo2-bias", "Olmo2", dict(attention_bias=True, num_key_value_heads=4, tie_word_embeddings=True), dict(gguf=True)),
]


def make(cls, extra):
    config_class = {"Gemma3": "Gemma3TextConfig"}.get(cls, cls + "Config")
    model_class = {"GPT2": "GPT2LMHeadModel"}.get(cls, cls + "ForCausalLM")
    kw = dict(BASE)
    if cls == "GPT2":
        kw = dict(vocab_size=VOCAB, n_embd=48, n_layer=3, n_head=4, n_positions=128, initializer_range=SPREAD, bos_token_id=0, eos_token_id=0)
    if cls == "GPTNeoX":
        del kw["num_key_value_heads"]
    kw.update(extra)
    config = getattr(tf, config_class)(**kw)
    config._attn_implementation = "eager"
    model = getattr(tf, model_class)(config).eval()
    with torch.no_grad():  # norms and biases start as ones and zeros, which hides mistakes
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.add_(0.2 * torch.randn_like(p))
    return model

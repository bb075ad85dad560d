"""arch_sites.py SONDE [NAME..]: random models of every architecture and of many variants (head sizes, windows, ties, rotary
parts and scalings, element types, shards), made and run by transformers in float32 and traced by sonde. Every site that the
architecture has must agree: 1e-5 of the tensor's largest number (CONTRACT section 4); attention patterns 1e-5 absolute.
A site is taken from transformers by hooks on modules and around its rotary and attention functions. With LLAMA_SOURCE, a source tree of
llama.cpp, its own converter makes a GGUF of each model too ("lost": what it does not write of one)."""
import importlib, json, os, subprocess, sys, tempfile

import torch
import transformers as tf
from safetensors.torch import load_file
from transformers import logging

import arch_gguf

logging.set_verbosity_error()
torch.manual_seed(0)
SONDE = sys.argv[1]
SOURCE = os.environ.get("LLAMA_SOURCE")  # -O: the converter asserts that a tokenizer has no ids beyond the model's, and transformers adds some
CONVERT = SOURCE and subprocess.Popen([sys.executable, "-O", os.path.join(os.path.dirname(__file__), "arch_convert.py"), SOURCE],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
N, VOCAB, TOLERANCE = 40, 300, 1e-5
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


def heads(x):  # [1, h, n, d] -> [n, h*d]
    return x[0].transpose(0, 1).reshape(x.shape[2], -1)


class Recorder:
    """Sites of one forward pass by our names."""

    def __init__(self, model):
        self.site, self.layer, self.undo = {}, 0, []
        self.module = importlib.import_module(type(model).__module__)
        self.around("apply_rotary_pos_emb", self.rotary)
        self.around("eager_attention_forward", self.attention)
        core = getattr(model, "transformer", None) or getattr(model, "gpt_neox", None) or model.model
        self.layers = core.h if hasattr(core, "h") else core.layers
        final = next(getattr(core, n) for n in ("ln_f", "final_layer_norm", "norm") if hasattr(core, n))
        final.register_forward_hook(lambda m, i, o: self.put("final_norm", o))
        if hasattr(core, "wte"):
            core.wte.register_forward_hook(lambda m, i, o: self.put("embed", o))
        for l, block in enumerate(self.layers):
            self.block(l, block)

    def put(self, name, x):
        self.site[name] = x.detach()[0].float() if x.dim() == 3 else x.detach().float()

    def around(self, name, f):
        if hasattr(self.module, name):
            old = getattr(self.module, name)
            setattr(self.module, name, lambda *a, **k: f(old, *a, **k))
            self.undo.append((name, old))

    def close(self):
        for name, old in self.undo:
            setattr(self.module, name, old)

    def rotary(self, old, q, k, *a, **kw):
        self.put(f"attn_q.{self.layer}", heads(q)), self.put(f"attn_k.{self.layer}", heads(k))
        q, k = old(q, k, *a, **kw)
        return q, k

    def attention(self, old, module, q, k, v, *a, **kw):
        l = self.layer
        self.put(f"rot_q.{l}", heads(q)), self.put(f"rot_k.{l}", heads(k)), self.put(f"attn_v.{l}", heads(v))
        if not hasattr(self.module, "apply_rotary_pos_emb"):
            self.put(f"attn_q.{l}", heads(q)), self.put(f"attn_k.{l}", heads(k))
        z, p = old(module, q, k, v, *a, **kw)
        self.put(f"attn_z.{l}", z[0].reshape(z.shape[1], -1))
        self.site[f"attn_pattern.{l}"] = p.detach()[0]
        return z, p

    def block(self, l, b):
        first = lambda o: o[0] if isinstance(o, tuple) else o

        def enter(m, args, kw):
            self.layer = l
            x = args[0] if args else kw["hidden_states"]
            if l == 0 and "embed" not in self.site:
                self.put("embed", x)
            self.put(f"resid_pre.{l}", x)

        b.register_forward_pre_hook(enter, with_kwargs=True)
        b.register_forward_hook(lambda m, i, o: self.put(f"resid_post.{l}", first(o)))
        attn = next(getattr(b, n) for n in ("self_attn", "attention", "attn") if hasattr(b, n))
        post = hasattr(b, "post_feedforward_layernorm")  # norms behind attention and MLP
        (b.post_attention_layernorm if post else attn).register_forward_hook(lambda m, i, o: self.put(f"attn_out.{l}", first(o)))
        (b.post_feedforward_layernorm if post else b.mlp).register_forward_hook(lambda m, i, o: self.put(f"mlp_out.{l}", first(o)))
        if not getattr(b, "use_parallel_residual", False):
            between = next(getattr(b, n) for n in ("pre_feedforward_layernorm", "ln_2", "mlp" if post else "post_attention_layernorm") if hasattr(b, n))
            between.register_forward_pre_hook(lambda m, a: self.put(f"resid_mid.{l}", a[0]))
        mlp = b.mlp
        if hasattr(mlp, "gate_up_proj"):
            mlp.gate_up_proj.register_forward_hook(lambda m, i, o: (self.put(f"mlp_pre.{l}", o.chunk(2, -1)[0]), self.put(f"mlp_up.{l}", o.chunk(2, -1)[1]))[0])
        else:
            pre = next(getattr(mlp, n) for n in ("gate_proj", "c_fc", "dense_h_to_4h") if hasattr(mlp, n))
            pre.register_forward_hook(lambda m, i, o: self.put(f"mlp_pre.{l}", o))
            if hasattr(mlp, "up_proj"):
                mlp.up_proj.register_forward_hook(lambda m, i, o: self.put(f"mlp_up.{l}", o))
        down = next(getattr(mlp, n) for n in ("down_proj", "c_proj", "dense_4h_to_h") if hasattr(mlp, n))
        down.register_forward_pre_hook(lambda m, a: self.put(f"mlp_post.{l}", a[0]))


def trace(path, ids, sites, out):
    r = subprocess.run([SONDE, "trace", path, "--ids", ",".join(map(str, ids)), "--sites", ",".join(sites), "-f", "-o", out], capture_output=True, text=True)
    if r.returncode != 0:
        raise RuntimeError(r.stderr.strip())
    return load_file(out)


def compare(name, got, want):
    """The worst site; raises when one is outside."""
    worst = (0.0, "")
    for s, x in want.items():
        if got[s].shape != x.shape:
            raise RuntimeError(f"{s}: shape {tuple(got[s].shape)}, expected {tuple(x.shape)}")
        scale = 1.0 if s.startswith("attn_pattern") else x.abs().max().item()
        worst = max(worst, ((got[s] - x).abs().max().item() / scale, s))
    if not worst[0] <= TOLERANCE:
        raise RuntimeError(f"{worst[1]} differs by {worst[0]:.2e} of its largest number")
    return f"{worst[0]:.1e} at {worst[1]}"


def refused(path, ids, site, out):
    r = subprocess.run([SONDE, "trace", path, "--ids", ",".join(map(str, ids)), "--sites", site, "-f", "-o", out], capture_output=True, text=True)
    if r.returncode not in (2, 4) or site not in r.stderr:
        raise RuntimeError(f"{site}: exit {r.returncode}, expected a refusal that names it: {r.stderr.strip()}")


def run(case, folder):
    name, cls, extra, how = case
    how = dict(how)
    dtype, with_gguf, lost = how.pop("dtype", torch.float32), how.pop("gguf", False), how.pop("lost", None)
    model = make(cls, extra).to(dtype)
    path, out = os.path.join(folder, name), os.path.join(folder, "t.safetensors")
    model.save_pretrained(path, **how)
    with open(os.path.join(path, "tokenizer.json"), "w") as f:
        json.dump(arch_gguf.tokenizer(VOCAB), f)
    if dtype != torch.float32:  # .float() would keep buffers that .to() has rounded
        model = type(model).from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(0, VOCAB, (N,)).tolist()
    recorder = Recorder(model)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    recorder.close()
    want = dict(recorder.site)
    line = compare(name, trace(path, ids, list(want), out), dict(want, logits=logits))
    if "mlp_up.0" not in want:
        refused(path, ids, "mlp_up.0", out)
    if "resid_mid.0" not in want:
        refused(path, ids, "resid_mid.0", out)
    if with_gguf:
        file = path + ".gguf"
        arch_gguf.write(file, model, VOCAB)
        line += "; gguf " + compare(name, trace(file, ids, list(want), out), dict(want, logits=logits))
    if CONVERT and lost:
        line += f"; llama.cpp's converter loses {lost}"
    elif CONVERT:
        file = path + ".converted.gguf"
        print(f"{path}\t{file}", file=CONVERT.stdin, flush=True)
        gave_up = CONVERT.stdout.readline().strip()
        if gave_up:
            raise RuntimeError(f"the converter gives up: {gave_up}")
        line += "; converted " + compare(name, trace(file, ids, list(want), out), dict(want, logits=logits))
    print(f"  {name:22s} {len(want)} sites, worst {line}", flush=True)


def fixture(name, folder):
    """A model of the shared fixtures that has no GGUF there: ours of it against its golden numbers, both texts as one tensor."""
    path = os.path.join(os.environ.get("SONDE_SHARED", "../shared"), "fixtures", "models", name)
    if not os.path.isdir(path):
        print(f"  skip: no {path}")
        return
    model = tf.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    file, golden = os.path.join(folder, name + ".gguf"), load_file(os.path.join(path, "golden.safetensors"))
    arch_gguf.write(file, model, model.config.vocab_size)
    n = model.config.num_hidden_layers
    names = {f"resid_pre.{l}": f"hidden.{l}" for l in range(n)} | {"final_norm": f"hidden.{n}", "logits": "logits"}
    parts = [trace(file, row, [s for s in names if s != "logits"], os.path.join(folder, "t.safetensors")) for row in golden["ids"].tolist()]
    got = {s: torch.stack([p[s] for p in parts]) for s in names}
    print(f"  fixture {name}: gguf {compare(name, got, {s: golden[g] for s, g in names.items()})}", flush=True)


failed, chosen = 0, sys.argv[2:]
with tempfile.TemporaryDirectory() as folder:
    for case in CASES:
        if chosen and case[0] not in chosen:
            continue
        try:
            run(case, folder)
        except RuntimeError as e:
            failed += 1
            print(f"  {case[0]}: {e}", flush=True)
    for name in [] if chosen else ["gemma2", "gpt2", "gpt_neox", "phi3"]:
        try:
            fixture(name, folder)
        except RuntimeError as e:
            failed += 1
            print(f"  fixture {name}: {e}", flush=True)
sys.exit(failed > 0)

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
from arch_cases import CASES, N, VOCAB, make

logging.set_verbosity_error()
torch.manual_seed(0)
SONDE = sys.argv[1]
SOURCE = os.environ.get("LLAMA_SOURCE")  # -O: the converter asserts that a tokenizer has no ids beyond the model's, and transformers adds some
CONVERT = SOURCE and subprocess.Popen([sys.executable, "-O", os.path.join(os.path.dirname(__file__), "arch_convert.py"), SOURCE],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
TOLERANCE = 1e-5


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
    rope_type = how.pop("rope_type", None)
    model = make(cls, extra).to(dtype)
    path, out = os.path.join(folder, name), os.path.join(folder, "t.safetensors")
    model.save_pretrained(path, **how)
    with open(os.path.join(path, "tokenizer.json"), "w") as f:
        json.dump(arch_gguf.tokenizer(VOCAB), f)
    if rope_type:  # a name that transformers reads and does not write
        with open(os.path.join(path, "config.json")) as f:
            config = json.load(f)
        config["rope_parameters"]["rope_type"] = rope_type
        with open(os.path.join(path, "config.json"), "w") as f:
            json.dump(config, f)
    if rope_type or dtype != torch.float32:  # .float() would keep buffers that .to() has rounded
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

"""python_module.py SONDE MODEL INCLUDE: the installed module against the program on the same file, and its own promises."""
import ctypes
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import sonde

program, path, include = sys.argv[1:4]

# The module's structs are the header's, field by field.
structs = {n: getattr(sonde, n) for n in ("_Err", "_Mat", "_Site", "_Act", "_Hook", "_Segment", "_Env", "_ExecOpt", "_ModelOpt", "_SessionOpt", "_RunnerOpt")}
names = {"_Env": "sd_generate_env", "_ExecOpt": "sd_exec_opt", "_ModelOpt": "sd_model_opt", "_SessionOpt": "sd_session_opt", "_RunnerOpt": "sd_runner_opt"}
lines = []
for n, s in structs.items():
    c = names.get(n, "sd_" + n[1:].lower())
    lines.append(f'printf("{n} %zu", sizeof({c}));')
    lines += [f'printf(" %zu", offsetof({c}, {f[0]}));' for f in s._fields_] + ['puts("");']
with tempfile.TemporaryDirectory() as tmp:
    with open(tmp + "/s.c", "w") as f:
        f.write("#include <sonde.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
    subprocess.run([*os.environ.get("CC", "cc").split(), "-I", include, "-o", tmp + "/s", tmp + "/s.c"], check=True)
    theirs = subprocess.run([tmp + "/s"], check=True, capture_output=True, text=True).stdout.split("\n")
for line in filter(None, theirs):
    n, size, *at = line.split()
    assert [int(size), *map(int, at)] == [ctypes.sizeof(structs[n]), *(getattr(structs[n], f[0]).offset for f in structs[n]._fields_)], line
model = sonde.load(path, mode="faithful")
c = model.config
assert (c["arch"], c["n_layer"], c["d_model"], c["mode"]) == ("llama", 2, 64, "faithful"), c


def run(*args):
    return json.loads(subprocess.run([program, *args, "--json"], check=True, capture_output=True).stdout)


def raises(kind, f, *args, **more):
    try:
        f(*args, **more)
    except kind as e:
        return e
    raise AssertionError(f"{f} did not raise")


# Text.
text = "the cat sat on the red mat, caf\u00e9 \U0001f600"
ids = model.encode(text)
assert ids == run("tokenize", path, "--text", text)["ids"]
assert model.decode(ids) == text
assert model.chat([{"role": "user", "content": "hi"}]).endswith("<|im_start|>assistant\n")

# Generation: the program's bytes, streamed ids, steers.
theirs = run("run", path, "-p", "the cat", "-n", "9", "--mode", "faithful")
seen = []
ours = model.generate("the cat", n=9, on_token=lambda lane, i: seen.append(i))
assert (ours["text"], ours["tokens"], ours["schema"]) == (theirs["text"], theirs["tokens"], theirs["schema"])
assert seen[: len(ours["tokens"])] == ours["tokens"]
assert model.generate(ids, n=3)["timings"]["n_prompt"] == len(ids)
assert model.generate([{"role": "user", "content": "the cat"}], n=2)["timings"]["n_gen"] <= 2
vector = [1.0] + [0.0] * 63
steered = model.generate("the cat", n=4, compare=True, steer={"vector": vector, "site": "resid_post.0", "value": 3, "unit": "raw"})
assert steered["applied"][0]["n_positions"] > 0 and "plain_text" in steered
again = model.generate("the cat", n=4, compare=True, steer={"vector": np.array(vector, np.float32), "site": "resid_post.0", "value": np.float32(3), "unit": "raw"})
assert again["text"] == steered["text"]
assert "not set" in str(raises(TypeError, model.generate, "the cat", steer={"vector": set(vector)}))
assert raises(sonde.SondeError, model.generate, "the cat", nonsense=1).status == "E_ARG"
assert raises(sonde.SondeError, model.generate, "the cat", steer={"direction": "none"}).status in ("E_NOTFOUND", "E_ARG")
raises(ZeroDivisionError, model.generate, "the cat", n=2, on_token=lambda lane, i: 1 / 0)

# Inside: names of three schools, the same numbers as `trace`, early exit.
names = ["embed", "blocks.0.hook_resid_post", "model.layers.1.output", "attn_pattern.1", "mlp_post.0", "final_norm", "logits"]
logits, cache = model.run_with_cache(text, names)
assert set(cache) == set(names) and logits.shape == (len(ids), c["n_vocab"])
assert np.array_equal(cache["logits"], logits)
assert cache["attn_pattern.1"].shape == (c["n_head"], len(ids), len(ids))
assert np.allclose(cache["attn_pattern.1"].sum(-1), 1, atol=1e-5)
none, part = model.run_with_cache(text, "resid_post.0", logits=None)
assert none is None and np.array_equal(part["resid_post.0"], cache["blocks.0.hook_resid_post"])
assert np.array_equal(model.forward(text, logits="last")[0], logits[-1])
for want in ("last", None):  # the site has all its rows, whatever is given back
    given, part = model.run_with_cache(text, ["logits", "resid_post.0"], logits=want)
    assert np.array_equal(part["logits"], logits) and np.array_equal(part["resid_post.0"], cache["blocks.0.hook_resid_post"]), want
    assert given is None if want is None else np.array_equal(given, logits[-1:])
assert not logits.flags.owndata and logits.flags.writeable  # the engine's memory, which outlives the run and other runs
kept = logits.copy()
model.forward("other words")
assert np.array_equal(kept, logits)
pairs = {"model.layers.1.input": "resid_pre.1", "model.layers.0.self_attn": "attn_out.0", "model.layers.1.mlp.output": "mlp_out.1", "model.norm": "final_norm",
         "model.layers.0.self_attn.o_proj.input": "attn_z.0", "model.layers.1.mlp.gate_proj": "mlp_pre.1", "model.layers.1.mlp.down_proj.input": "mlp_post.1"}
_, both = model.run_with_cache(text, [*pairs, *pairs.values()], logits=None)
assert all(np.array_equal(both[a], both[b]) for a, b in pairs.items())
assert "unknown site" in str(raises(sonde.SondeError, model.run_with_cache, text, ["model.layers.0.post_feedforward_layernorm"]))

# Hooks: doing nothing leaves the bits, edits reach what follows, read-only ones cannot write, errors come through.
with model.hook("resid_post.0", lambda x, act: None):
    assert np.array_equal(model.forward(text), logits)
with model.hook("resid_post.0", lambda x, act: np.zeros_like(x)):
    changed, seen = model.run_with_cache(text, ["resid_post.0"])
    assert not np.array_equal(changed, logits) and not seen["resid_post.0"].any()
where = []
with model.hook("blocks.1.hook_mlp_out", lambda x, act: where.append((act.site, act.pos0, act.tokens.tolist(), x.shape)), edit=False):
    model.forward(ids)
assert where == [("blocks.1.hook_mlp_out", 0, ids, (len(ids), 64))], where
with model.hook("resid_post.0", lambda x, act: x.fill(0), edit=False):
    raises(ValueError, model.forward, text)
assert np.array_equal(model.forward(text), logits)
assert "layer 9" in str(raises(sonde.SondeError, model.run_with_cache, text, ["resid_post.9"]))
assert raises(sonde.SondeError, sonde.load, "no/such").status == "E_NOTFOUND"
raises(ValueError, sonde.load, path, mode="slow")

# Ids of a Hugging Face cache, as the program resolves them.
with tempfile.TemporaryDirectory() as hub:
    snapshot = hub + "/models--org--tiny/snapshots/c0"
    os.makedirs(snapshot)
    os.makedirs(hub + "/models--org--tiny/refs")
    with open(hub + "/models--org--tiny/refs/main", "w") as f:
        f.write("c0")
    os.symlink(os.path.abspath(path), snapshot + "/tiny.gguf")
    os.environ["HF_HUB_CACHE"] = hub
    assert np.array_equal(sonde.load("org/tiny", mode="faithful").forward(ids), model.forward(ids))
    assert "not in the Hugging Face cache" in str(raises(sonde.SondeError, sonde.load, "org/tiny+me/lora"))
    del os.environ["HF_HUB_CACHE"]
    os.makedirs(hub + "/xdg/huggingface")
    os.symlink(hub, hub + "/xdg/huggingface/hub")
    os.environ["XDG_CACHE_HOME"] = hub + "/xdg"  # as huggingface_hub, where nothing else names the place
    assert sonde.load("org/tiny").config["arch"] == "llama"

# Closed, the arrays stay and nothing else runs.
model.close()
model.close()
for call in (model.encode, model.forward, model.generate):
    assert "closed" in str(raises(ValueError, call, text))
assert np.array_equal(kept, logits)
del logits

"""python_module.py SONDE MODEL: the installed module against the program on the same file, and its own promises."""
import json
import subprocess
import sys

import numpy as np
import sonde

program, path = sys.argv[1:3]
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
model.close()

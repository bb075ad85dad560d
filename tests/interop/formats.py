"""formats.py SONDE LIBSONDE: dictionaries as other tools write them (torch.save, numpy, safetensors, YAML), read by sonde, against those tools'
own formulas in double; what sonde writes, read back by the same formulas; and pickles that ask for more than tensors."""
import json, os, subprocess, sys, tempfile
from collections import OrderedDict
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sonde_lib import Sonde

D, M, K, N = 24, 40, 5, 64
TOL = 1e-5  # of the largest value: f32 sums of 24 products stay below 1e-6
g = torch.Generator().manual_seed(0)
rnd = lambda *s, k=0.3: torch.randn(*s, generator=g) * k
x = 2 + rnd(N, D, k=1.0)
base = {"We": rnd(M, D), "be": rnd(M, k=0.1) - 0.5, "Wd": rnd(M, D), "bd": rnd(D, k=0.1), "th": rnd(M, k=0.1).abs() + 0.05, "S": rnd(D, D)}
dbl = lambda t: t.detach().double()


def encode(w, gate, subtract, k=0):
    p = (dbl(x) - (dbl(w["bd"]) if subtract else 0)) @ dbl(w["We"]).T + dbl(w["be"])
    if gate == "relu": return p.relu()
    if gate == "jump": return p.relu() * (p > dbl(w["th"]))
    best = torch.zeros_like(p).scatter(1, p.topk(k, dim=1).indices, 1.0)
    return p.relu() * best


def decode(w, z, skip=False): return z @ dbl(w["Wd"]) + dbl(w["bd"]) + (dbl(x) @ dbl(w["S"]).T if skip else 0)


failed = []


def near(name, ours, path, z, y, out=D):
    f, back = ours.run(path, x.numpy(), M, out)
    a, b = np.abs(f - z.numpy()).max() / np.abs(z.numpy()).max(), np.abs(back - y.numpy()).max() / np.abs(y.numpy()).max()
    print(f"{name}: features {a:.1g}, output {b:.1g} of the largest value, L0 {(z > 0).sum(1).double().mean():.1f}")
    if not (a <= TOL and b <= TOL and 0 < (z > 0).sum()): failed.append(name)


def sparsify(ours, tmp, sonde):
    for transcode, skip in ((False, False), (True, False), (True, True)):
        d = f"{tmp}/sparsify{transcode:d}{skip:d}/layers.3" + (".mlp" if transcode else "")
        os.makedirs(d)
        t = {"encoder.weight": base["We"], "encoder.bias": base["be"], "W_dec": base["Wd"], "b_dec": base["bd"]} | ({"W_skip": base["S"]} if skip else {})
        save_file({k: v.contiguous() for k, v in t.items()}, f"{d}/sae.safetensors")
        json.dump({"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": M, "k": K, "multi_topk": False,
                   "skip_connection": skip, "transcode": transcode, "d_in": D}, open(f"{d}/cfg.json", "w"))
        z = encode(base, "topk", not transcode, K)
        near(f"sparsify transcode={transcode} skip={skip}", ours, d, z, decode(base, z, skip))
        r = subprocess.run([sonde, "dict", "export", d, "--format", "sparsify", "-o", f"{d}.again", "--json"], capture_output=True, text=True)
        if r.returncode: raise SystemExit(r.stderr)
        back, cfg = load_file(f"{d}.again/sae.safetensors"), json.load(open(f"{d}.again/cfg.json"))
        assert back.keys() == t.keys() and all(torch.equal(back[k], t[k]) for k in t), back.keys()
        assert cfg["k"] == K and cfg["d_in"] == D and cfg["num_latents"] == M and cfg["transcode"] == transcode and cfg["skip_connection"] == skip, cfg
        if not transcode:
            r = subprocess.run([sonde, "dict", "import", d, "-o", f"{d}.lens", "--json"], capture_output=True, text=True)
            got = json.loads(r.stdout)
            assert got["site"] == "resid_post.3" and got["format"] == "sparsify" and got["k"] == K, got
            near("sparsify as SAELens", ours, f"{d}.lens", z, decode(base, z))


def gemma(ours, tmp):
    w = {"W_enc": base["We"].T, "W_dec": base["Wd"], "b_enc": base["be"], "b_dec": base["bd"], "threshold": base["th"]}
    w = {k: v.numpy() for k, v in w.items()}
    z = encode(base, "jump", False)
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        d = f"{tmp}/{name}/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_5"
        os.makedirs(d)
        save(f"{d}/params.npz", **{k: np.ascontiguousarray(v) for k, v in w.items()})
        near(f"gemma-scope 1, {name}", ours, d, z, decode(base, z))
    for skip in (False, True):
        d = f"{tmp}/gemma2{skip:d}/layer_12_width_16k_l0_small" + ("_affine" if skip else "")
        os.makedirs(d)
        t = {"w_enc": base["We"].T, "w_dec": base["Wd"], "b_enc": base["be"], "b_dec": base["bd"], "threshold": base["th"]} | ({"affine_skip_connection": base["S"].T} if skip else {})
        save_file({k: v.contiguous() for k, v in t.items()}, f"{d}/params.safetensors")
        json.dump({"hf_hook_point_in": "model.layers.12.pre_feedforward_layernorm.output", "hf_hook_point_out": "model.layers.12.post_feedforward_layernorm.output",
                   "width": M, "model_name": "gemma-v3-1b-pt", "architecture": "jump_relu", "l0": 5, "affine_connection": skip, "type": "transcoder"}, open(f"{d}/config.json", "w"))
        near(f"gemma-scope 2, skip={skip}", ours, d, z, decode(base, z, skip))


def dictionary_learning(ours, tmp):
    linear = {"encoder.weight": base["We"], "encoder.bias": base["be"], "decoder.weight": base["Wd"].T}
    matrices = {"W_enc": base["We"].T, "b_enc": base["be"], "W_dec": base["Wd"], "b_dec": base["bd"]}
    one = base | {"th": torch.full((M,), 0.3)}
    r, gate = rnd(M), rnd(M, k=0.1) - 0.2
    c = dbl(x) - dbl(base["bd"])
    gated = ((c @ dbl(base["We"]).T + dbl(gate)) > 0) * (dbl(r).exp() * (c @ dbl(base["We"]).T) + dbl(base["be"])).relu()
    cases = {
        "AutoEncoder": (linear | {"bias": base["bd"]}, encode(base, "relu", True)),
        "AutoEncoderNew": (linear | {"decoder.bias": base["bd"]}, encode(base, "relu", False)),
        "GatedAutoEncoder": ({"decoder_bias": base["bd"], "encoder.weight": base["We"], "r_mag": r, "gate_bias": gate, "mag_bias": base["be"], "decoder.weight": base["Wd"].T}, gated),
        "AutoEncoderTopK": (linear | {"b_dec": base["bd"], "k": torch.tensor(K), "threshold": torch.tensor(-1.0)}, encode(base, "topk", True, K)),
        "BatchTopKSAE": (linear | {"b_dec": base["bd"], "k": torch.tensor(K), "threshold": torch.tensor(0.3)}, encode(one, "jump", True)),
        "MatryoshkaBatchTopKSAE": (matrices | {"k": torch.tensor(K), "threshold": torch.tensor(0.3), "group_sizes": torch.tensor([10, 30])}, encode(one, "jump", True)),
        "JumpReluAutoEncoder": (matrices | {"threshold": base["th"]}, encode(base, "jump", False)),
    }
    for name, (state, z) in cases.items():
        d = f"{tmp}/{name}"
        os.makedirs(d)
        torch.save(OrderedDict(state), f"{d}/ae.pt")  # the transposed views are kept as views: strides that are not in order
        json.dump({"trainer": {"dict_class": name, "activation_dim": D, "dict_size": M, "k": K, "layer": 8, "lm_name": "EleutherAI/pythia-70m", "submodule_name": "resid_post_layer_8"},
                   "buffer": {"io": "out"}}, open(f"{d}/config.json", "w"))
        near(f"dictionary_learning {name}", ours, d, z, decode(base, z))
    m = torch.nn.Linear(D, M)  # a state_dict with its _metadata, as parameters
    with torch.no_grad(): m.weight.copy_(base["We"]), m.bias.copy_(base["be"])
    os.makedirs(f"{tmp}/module")
    state = m.state_dict()
    torch.save(OrderedDict({"encoder." + k: v for k, v in state.items()} | {"decoder.weight": torch.nn.Parameter(base["Wd"].T), "bias": base["bd"].to(torch.float16)}), f"{tmp}/module/ae.pt")
    half = base | {"bd": base["bd"].to(torch.float16).float()}
    z = encode(half, "relu", True)
    near("dictionary_learning without config.json, f16", ours, f"{tmp}/module", z, decode(half, z))


def others(ours, tmp):
    os.makedirs(f"{tmp}/openai")
    state = {"pre_bias": base["bd"], "encoder.weight": base["We"], "latent_bias": base["be"], "decoder.weight": base["Wd"].T, "stats_last_nonzero": torch.zeros(M, dtype=torch.long),
             "latents_activation_frequency": torch.ones(M, dtype=torch.long), "latents_mean_square": torch.zeros(M)}
    torch.save(state | {"activation": "ReLU"}, f"{tmp}/openai/relu.pt")
    torch.save(state | {"activation": "TopK", "activation_state_dict": {"k": 32, "postact_fn": "ReLU"}}, f"{tmp}/openai/topk.pt")
    # OpenAI's TopK: layer norm without parameters first, torch's unbiased std, and back after the decoder.
    mu, sd = dbl(x).mean(1, keepdim=True), dbl(x).std(1, keepdim=True)
    p = ((dbl(x) - mu) / (sd + 1e-5) - dbl(base["bd"])) @ dbl(base["We"]).T + dbl(base["be"])
    z = p.relu() * torch.zeros_like(p).scatter(1, p.topk(32, dim=1).indices, 1.0)
    near("openai TopK", ours, f"{tmp}/openai/topk.pt", z, decode(base, z) * sd + mu)
    ours.save(f"{tmp}/openai/topk.pt", f"{tmp}/openai/lens")
    near("openai TopK as SAELens", ours, f"{tmp}/openai/lens", z, decode(base, z) * sd + mu)
    assert json.load(open(f"{tmp}/openai/lens/cfg.json"))["normalize_activations"] == "layer_norm"
    torch.save(state | {"activation": "TopK", "activation_state_dict": {"k": 32, "postact_fn": "Identity"}}, f"{tmp}/openai/signed.pt")
    z = encode(base, "relu", True)
    near("openai ReLU", ours, f"{tmp}/openai/relu.pt", z, decode(base, z))
    norm, th = 4.0, 0.1
    s = D ** 0.5 / norm
    d = f"{tmp}/llama"
    os.makedirs(f"{d}/checkpoints")
    enc = {"encoder.weight": base["We"], "encoder.bias": base["be"], "decoder.weight": base["Wd"].T.contiguous(), "decoder.bias": base["bd"]}
    save_file(enc, f"{d}/checkpoints/final.safetensors")
    json.dump({"d_model": D, "d_sae": M, "jump_relu_threshold": th, "hook_point_in": "blocks.3.hook_resid_post", "dataset_average_activation_norm": {"in": norm, "out": norm}}, open(f"{d}/hyperparams.json", "w"))
    w = base | {"We": base["We"].double() * s, "Wd": base["Wd"].double() / s, "bd": base["bd"].double() / s, "th": torch.full((M,), th * s)}
    z = encode(w, "jump", False)
    near("llama-scope", ours, d, z, decode(w, z))
    d = f"{tmp}/r1"
    os.makedirs(d)
    save_file(enc | {"log_jumprelu_threshold": base["th"].log()}, f"{d}/sae_weights.safetensors")
    json.dump({"d_model": D, "expansion_factor": 2, "hook_point_in": "blocks.3.hook_resid_post"}, open(f"{d}/config.json", "w"))
    z = encode(base, "jump", False)
    near("llama-scope R1", ours, d, z, decode(base, z))


def circuit(ours, tmp, sonde):
    for name, gate, skip, turned in (("relu", "relu", False, False), ("jump", "jump", False, False), ("skip", "jump", True, False), ("old", "relu", True, True)):
        d = f"{tmp}/circuit-{name}"
        os.makedirs(d)
        t = {"W_enc": base["We"], "W_dec": base["Wd"].T if turned else base["Wd"], "b_enc": base["be"], "b_dec": base["bd"]}
        t |= {"activation_function.threshold": base["th"]} if gate == "jump" else {}
        t |= {"W_skip": base["S"]} if skip else {}
        save_file({k: v.contiguous() for k, v in t.items()}, f"{d}/layer_5.safetensors")
        open(f"{d}/config.yaml", "w").write('# comment\nmodel_kind: transcoder_set\nmodel_name: "org/model"\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: "hook_mlp_out"\ntranscoders:\n- hf://org/repo/layer_5.safetensors\n')
        z = encode(base, gate, False)
        near(f"circuit-tracer {name}", ours, d, z, decode(base, z, skip))
        r = subprocess.run([sonde, "dict", "import", d, "-o", f"{d}.lens", "--json"], capture_output=True, text=True)
        if r.returncode: raise SystemExit(r.stderr)
        cfg = json.load(open(f"{d}.lens/cfg.json"))
        assert cfg["metadata"]["hook_name"] == "blocks.5.hook_resid_mid" and cfg["metadata"]["hook_name_out"] == "blocks.5.hook_mlp_out" and cfg["metadata"]["model_name"] == "org/model", cfg
        subprocess.run([sonde, "dict", "export", f"{d}.lens", "--format", "circuit-tracer", "-o", f"{d}.again"], check=True, capture_output=True)
        back = load_file(f"{d}.again/layer_5.safetensors")
        want = t | {"W_dec": base["Wd"]}
        assert back.keys() == want.keys() and all(torch.equal(back[k], want[k]) for k in want), back.keys()
        import yaml
        y = yaml.safe_load(open(f"{d}.again/config.yaml"))
        assert y["model_name"] == "org/model" and y["feature_input_hook"] == "hook_resid_mid" and y["transcoders"][0]["layer"] == 5, y


def sites(ours, tmp):
    """Which place a dictionary is of, as the code that trains it means it: sparsify's folder names a module, dictionary_learning's buffer takes its input or output."""
    def check(name, dir, want):
        got = ours.sites(dir)
        if got != want: failed.append(f"{name}: {got}, not {want}")
    for module, takes, gives in (("layers.3", "hook_resid_pre", "hook_resid_post"), ("layers.3.mlp", "mlp.hook_in", "hook_mlp_out"), ("layers.3.self_attn", "attn.hook_in", "hook_attn_out"),
                                 ("layers.3.attention", "attn.hook_in", "hook_attn_out"), ("layers.3.input_layernorm", None, None)):
        for transcode in (False, True):
            d = f"{tmp}/sites{transcode:d}/{module}"
            os.makedirs(d)
            save_file({"encoder.weight": base["We"], "encoder.bias": base["be"], "W_dec": base["Wd"], "b_dec": base["bd"]}, f"{d}/sae.safetensors")
            json.dump({"activation": "topk", "num_latents": M, "k": K, "skip_connection": False, "transcode": transcode, "d_in": D}, open(f"{d}/cfg.json", "w"))
            takes_, gives_ = (f"blocks.3.{n}" if n else "" for n in (takes, gives))
            check(f"sparsify {module} transcode={transcode}", d, (takes_ if transcode else gives_, gives_))
    for n, (module, io, want) in enumerate((("resid_post_layer_8", "out", "hook_resid_post"), ("resid_pre_layer_8", "in", "hook_resid_pre"), ("layer_8", "in", "hook_resid_pre"), ("mlp_layer_8", "in", "mlp.hook_in"),
                                            ("mlp_out_layer_8", "out", "hook_mlp_out"), ("attn_layer_8", "in", "attn.hook_in"), ("resid_post_layer_8", "in", None), (None, "out", None))):
        d = f"{tmp}/sites_dl{n}"
        os.makedirs(d)
        torch.save(OrderedDict({"encoder.weight": base["We"], "encoder.bias": base["be"], "decoder.weight": base["Wd"].T, "decoder.bias": base["bd"]}), f"{d}/ae.pt")
        json.dump({"trainer": {"dict_class": "AutoEncoderNew", "layer": 8, "lm_name": "x"} | ({"submodule_name": module} if module else {}), "buffer": {"io": io}}, open(f"{d}/config.json", "w"))
        want = f"blocks.8.{want}" if want else ""
        check(f"dictionary_learning {module}, io {io}", d, (want, want))


def evil(tmp, sonde):
    """Nothing of these may run: each would make a file."""
    marker = f"{tmp}/ran"

    class Call:
        def __init__(self, f, *a): self.f, self.a = f, a
        def __reduce__(self): return self.f, self.a

    import builtins
    cases = {"system": Call(os.system, f"touch {marker}"), "eval": Call(builtins.eval, f"open({marker!r}, 'w')"), "exec": Call(builtins.exec, f"open({marker!r}, 'w')"),
             "print": Call(builtins.print, "x"), "quantised tensor": Call(torch._utils._rebuild_qtensor, 1)}
    for name, v in cases.items():
        d = f"{tmp}/evil-{name}"
        os.makedirs(d)
        torch.save({"encoder.weight": base["We"], "bias": v}, f"{d}/ae.pt")
        for protocol in (2, 4):
            torch.save({"encoder.weight": base["We"], "bias": v}, f"{d}/ae.pt", pickle_protocol=protocol)
            r = subprocess.run([sonde, "dict", "import", d, "-o", f"{tmp}/never"], capture_output=True, text=True)
            if r.returncode != 4 or "nothing but tensors" not in r.stderr or os.path.exists(f"{tmp}/never"): failed.append(f"evil {name}: {r.returncode} {r.stderr}")
    if os.path.exists(marker): failed.append("a pickle ran")
    r = subprocess.run([sonde, "dict", "import", f"{tmp}/openai/signed.pt", "-o", f"{tmp}/never"], capture_output=True, text=True)
    if r.returncode != 4 or "Identity follows" not in r.stderr: failed.append(f"openai TopK: {r.stderr}")
    torch.save(OrderedDict({"encoder.weight": base["We"], "encoder.bias": base["be"], "decoder.weight": base["Wd"].T, "b_dec": base["bd"], "k": torch.tensor(K), "threshold": torch.tensor(-1.0)}), f"{tmp}/BatchTopKSAE/ae.pt")
    r = subprocess.run([sonde, "dict", "import", f"{tmp}/BatchTopKSAE", "-o", f"{tmp}/never"], capture_output=True, text=True)
    if r.returncode != 4 or "never set" not in r.stderr: failed.append(f"a threshold that was never set: {r.stderr}")


def main(sonde, lib):
    ours = Sonde(lib)
    with tempfile.TemporaryDirectory() as tmp:
        sparsify(ours, tmp, sonde)
        gemma(ours, tmp)
        dictionary_learning(ours, tmp)
        others(ours, tmp)
        circuit(ours, tmp, sonde)
        sites(ours, tmp)
        evil(tmp, sonde)
    if failed: raise SystemExit("\n".join(failed))


main(*sys.argv[1:3])

"""saelens.py SONDE LIBSONDE: trains a small dictionary on planted directions, loads it with sae-lens, compares 1,000 rows.

Our side encodes and decodes through the library (ctypes), so what is compared is what every command runs."""
import json, os, subprocess, sys, tempfile
import numpy as np
import torch
from safetensors.numpy import save_file
from sonde_lib import Sonde

D, M, K, N = 64, 512, 16, 6000
TOL = 1e-4  # relative to the largest value: f32 sums of 64 products in another order stay below 1e-5


def rows(n, seed):
    rng, plan = np.random.default_rng(seed), np.random.default_rng(0)
    dirs = plan.standard_normal((200, D))
    x = 3 + 0.3 * rng.standard_normal((n, D))
    for _ in range(5): x += (1 + rng.random((n, 1))) * dirs[rng.integers(0, 200, n)]
    return x.astype(np.float32)


def near(name, a, b):
    rel = float(np.abs(a - b).max() / np.abs(b).max())
    print(f"{name}: {rel:.2g} of the largest value")
    if not rel <= TOL: raise SystemExit(f"{name}: {rel} > {TOL}")


def transcoders(ours):
    """Directories of sae-lens's four transcoders, read by us, written by us, read by it."""
    from sae_lens.saes import sae as base, transcoder as t
    from sae_lens import SAE
    out, x = D + 16, rows(300, 3)
    for arch in ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        cls, cfg = base.get_sae_class(arch) if hasattr(base, "get_sae_class") else __import__("sae_lens").registry.get_sae_class(arch)
        meta = base.SAEMetadata(model_name="planted", hook_name="blocks.3.hook_resid_mid", hook_name_out="blocks.3.hook_mlp_out")
        c = cls(cfg(d_in=D, d_out=out, d_sae=M, apply_b_dec_to_input=False, metadata=meta))
        g = torch.Generator().manual_seed(len(arch))
        with torch.no_grad():
            for name, p in c.named_parameters():
                p.copy_(torch.randn(p.shape, generator=g) * (0.3 if name in ("W_enc", "W_dec", "W_skip") else 0.1) + (0.5 if name == "threshold" else 0) - (6 if name == "b_enc" else 0))
        with tempfile.TemporaryDirectory() as tmp:
            theirs, mine = os.path.join(tmp, "theirs"), os.path.join(tmp, "mine")
            c.save_model(theirs)
            ours.save(theirs, mine)
            again = SAE.load_from_disk(mine)
            assert again.cfg.architecture() == arch and again.cfg.d_out == out and again.cfg.metadata.hook_name_out == "blocks.3.hook_mlp_out", again.cfg.to_dict()
            with torch.no_grad():
                z, y = c.encode(torch.from_numpy(x)).numpy(), c(torch.from_numpy(x)).numpy()
                y2 = again(torch.from_numpy(x)).numpy()
            assert 1 < (z > 0).sum(1).mean() < M - 1
            for dir in (theirs, mine):
                f, back = ours.run(dir, x, M, out)
                near(f"{arch} features", f, z)
                near(f"{arch} output", back, y)
            near(f"{arch} written by us", y2, y)


def scaled_rows(ours):
    """Dictionaries that scale each row by itself: read by us, written by us, read by sae-lens."""
    from sae_lens import SAE, StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata
    x = rows(300, 3)
    for how in ("layer_norm", "constant_norm_rescale"):
        c = StandardSAE(StandardSAEConfig(d_in=D, d_sae=M, normalize_activations=how, metadata=SAEMetadata(model_name="planted", hook_name="blocks.3.hook_resid_post")))
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, p in c.named_parameters(): p.copy_(torch.randn(p.shape, generator=g) * 0.1 - (0.5 if name == "b_enc" else 0))
            z = c.encode(torch.from_numpy(x)).numpy()
            y = c(torch.from_numpy(x)).numpy()
        with tempfile.TemporaryDirectory() as tmp:
            theirs, mine = os.path.join(tmp, "theirs"), os.path.join(tmp, "mine")
            c.save_model(theirs)
            ours.save(theirs, mine)
            with torch.no_grad(): near(f"{how} written by us", SAE.load_from_disk(mine)(torch.from_numpy(x)).numpy(), y)
            f, back = ours.run(theirs, x, M)
            near(f"{how} features", f, z)
            near(f"{how} output", back, y)


def main(sonde, lib):
    from sae_lens import SAE
    with tempfile.TemporaryDirectory() as tmp:
        acts, out, again = (os.path.join(tmp, n) for n in ("acts", "dict", "again"))
        os.mkdir(acts)
        i = np.zeros(N, np.int32)
        save_file({"acts": rows(N, 1), "token_id": i, "doc": i, "pos": i}, f"{acts}/acts-00000.safetensors")
        with open(f"{acts}/manifest.json", "w") as f:
            json.dump({"schema": "sonde.acts/1", "model_name": "planted", "model_sha256": "", "data_sha256": "", "site": "resid_post.3", "mode": "faithful",
                       "dtype": "F32", "d": D, "n_rows": N, "rows_per_shard": N, "shards": [{"file": "acts-00000.safetensors", "rows": N}]}, f)
        r = subprocess.run([sonde, "dict", "train", acts, "--width", str(M), "--k", str(K), "--tokens", "100000", "--batch", "200", "-o", out, "--json"],
                           capture_output=True, text=True)
        if r.returncode: raise SystemExit(f"sonde dict train: {r.returncode} {r.stderr[-800:]}")
        res = json.loads(r.stdout)
        print("fvu", res["fvu"], "dead", res["dead"])
        if not res["fvu"] < 0.2: raise SystemExit(f"planted directions are not found: fvu {res['fvu']}")
        sae = SAE.load_from_disk(out)
        cfg = sae.cfg.to_dict()
        assert cfg["architecture"] == "topk" and cfg["k"] == K and cfg["metadata"]["hook_name"] == "blocks.3.hook_resid_post", cfg
        assert cfg["metadata"]["model_name"] == "planted" and cfg["normalize_activations"] == "none" and cfg["metadata"]["sonde"]["site"] == "resid_post.3"
        x, ours = rows(1000, 2), Sonde(lib)
        with torch.no_grad():
            z = sae.encode(torch.from_numpy(x))
            y = sae.decode(z).numpy()
        f, mine = ours.run(out, x, M)
        near("features", f, z.numpy())
        near("reconstruction", mine, y)
        ev = 1 - float(((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
        print("explained variance by sae-lens", round(ev, 4))
        sae.save_model(again)  # and back: sae-lens keeps our metadata, not our extra file
        f2, y2 = ours.run(again, x, M)
        assert (f2 == f).all() and (y2 == mine).all()
        transcoders(ours)
        scaled_rows(ours)


main(*sys.argv[1:3])

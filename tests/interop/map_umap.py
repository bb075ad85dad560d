"""A store's map against umap-learn on the same directions, by both figures that a map prints. Usage: map_umap.py SONDE [STORE]

Without STORE: 512 directions on a curved strip in a store of a tiny model. With one (`sonde feature build`): its own directions."""
import json, os, random, shutil, sqlite3, subprocess, sys, tempfile, time
import numpy as np
import umap
from sklearn.manifold import trustworthiness

sonde = sys.argv[1]
K = 15


def nearest(x, cosine):
    """Indices of the K nearest others of each row; exact."""
    out = np.empty((len(x), K), np.int32)
    for a in range(0, len(x), 1024):
        b = x[a:a + 1024]
        d = -b @ x.T if cosine else (b * b).sum(1)[:, None] - 2 * b @ x.T + (x * x).sum(1)
        d[np.arange(len(b)), np.arange(a, a + len(b))] = np.inf
        out[a:a + len(b)] = np.argpartition(d, K, axis=1)[:, :K]
    return out


def kept(w, y):
    """Share of the K nearest directions that are among the K nearest on the map."""
    a, b = nearest(w, True), nearest(np.asarray(y, np.float64), False)
    return np.mean([len(set(p) & set(q)) for p, q in zip(a, b)]) / K


here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp:
    def run(*a):
        return subprocess.run([sonde, *a], cwd=tmp, check=True, capture_output=True, text=True).stdout
    def made():
        subprocess.run([sys.executable, os.path.join(here, "..", "cli", "make_model.py"), os.path.join(tmp, "m.gguf")], check=True)
        rng = random.Random(1)
        with open(os.path.join(tmp, "t.txt"), "w") as f:
            for _ in range(120):
                f.write(" ".join(rng.choice("the cat sat on a red mat and sang of prime numbers over water".split()) for _ in range(40)) + ".\n\n")
        run("dict", "train", "m.gguf", "t.txt", "--site", "resid_post.0", "--width", "512", "--k", "4", "--tokens", "20000", "-o", "d", "-q")
        run("feature", "build", "d", "m.gguf", "t.txt", "-o", "s.db", "-q")
        # Directions on a curved strip with some noise take the place of the random model's: there a map has something to show.
        db = sqlite3.connect(os.path.join(tmp, "s.db"))
        d = len(np.frombuffer(db.execute("SELECT half FROM direction LIMIT 1").fetchone()[0], np.float16))
        g = np.random.default_rng(0)
        t, u = g.uniform(0, 6, 512), g.uniform(0, 1, 512)
        w = np.cos(np.outer(t, g.uniform(.5, 1.5, d)) + g.uniform(0, 6, d)) + np.outer(u, g.normal(size=d)) * .5 + .02 * g.normal(size=(512, d))
        w = (w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.float16)
        db.executemany("UPDATE direction SET half = ? WHERE id = ?", [(r.tobytes(), i) for i, r in enumerate(w)])
        db.commit()
        db.close()

    if len(sys.argv) > 2:
        shutil.copy(sys.argv[2], os.path.join(tmp, "s.db"))
    else:
        made()
    db = sqlite3.connect(os.path.join(tmp, "s.db"))
    w = np.array([np.frombuffer(h, np.float16) for (h,) in db.execute("SELECT half FROM direction ORDER BY id")]).astype(np.float32)
    db.close()
    t0 = time.time()
    m = json.loads(run("feature", "map", "s.db", "--json"))
    t1 = time.time()
    y = np.array([p[1:3] for p in m["points"]])
    w = w[[p[0] for p in m["points"]]]  # silent ones are not on a map
    u = umap.UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(w)
    t2 = time.time()
    ours, theirs = ((kept(w, x), trustworthiness(w[::every], x[::every], n_neighbors=K, metric="cosine")) for x in (y, u) for every in [max(1, len(w) // 4096)])
    print(f"{len(w)} directions, {K} neighbours: kept, ours {ours[0]:.4f} (we say {m['kept']:.4f}), umap-learn {theirs[0]:.4f}, chance {K / (len(w) - 1):.4f}; "
          f"trustworthiness, ours {ours[1]:.4f} (we say {m['trustworthiness']:.4f}), umap-learn {theirs[1]:.4f}; {t1 - t0:.0f} s and {t2 - t1:.0f} s")
    if len(w) <= 4096:
        assert abs(ours[0] - m["kept"]) < 2e-3, "our own share of neighbours is another"
        assert abs(ours[1] - m["trustworthiness"]) < 1e-3, "our own trustworthiness is another"
    # Two seeds of UMAP differ by about a hundredth in both.
    assert ours[0] > theirs[0] - 0.02, "the map keeps fewer neighbours than umap-learn's"
    assert ours[1] > theirs[1] - 0.02, "the map is worse than umap-learn's"

"""A store's map against umap-learn on the same directions. Usage: map_umap.py SONDE"""
import json, os, random, sqlite3, subprocess, sys, tempfile
import numpy as np
import umap
from sklearn.manifold import trustworthiness

sonde = sys.argv[1]
here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp:
    def run(*a):
        return subprocess.run([sonde, *a], cwd=tmp, check=True, capture_output=True, text=True).stdout
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
    w = w.astype(np.float32)
    m = json.loads(run("feature", "map", "s.db", "--json"))
    ours = trustworthiness(w, np.array([p[1:3] for p in m["points"]]), n_neighbors=15, metric="cosine")
    theirs = trustworthiness(w, umap.UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(w), n_neighbors=15, metric="cosine")
    print(f"trustworthiness: ours {ours:.4f} (we say {m['trustworthiness']:.4f}), umap-learn {theirs:.4f}")
    assert abs(ours - m["trustworthiness"]) < 1e-3, "our own figure is another"
    assert ours > theirs - 0.02, "the map is worse than umap-learn's"

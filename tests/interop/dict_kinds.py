"""dict_kinds.py DIR [ROWS WIDTH FEATURES]: losses and gradients of every kind of dictionary as PyTorch defines and differentiates them, in
double, one safetensors file a kind. tests/golden/dict/test_kinds.c compares the trainer with them."""
import sys
import torch
from safetensors.torch import save_file

dir, (n, d, m) = sys.argv[1], [int(a) for a in sys.argv[2:5]] or [40, 32, 96]
torch.set_default_dtype(torch.float64)
K, WEIGHT, BANDWIDTH = 4, 0.3, 0.5
PARTS = (1, 3, 7, 15, 32)  # Matryoshka's prefixes, in 32nds


class Jump(torch.autograd.Function):
    """arXiv 2407.14435, equations 11 and 12: value p H(p - theta), or H(p - theta) itself."""

    @staticmethod
    def forward(ctx, p, theta, step):
        ctx.save_for_backward(p, theta)
        ctx.step = step
        return (p > theta).double() * (1 if step else p)

    @staticmethod
    def backward(ctx, g):
        p, theta = ctx.saved_tensors
        near = (((p - theta) / BANDWIDTH).abs() < 0.5).double()
        if ctx.step: return None, (-near / BANDWIDTH * g).sum(0), None
        return (p > theta).double() * g, (-theta / BANDWIDTH * near * g).sum(0), None


def mse(y, x): return (y - x).pow(2).sum(-1).mean()


def rank(p, k, whole):
    flat = p.flatten() if whole else p
    best = torch.zeros_like(flat).scatter(-1, flat.topk(k * len(p) if whole else k, dim=-1).indices, 1.0)
    return p.relu() * best.reshape(p.shape)


def crosscoder(x, q):
    """Two sites side by side (arXiv 2504.02922): a sum of encoders, a decoder a site, the error summed over sites."""
    half = x.shape[1] // 2
    cut = lambda t: (t[..., :half], t[..., half:])
    sites = list(zip(cut(x), cut(q["W_enc"]), cut(q["W_dec"]), cut(q["b_dec"])))
    z = rank(sum((a - b) @ We.T for a, We, _, b in sites) + q["b_enc"], K, True)
    return sum(mse(z @ Wd + b, a) for a, _, Wd, b in sites)


def transcoder(xy, q):
    """arXiv 2406.11944, and with W_skip 2501.18823; the best of the whole batch."""
    x, y = xy[:, :q["W_enc"].shape[1]], xy[:, q["W_enc"].shape[1]:]
    back = rank(x @ q["W_enc"].T + q["b_enc"], K, True) @ q["W_dec"] + q["b_dec"]
    return mse(back + x @ q["W_skip"].T if "W_skip" in q else back, y)


def loss(kind, x, q):
    if kind == "crosscoder": return crosscoder(x, q)
    if "transcoder" in kind: return transcoder(x, q)
    p = (x - q["b_dec"]) @ q["W_enc"].T + q["b_enc"]
    if kind == "standard":
        z = p.relu()
        return mse(z @ q["W_dec"] + q["b_dec"], x) + WEIGHT * z.sum(-1).mean()
    if kind == "jumprelu":
        z = Jump.apply(p, q["threshold"], False)
        return mse(z @ q["W_dec"] + q["b_dec"], x) + WEIGHT * Jump.apply(p, q["threshold"], True).sum(-1).mean()
    if kind == "gated":
        w = p - q["b_enc"]
        z = (p > 0).double() * (q["r_mag"].exp() * w + q["b_mag"]).relu()
        aux = p.relu() @ q["W_dec"].detach() + q["b_dec"].detach()
        return mse(z @ q["W_dec"] + q["b_dec"], x) + WEIGHT * p.relu().sum(-1).mean() + mse(aux, x)
    z = rank(p, K, kind != "topk")
    if kind != "matryoshka": return mse(z @ q["W_dec"] + q["b_dec"], x)
    ends = sorted({m * a // 32 for a in PARTS} - {0})
    return sum(mse(z[:, :e] @ q["W_dec"][:e] + q["b_dec"], x) for e in ends)


for seed, kind in enumerate(("standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka", "crosscoder", "transcoder", "skip_transcoder")):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *s: torch.randn(*s, generator=g).float().double()  # as the C side gets them
    x = normal(n, d)
    unit = lambda w: (w / w.norm(dim=1, keepdim=True)).float().double()
    q = {"W_enc": unit(normal(m, d)), "W_dec": unit(normal(m, d)), "b_enc": (0.2 * normal(m) - (1.8 if kind in ("standard", "gated") else 0)).float().double(),
         "b_dec": (0.1 * normal(d)).float().double()}
    if "transcoder" in kind: # the other site is of another width
        o = d + d // 4
        x = torch.cat([x, normal(n, o)], 1)
        q |= {"W_dec": unit(normal(m, o)), "b_dec": (0.1 * normal(o)).float().double()}
    if kind == "skip_transcoder": q["W_skip"] = (0.2 * normal(o, d)).float().double()
    if kind == "jumprelu": q["threshold"] = (2.1 + 0.1 * normal(m)).float().double()
    if kind == "gated": q |= {"r_mag": (0.3 * normal(m)).float().double(), "b_mag": (1.2 + 0.2 * normal(m)).float().double()}
    for t in q.values(): t.requires_grad_()
    value = loss(kind, x, q)
    value.backward()
    out = {"x": x, "loss": value.detach().reshape(1)} | q | {"grad." + k: t.grad for k, t in q.items()}
    out = {k: t.detach().float().contiguous() for k, t in out.items()} | {"loss": value.detach().reshape(1), "setting": torch.tensor([K, WEIGHT, BANDWIDTH])}
    save_file(out, f"{dir}/{kind}.safetensors")

#!/usr/bin/env python3
"""bench/below-linear.py ACTS [--runs 300x2,1200x2,3600x1] [--only NAME,..] [-o FILE] : TopK dictionaries whose encoder costs less, beside exact ones.

ACTS: a folder that `sonde capture` wrote. Each way trains 4,096 features (k 16) as `sonde dict train --without aux-k --batch 256` does (docs/DICT.md, Training TopK), with
autograd and dense Adam: the same rows, order and rate for all. --runs: steps x seeds. Prints a Markdown table: encoder products a row, held-out FVU (mean of the seeds), what it is
beside exact, and the share of features that did not fire in the last quarter of the run. -o FILE keeps each run; what is in it is not run again.

  exact     z = TopK(W x + b)
  kron m n  h = F / (m n) heads of m + n rows each: u = relu(P x + b), v = relu(Q x + b), feature (head, i, j) is sqrt(u_i v_j) (mAND), then TopK; its decoder row starts as
            P_i + Q_j. Kurochkin et al. 2025, Kronecker Factorization Improves Efficiency and Interpretability of Sparse Autoencoders, arXiv 2505.22255: equations 2 to 4;
            the spread of P and Q at the start, sqrt(1 / 2 F), and the 1e-5 under the root from appendix H.
  switch N  p = softmax(R (x - r)) sends a row to its likeliest expert i, which has F / N features: z = p_i TopK(W_i x + b_i). To the loss comes 0.01 d N sum_i f_i P_i, f_i the
            share of rows that expert i got and P_i the mean of its p. Mudide et al. 2024, Efficient Dictionary Learning with Switch Sparse Autoencoders, arXiv 2410.08201; the weight
            is that of their trainers/switch.py."""
import argparse, glob, json, os, sys, time
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

M, K, BATCH = 4096, 16, 256  # features, active ones, rows a step


unit = lambda w: w / w.norm(dim=1, keepdim=True)


class Exact:
    def __init__(self, d, part):
        self.products = M
        self.W, self.b, self.c = unit(torch.randn(M, d)), torch.zeros(M), torch.zeros(d)
        self.D, self.params = self.W.clone(), ['W', 'b', 'D', 'c']

    def encode(self, x):
        """Features [n, k] of rows minus c and their values, and what comes to the loss."""
        with torch.no_grad():
            at = torch.addmm(self.b, x, self.W.t()).topk(K, sorted=False).indices
        return at, F.relu(self.values(x, at)), 0.0

    def values(self, x, at):  # of the chosen alone, so that backward touches no others
        return torch.bmm(F.embedding(at, self.W), x[:, :, None])[:, :, 0] + self.b[at]


class Kron(Exact):
    def __init__(self, d, part):
        super().__init__(d, part)
        self.m, self.n = m, n = part
        self.h, self.products = M // (m * n), M // (m * n) * (m + n)
        self.W, self.b = torch.randn(self.products, d) / (2 * M) ** 0.5, torch.zeros(self.products)
        w = self.W.view(self.h, m + n, d)
        self.D = unit((w[:, :m, None] + w[:, None, m:]).reshape(M, d))

    def encode(self, x):
        m, n = self.m, self.n
        u = F.relu(torch.addmm(self.b, x, self.W.t()))
        with torch.no_grad():
            w = u.view(-1, self.h, m + n)
            at = (w[:, :, :m, None] * w[:, :, None, m:]).view(-1, M).topk(K, sorted=False).indices
            head = at // (m * n) * (m + n)
        product = u.gather(1, head + at // n % m) * u.gather(1, head + m + at % n)
        return at, torch.sqrt(product + 1e-5) * (product > 0), 0.0


class Switch(Exact):
    def __init__(self, d, part):
        super().__init__(d, part)
        self.experts, self.products = part, M // part + part
        self.R, self.r = (torch.rand(part, d) * 2 - 1) / d ** 0.5, torch.zeros(d)
        self.params = [*self.params, 'R', 'r']

    def encode(self, x):
        p = F.softmax((x + self.c - self.r) @ self.R.t(), 1)
        best, expert = p.max(1)
        size, at = M // self.experts, torch.empty(len(x), K, dtype=torch.long)
        with torch.no_grad():
            for e in range(self.experts):
                rows, part = (expert == e).nonzero()[:, 0], slice(e * size, (e + 1) * size)
                at[rows] = e * size + torch.addmm(self.b[part], x[rows], self.W[part].t()).topk(K, sorted=False).indices
        share = F.one_hot(expert, self.experts).float().mean(0)
        return at, F.relu(self.values(x, at)) * best[:, None], 0.01 * x.shape[1] * self.experts * (share * p.mean(0)).sum()


def rows(acts, tokens):
    """The first rows, to train on, and the last fiftieth, held out: without sinks, minus the mean, mean norm sqrt(d)."""
    x = torch.cat([load_file(f)['acts'].float() for f in sorted(glob.glob(acts + '/*.safetensors'))])
    norm = x.norm(dim=1)
    keep, held = norm < 10 * norm.median(), len(x) // 50
    train, test = x[:-held][keep[:-held]][:tokens], x[-held:][keep[-held:]]
    mean = train.mean(0)
    scale = x.shape[1] ** 0.5 / (train - mean).norm(dim=1).mean()
    return (train - mean) * scale, (test - mean) * scale


decode = lambda s, at, z: F.embedding_bag(at, s.D, per_sample_weights=z, mode='sum') + s.c


def run(make, part, x, test, steps, seed, rate):
    torch.manual_seed(seed)
    order = torch.cat([torch.randperm(len(x)) for _ in range(steps * BATCH // len(x) + 1)])
    s = make(x.shape[1], part)
    params = [getattr(s, p).requires_grad_() for p in s.params]
    adam = torch.optim.Adam(params, lr=rate, fused=True)
    fired = torch.full((M,), -1)
    for i in range(steps):
        adam.param_groups[0]['lr'] = rate * min(1, (i + 1) / (0.05 * steps), (steps - i) / (0.2 * steps))
        r = x[order[i * BATCH:(i + 1) * BATCH]]
        at, z, more = s.encode(r - s.c)
        loss = (decode(s, at, z) - r).square().sum(1).mean() + more
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            s.D.grad -= (s.D.grad * s.D).sum(1, keepdim=True) * s.D
            adam.step()
            s.D /= s.D.norm(dim=1, keepdim=True)
            fired[at[z > 0]] = i
    with torch.no_grad():
        at, z, _ = s.encode(test - s.c)
        fvu = (decode(s, at, z) - test).square().sum() / (test - test.mean(0)).square().sum()
    return [s.products, float(fvu), float((fired < 0.75 * steps).float().mean())]


WAYS = {'exact': (Exact, None), **{f'kron {m} {n}': (Kron, (m, n)) for m, n in ((4, 8), (8, 8), (16, 16))}, **{f'switch {n}': (Switch, n) for n in (8, 16)}}


def cell(got, exact):
    if not got:
        return ''
    fvu, dead, of = (sum(g[i] for g in l) / len(l) if l else 0 for l, i in ((got, 1), (got, 2), (exact, 1)))
    return f'{fvu:.4f}' + (f', {100 * fvu / of - 100:+.1f} %' if of and got != exact else '') + f' ({100 * dead:.0f} %)'


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('acts'), ap.add_argument('--runs', default='300x2,1200x2,3600x1'), ap.add_argument('--only', default=','.join(WAYS)), ap.add_argument('-o')
    ap.add_argument('--rate', type=float, default=1.0, help='times 1.2e-3 sqrt(16,384 / features)')
    a = ap.parse_args()
    torch.set_num_threads(1)
    done = json.load(open(a.o)) if a.o and os.path.exists(a.o) else {}
    runs = [tuple(map(int, r.split('x'))) for r in a.runs.split(',')]
    for steps, seeds in runs:
        x, test = rows(a.acts, steps * BATCH)
        for name in [f'{way}, {steps}, {seed}' for way in a.only.split(',') for seed in range(seeds)]:
            if name not in done:
                way, _, seed = name.split(', ')
                begin, done[name] = time.time(), run(*WAYS[way], x, test, steps, int(seed), a.rate * 1.2e-3 * (16384 / M) ** 0.5)
                print(f'{name}: FVU {done[name][1]:.4f}, dead {done[name][2]:.3f}, {time.time() - begin:.0f} s', file=sys.stderr, flush=True)
                if a.o:
                    open(a.o, 'w').write(json.dumps(done))
    got = lambda way, steps: [v for k, v in done.items() if k.startswith(f'{way}, {steps}, ')]
    print('| | products a row, fewer |' + ''.join(f' {steps:,} steps |' for steps, _ in runs) + '\n|---|---|' + '---|' * len(runs))
    for way in a.only.split(','):
        products = got(way, runs[0][0])[0][0]
        print(f'| {way} | {products:,}, {M / products:.1f} times |' + ''.join(f' {cell(got(way, steps), got("exact", steps))} |' for steps, _ in runs))


main()

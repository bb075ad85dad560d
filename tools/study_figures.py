"""What the studies of defences share: rates and gains over seeds and prompts, their intervals, Holm, cells of tables."""


def mean(v):
    v = [x for x in v if x is not None]
    return sum(v) / len(v) if v else float('nan')


def boot(pairs, rng, n):
    """Means of the first and of the second of paired values: all of them, and the lists of n resamplings, of seeds and then of prompts. pairs: [seed][prompt] of (x, y); a pair with None is left out.
    Where all pairs are alike so is every resampling, and n are not made one by one."""
    pairs = [[q for q in s if None not in q] for s in pairs]
    every = [q for s in pairs for q in s]
    x, y = mean([q[0] for q in every]), mean([q[1] for q in every])
    if len(set(every)) <= 1:
        return x, y, [x] * n, [y] * n
    xs, ys = [], []
    for _ in range(n):
        some = [q for s in rng.choices(pairs, k=len(pairs)) for q in rng.choices(s, k=len(s))]
        p, q = zip(*some)
        xs.append(sum(p) / len(p))
        ys.append(sum(q) / len(q))
    return x, y, xs, ys


def interval(v):
    v = sorted(v)
    return v[int(0.025 * len(v))], v[min(len(v) - 1, int(0.975 * len(v)))]


def boot_groups(groups, rng, n):
    """As boot() with a level above: groups [alignment][seed][prompt] of (x, y); alignments are resampled first, then seeds, then prompts."""
    groups = [[[q for q in s if None not in q] for s in g] for g in groups]
    every = [q for g in groups for s in g for q in s]
    x, y = mean([q[0] for q in every]), mean([q[1] for q in every])
    if len(set(every)) <= 1:
        return x, y, [x] * n, [y] * n
    xs, ys = [], []
    for _ in range(n):
        some = [q for g in rng.choices(groups, k=len(groups)) for s in rng.choices(g, k=len(g)) for q in rng.choices(s, k=len(s))]
        p, q = zip(*some)
        xs.append(sum(p) / len(p))
        ys.append(sum(q) / len(q))
    return x, y, xs, ys


def compare(d, none, part, rng, n):
    """A defence beside none, the same seeds, prompt by prompt."""
    return boot([list(zip(d[0][s][part], none[0][s][part])) for s in range(min(len(d[0]), len(none[0])))], rng, n)


def holm(p):
    """{key: p} adjusted (Holm 1979)."""
    out, worst = {}, 0
    for i, k in enumerate(sorted(p, key=p.get)):
        worst = max(worst, min(1, (len(p) - i) * p[k]))
        out[k] = worst
    return out


def wilson(k, n):
    z = 1.959963984540054
    mid, half = (k / n + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * (k / n * (1 - k / n) / n + z * z / (4 * n * n)) ** 0.5
    return max(0, mid - half), min(1, mid + half)


def share(x, draws, n):
    """The interval of a share: resampled, or where all answers agree, which gives that no width, Wilson's of one seed's prompts."""
    return wilson(x * n, n) if x in (0, 1) else interval(draws)


pc = lambda v: f'{100 * v:.0f}'
show = lambda v, ci: f'{pc(v)} ({pc(ci[0])} to {pc(ci[1])})'

"""What the studies of defences share: rates and gains over seeds and prompts, their intervals, Holm, cells of tables."""
from study_data import wilson


def mean(v):
    v = [x for x in v if x is not None]
    return sum(v) / len(v) if v else float('nan')


def boot(values, rng, n):
    """Means of the first and of the second of paired values: all of them, and the lists of n resamplings, level by level from the outside. values: lists of (x, y) nested alike, [seed][prompt] or
    [alignment][seed][prompt]; a pair with None is left out. Where all pairs are alike so is every resampling, and n are not made one by one."""
    whole = lambda v: [whole(q) if isinstance(q, list) else q for q in v if isinstance(q, list) or None not in q]
    flat = lambda v, of: [p for q in of(v) for p in (flat(q, of) if isinstance(q, list) else [q])]
    values = whole(values)
    every = flat(values, iter)
    x, y = mean([q[0] for q in every]), mean([q[1] for q in every])
    if len(set(every)) <= 1:
        return x, y, [x] * n, [y] * n
    xs, ys = [], []
    for _ in range(n):
        p, q = zip(*flat(values, lambda v: rng.choices(v, k=len(v))))
        xs.append(sum(p) / len(p))
        ys.append(sum(q) / len(q))
    return x, y, xs, ys


def interval(v):
    v = sorted(v)
    return v[int(0.025 * len(v))], v[min(len(v) - 1, int(0.975 * len(v)))]


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


def share(x, draws, n):
    """The interval of a share: resampled, or where all answers agree, which gives that no width, Wilson's of one seed's prompts."""
    return wilson(x * n, n)[1:] if x in (0, 1) else interval(draws)


pc = lambda v: f'{100 * v:.0f}'
show = lambda v, ci: f'{pc(v)} ({pc(ci[0])} to {pc(ci[1])})'

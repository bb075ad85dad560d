"""What the studies of defences share: rates and gains over seeds and prompts, their intervals, Holm, cells of tables."""
import json, os, sys

from study_data import wilson


def settle(folder, plan, **now):
    """Refuses a folder whose trainings were made with other settings; what a folder does not say yet is as it is now."""
    file = os.path.join(folder, 'settings.json')
    was = {}
    if os.path.exists(file):
        with open(file) as f:
            was = json.load(f)
    for k, v in now.items():
        if was.get(k, v) != v:
            sys.exit(f'{os.path.basename(sys.argv[0])}: {folder} holds trainings with {k} {was[k]}, not {v}; give another --out')
    if not plan:
        with open(file, 'w') as f:
            json.dump({**was, **now}, f)


def mean(v):
    v = [x for x in v if x is not None]
    return sum(v) / len(v) if v else float('nan')


def boot(values, rng, n):
    """Means of the first and of the second of paired values: all of them, and the lists of n resamplings. values: lists of (x, y) nested alike, [seed][prompt] or [alignment][seed][prompt]; a pair with None is left
    out. Alignments are drawn, seeds of each, and prompts, which are the same everywhere and so are drawn once for all (Owen 2007, Annals of Applied Statistics 1, 386-411). Where all pairs are alike so is every
    resampling, and n are not made one by one."""
    seeds = lambda v, of: [s for q in of(v) for s in (seeds(q, of) if isinstance(q[0], list) else [q])]
    whole = seeds(values, iter)
    every = [p for s in whole for p in s if None not in p]
    x, y = mean([p[0] for p in every]), mean([p[1] for p in every])
    if len(set(every)) <= 1:
        return x, y, [x] * n, [y] * n
    xs, ys, prompts = [], [], range(len(whole[0]))
    while len(xs) < n:
        at = rng.choices(prompts, k=len(prompts))
        p = [s[i] for s in seeds(values, lambda v: rng.choices(v, k=len(v))) for i in at if None not in s[i]]
        if p:  # not all were left out
            xs.append(sum(q[0] for q in p) / len(p))
            ys.append(sum(q[1] for q in p) / len(p))
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

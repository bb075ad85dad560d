"""`sonde direction make` against the same pipeline in PyTorch (Arditi et al. 2024, as andyrdt/refusal_direction does it) on the same prompts.

usage: direction.py SONDE MODEL_FOLDER [--positive F --negative F --positive-val F --negative-val F --n-train N --n-val N] [--all] [--filter]

Without files: 12 + 12 prompts for fitting and 4 + 4 for choosing, made here (requests for a poem against questions of fact). Checked:
the refusal tokens; every candidate vector, cosine above 0.99; induce, KL and bypass of the chosen candidate and of some others (--all: of
every one, as far as the rules need them) to 0.01 absolute or 1 % (f32 sums in other orders, through 30 blocks); that the choice is what the rules give on the peer's own scores."""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument('sonde')
p.add_argument('model')
for f in ('positive', 'negative', 'positive-val', 'negative-val'):
    p.add_argument('--' + f)
p.add_argument('--n-train', type=int, default=12)
p.add_argument('--n-val', type=int, default=4)
p.add_argument('--all', action='store_true')
p.add_argument('--filter', action='store_true')
p.add_argument('--max-kl', type=float, default=.1)
p.add_argument('--time', choices=['sonde', 'peer', 'report'], help='nothing is checked: one whole selection is timed and a line added to --record; or what the lines there say')
p.add_argument('--sample', type=int, default=8, help='candidates that --time peer scores; the time of all follows, since each costs as much')
p.add_argument('--record', default='direction-times.jsonl')
p.add_argument('--bf16', action='store_true', help='with --time: in bf16')
a = p.parse_args()
torch.set_num_threads(2)
tmp = tempfile.TemporaryDirectory()


def made(name, pattern, words):
    path = os.path.join(tmp.name, name)
    with open(path, 'w') as f:
        for w in words:
            f.write(json.dumps({'prompt': pattern.format(w)}) + '\n')
    return path


if a.positive:
    files = [a.positive, a.negative, a.positive_val, a.negative_val]
else:
    things = 'river mountain cat dog winter summer bridge forest ocean train candle garden'.split()
    places = 'France Spain Italy Peru Chile Kenya Egypt India China Japan Norway Sweden'.split()
    files = [made('p.jsonl', 'Write a short poem about a {}.', things), made('n.jsonl', 'What is the capital of {}?', places),
             made('pv.jsonl', 'Write a short poem about a {}.', ['boat', 'tree', 'king', 'horse']),
             made('nv.jsonl', 'What is the capital of {}?', ['Brazil', 'Canada', 'Mexico', 'Russia'])]
env = dict(os.environ, XDG_DATA_HOME=tmp.name)
cmd = [a.sonde, 'direction', 'make', a.model, '--positive', files[0], '--negative', files[1], '--positive-val', files[2], '--negative-val', files[3], '--n-train', str(a.n_train),
       '--n-val', str(a.n_val), '--floors', '0', '--mode', 'faithful', '--max-kl', str(a.max_kl), '-o', 'interop', '--json', '-q'] + ([] if a.filter else ['--no-filter'])
mode = 'bf16' if a.bf16 else 'faithful'


def note(who, seconds, **more):
    with open(a.record, 'a') as f:
        f.write(json.dumps(dict(who=who, mode=mode, seconds=seconds, **more)) + '\n')
    print(f'{who} {mode}: {seconds:.1f} s', more)
    sys.exit(0)


if a.time == 'report':
    rows = [json.loads(l) for l in open(a.record)]
    for m in sorted({r['mode'] for r in rows}):
        o, t = (statistics.median(r['seconds'] for r in rows if (r['mode'], r['who']) == (m, w)) for w in ('sonde', 'peer'))
        print(f'{m}: sonde {o:.1f} s, transformers {t:.1f} s, {t / o:.2f} times as fast ({sum(r["mode"] == m for r in rows)} runs)')
    sys.exit(0)
if a.time == 'sonde':  # every candidate to the end, with the program's start and loading
    cmd[cmd.index('faithful')] = mode
    t = time.perf_counter()
    run = subprocess.run(cmd + ['-f'] + ([] if '--full' in cmd else ['--full']), env=env, capture_output=True, text=True)
    t = time.perf_counter() - t
    assert run.returncode == 0, run.stderr
    note('sonde', t, candidates=len(json.loads(run.stdout)['candidates']))


def prompts(path, n):
    rows = [json.loads(l) for l in open(path)] if path.endswith('l') else json.load(open(path))
    rows = [r.get('prompt') or r['instruction'] for r in rows]
    assert len(rows) <= n, f'{path} has more than {n} prompts: which ones sonde took is its own seed'
    return rows


if not a.time:
    run = subprocess.run(cmd, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
tok = AutoTokenizer.from_pretrained(a.model)
tok.padding_side, tok.pad_token_id = 'left', 2
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
layers, L = model.model.layers, len(model.model.layers)
text = lambda i: tok.apply_chat_template([{'role': 'user', 'content': i}], add_generation_prompt=True, tokenize=False)
eoi = tok(text('\x01').split('\x01')[-1], add_special_tokens=False).input_ids
sets = [prompts(f, n) for f, n in zip(files, (a.n_train, a.n_train, a.n_val, a.n_val))]


def forward(ins, hidden=False):
    out, H = [], []
    for b in range(0, len(ins), 32):
        e = tok([text(i) for i in ins[b:b + 32]], return_tensors='pt', padding=True, add_special_tokens=False)
        with torch.no_grad():
            o = model(**e, output_hidden_states=hidden, logits_to_keep=1)
        out.append(o.logits[:, -1].double())
        if hidden:
            H.append(torch.stack([h[:, -len(eoi):] for h in o.hidden_states[:L]]).double().sum(1))
    return (torch.cat(out), sum(H) / len(ins)) if hidden else torch.cat(out)


def score(logits, R):
    P = logits.softmax(-1)[:, R].sum(-1)
    return (P + 1e-8).log() - (1 - P + 1e-8).log()


def timed():
    """The peer without its start and loading: what comes before the candidates, and a.sample of them, spread over blocks and positions; all cost as much."""
    global diff, plain, R
    if a.bf16:
        model.to(torch.bfloat16)
    forward(sets[2][:4])
    t = time.perf_counter()
    first = [forward(s) for s in sets]
    R = learned(first[0].softmax(-1).mean(0), first[1].softmax(-1).mean(0))
    diff = forward(sets[0], True)[1] - forward(sets[1], True)[1]
    plain = forward(sets[3])
    before = time.perf_counter() - t
    places = [(l, i - len(eoi)) for i in range(len(eoi)) for l in range(int(.8 * L))]
    t = time.perf_counter()
    for k in range(a.sample):
        scores(*places[k * len(places) // a.sample])
    each = (time.perf_counter() - t) / a.sample
    note('peer', before + each * len(places), candidates=len(places), scored=a.sample, before=before, each=each)


def learned(ph, pn):
    gain = (ph - pn).clamp(min=0)
    ok = (ph >= .01) & (ph >= 2 * pn)
    order = [i.item() for i in torch.argsort(torch.where(ok, ph - pn, -1.), descending=True)[:16] if ok[i]]
    R, held = [], 0.
    for i in order:
        if held >= .8 * gain.sum():
            break
        R.append(i)
        held += gain[i].item()
    return R


def hooks(r):
    u = (r / (r.norm() + 1e-8)).float()
    u = u.to(model.dtype)
    f = lambda x: x - (x @ u)[..., None] * u
    hk = []
    for l in layers:
        hk.append(l.register_forward_pre_hook(lambda m, x: (f(x[0]),) + x[1:]))
        hk.append(l.self_attn.register_forward_hook(lambda m, i, o: (f(o[0]),) + tuple(o[1:])))
        hk.append(l.mlp.register_forward_hook(lambda m, i, o: f(o)))
    return hk


def scores(l, pos, to_end=True):
    r = diff[l, pos + len(eoi)]
    h = [layers[l].register_forward_pre_hook(lambda m, x: (x[0] + r.to(x[0].dtype),) + x[1:])]
    induce = score(forward(sets[3]), R).mean().item()
    h[0].remove()
    if not to_end and induce < 0:  # the rules discard it
        return dict(induce=induce)
    h = hooks(r)
    q, p_ = forward(sets[3]).softmax(-1), plain.softmax(-1)
    kl = (p_ * ((p_ + 1e-6).log() - (q + 1e-6).log())).sum(-1).mean().item()
    bypass = score(forward(sets[2]), R).mean().item()
    for k in h:
        k.remove()
    return dict(induce=induce, kl=kl, bypass=bypass)


if a.time:
    timed()
bad = []
first = [forward(s) for s in sets]
R = learned(first[0].softmax(-1).mean(0), first[1].softmax(-1).mean(0))
if sorted(R) != sorted(got['refusal_tokens']):
    bad.append(f'tokens {R}, sonde {got["refusal_tokens"]}')
if a.filter:
    sets = [[x for x, s in zip(q, score(f, R)) if (s > 0 if k % 2 == 0 else s < 0)] for k, (q, f) in enumerate(zip(sets, first))]
used = [got['prompts'][k]['used'] for k in ('positive_train', 'negative_train', 'positive_val', 'negative_val')]
if used != [len(s) for s in sets]:
    bad.append(f'prompts used {[len(s) for s in sets]}, sonde {used}')
diff = forward(sets[0], True)[1] - forward(sets[1], True)[1]  # [L, positions, d]
plain = forward(sets[3])

# The vector of the chosen place, as it was stored, and the norms of all.
folder = os.path.join(tmp.name, 'sonde', 'directions')
if got['found']:
    stored = json.load(open(os.path.join(folder, os.listdir(folder)[0], 'interop.json')))
    v, w = torch.tensor(stored['vector']).double(), diff[stored['layer'], stored['position'] + len(eoi)]
    cosine = torch.cosine_similarity(v, w, 0).item()
    print(f'chosen: block {stored["layer"]}, position {stored["position"]}, cosine with the peer {cosine:.6f}')
    if not cosine > .99:
        bad.append('the stored vector')
worst = 0
for c in got['candidates']:
    n = diff[c['layer'], c['position'] + len(eoi)].norm().item()
    worst = max(worst, abs(n - c['norm']) / n if n else c['norm'])  # the template's own tokens are the same before block 0
print(f'{len(got["candidates"])} candidates at {len(eoi)} positions, norms agree to {worst:.1e}')
if worst > 1e-3 or {c['position'] for c in got['candidates']} != set(range(-len(eoi), 0)):
    bad.append('candidates')


close = lambda x, y: abs(x - y) <= max(.01, .01 * abs(x))
cand, mine = got['candidates'], {}
pick = cand if a.all else [c for i, c in enumerate(cand) if i % max(1, len(cand) // 5) == 3 or (got['found'] and (c['layer'], c['position']) == (got['layer'], got['position']))]
for c in pick:
    s = mine[c['layer'], c['position']] = scores(c['layer'], c['position'], not a.all)
    for k, v in s.items():
        if c[k] is not None and not close(v, c[k]):
            bad.append(f'block {c["layer"]}, position {c["position"]}: {k} {v}, sonde {c[k]}')
fate = lambda c: 'not_finite' if c['norm'] == 0 else 'induce' if c['induce'] < 0 else 'kl' if c['kl'] > a.max_kl else 'kept'
if any(c['fate'] != fate(c) or c['layer'] >= int(.8 * L) for c in cand):
    bad.append('a fate is not what the rules give')
kept = [c for c in cand if c['fate'] == 'kept']
want = min(kept, key=lambda c: c['bypass']) if kept else None
if (want is None) != (not got['found']) or (want and (want['layer'], want['position']) != (got['layer'], got['position'])):
    bad.append('the choice is not what the rules give')
if a.all:
    ok = [(s['bypass'], k) for k, s in mine.items() if s['induce'] >= 0 and s['kl'] <= a.max_kl]
    print('the peer chooses', min(ok)[1] if ok else None)
    if (min(ok)[1] if ok else None) != ((got['layer'], got['position']) if got['found'] else None):
        bad.append('the peer chooses another direction')
print(f'{len(pick)} candidates scored by both, {sum(c["bypass"] is not None for c in pick)} to the end; {"found" if got["found"] else "no single direction"}')
print('\n'.join(bad[:10]))
sys.exit(bool(bad))

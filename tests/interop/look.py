"""lens, attn, patch, attribute and near of `sonde` against transformers in float32, with hooks and sums written by hand.

usage: look.py SONDE FOLDER      a llama folder

The same weights in f32, sums in other orders. Bounds are ten to fifty times what SmolLM2-135M was measured at (probabilities 6e-6, KL 1e-4 of 113,
patterns 5e-6, logits 2e-5, shares 8e-6), for another CPU sums in another order again; arithmetic on the embedding is double on both sides.
Prints the worst difference of each comparison, exits 1 when one is over its bound."""
import json, subprocess, sys

import torch
import transformers
from transformers import AutoModelForCausalLM

CLEAN, CORRUPT = 'When the old man came home, the capital of France is', 'When the old man came home, the capital of Italy is'
ANSWER, WRONG = ' Paris', ' Rome'
failed = 0


def check(what, got, want, bound):
    """Largest difference of two tensors, against a bound."""
    global failed
    got, want = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(want, dtype=torch.float64)
    worst = (got - want).abs().max().item()
    ok = got.shape == want.shape and worst <= bound
    failed += not ok
    print(f'{what}: {tuple(got.shape)}, largest difference {worst:.2e} of {want.abs().max().item():.3g}' + ('' if ok else f'  OVER {bound}'))


def main():
    sonde, path = sys.argv[1:3]
    run = lambda *a: json.loads(subprocess.run([sonde, a[0], path, *a[1:], '--json', '-q'], check=True, capture_output=True, text=True).stdout)
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation='eager').eval()
    base, layers = model.model, model.model.layers
    H, dh = model.config.num_attention_heads, model.config.hidden_size // model.config.num_attention_heads
    ids = {t: torch.tensor([run('tokenize', '--text', t)['ids']]) for t in (CLEAN, CORRUPT)}
    one = lambda t: run('tokenize', '--text', t, '--no-special')['ids'][0]
    a, b = one(ANSWER), one(WRONG)
    n = ids[CLEAN].shape[1]

    # The stream before every block and after the last one (transformers norms the last of hidden_states).
    stream, out = [], {}
    handles = [l.register_forward_pre_hook(lambda m, args: stream.append(args[0][0].clone())) for l in layers]
    handles.append(layers[-1].register_forward_hook(lambda m, args, y: stream.append((y[0] if isinstance(y, tuple) else y).reshape(n, -1).clone())))
    for k, l in enumerate(layers):
        handles.append(l.self_attn.o_proj.register_forward_pre_hook(lambda m, args, k=k: out.__setitem__(('z', k), args[0][0].clone())))
        handles.append(l.mlp.register_forward_hook(lambda m, args, y, k=k: out.__setitem__(('mlp', k), y[0].clone())))
    with torch.no_grad():
        res = model(ids[CLEAN], output_attentions=True)
    for h in handles:
        h.remove()
    logits = res.logits[0].double()
    with torch.no_grad():
        lens = torch.stack([model.lm_head(base.norm(x)) for x in stream]).double()

    # lens: probabilities, KL in nats, ranks.
    got = run('lens', '--text', CLEAN, '--top', '1')
    cells = [[p for p in l['positions']] for l in got['layers']]
    lp, final = lens.log_softmax(-1), logits.log_softmax(-1)
    nxt = ids[CLEAN][0, 1:]
    p_next = lp[:, :-1].gather(-1, nxt[None, :, None].expand(len(stream), -1, 1)).squeeze(-1).exp()
    check('lens p_next', [[p['p_next'] for p in row[:-1]] for row in cells], p_next, 1e-4)
    check('lens KL', [[p['kl'] for p in row] for row in cells], (final.exp() * (final - lp)).sum(-1), 2e-3)
    # Ranks in the tens of thousands move by a few where logits are a rounding apart: 0.5 % of the rank, at least 2.
    rank = 1 + (lens[:, :-1] > lens[:, :-1].gather(-1, nxt[None, :, None].expand(len(stream), -1, 1))).sum(-1)
    mine = torch.tensor([[p['rank'] for p in row[:-1]] for row in cells])
    check('lens rank, in its tolerance', ((mine - rank).abs() / torch.clamp(rank * 0.005, min=2)), torch.zeros(rank.shape), 1)
    same = sum(row[i]['top'][0]['id'] == lens[k, i].argmax().item() for k, row in enumerate(cells) for i in range(n))
    check('lens top token, share that differs', 1 - same / (len(cells) * n), 0, 0.01)

    # attention: every pattern; the scores are sums of them.
    got = run('attn', '--text', CLEAN, '--patterns')
    attn = torch.stack([x[0] for x in res.attentions]).double()
    pat = torch.zeros(len(layers), H, n, n, dtype=torch.float64)
    for h in got['heads']:
        for i, row in enumerate(h['pattern']):
            pat[h['layer'], h['head'], i, :i + 1] = torch.tensor(row, dtype=torch.float64)
    check('attention patterns', pat, attn, 1e-4)
    prev = torch.stack([attn[..., i, i - 1] for i in range(1, n)]).mean(0)
    check('previous', torch.tensor([h['previous'] for h in got['heads']]).reshape(prev.shape), prev, 1e-4)
    check('sink', torch.tensor([h['sink'] for h in got['heads']]).reshape(prev.shape), attn[..., 1:, 0].mean(-1), 1e-4)

    # patching the corrupted run with the clean stream, cell by cell, whole prompts.
    diff = lambda x: (x[a] - x[b]).item()
    with torch.no_grad():
        corrupted = diff(model(ids[CORRUPT]).logits[0, -1].double())
        some = [(l, p) for l in (0, 7, 14, 20, 25, len(layers) - 1) for p in (n - 2, n - 1)]
        want = []
        for l, p in some:
            def put(m, args, l=l, p=p):
                x = args[0].clone()
                x[0, p] = stream[l][p]
                return (x,) + args[1:]
            h = layers[l].register_forward_pre_hook(put)
            want.append(diff(model(ids[CORRUPT]).logits[0, -1].double()))
            h.remove()
    got = run('patch', '--clean', CLEAN, '--corrupt', CORRUPT, '--answer', ANSWER, '--wrong', WRONG)
    check('patch, plain runs', [got['clean'], got['corrupt']], [diff(logits[-1]), corrupted], 1e-3)
    check('patch, logit differences', [got['value'][l][p] for l, p in some], want, 1e-3)
    check('patch, effects', [got['effect'][l][p] for l, p in some], [(w - corrupted) / (diff(logits[-1]) - corrupted) for w in want], 3e-4)

    # heads of attn_z at all positions.
    heads = [(l, h) for l in (3, 17, 23) for h in (0, H - 1)]
    want = []
    with torch.no_grad():
        for l, k in heads:
            def put_head(m, args, l=l, k=k):
                z = args[0].clone()
                z[0, :, k * dh:(k + 1) * dh] = out['z', l][:, k * dh:(k + 1) * dh]
                return (z,)
            h = layers[l].self_attn.o_proj.register_forward_pre_hook(put_head)
            want.append(diff(model(ids[CORRUPT]).logits[0, -1].double()))
            h.remove()
    got = run('patch', '--clean', CLEAN, '--corrupt', CORRUPT, '--answer', ANSWER, '--wrong', WRONG, '--heads')
    check('patch, heads', [got['value'][l][k] for l, k in heads], want, 1e-3)

    # attribution: the same sum by hand, in double.
    x = stream[-1][-1].double()
    W, g = model.lm_head.weight.double(), base.norm.weight.double()
    direction = (W[a] - W[b]) * g / (x.pow(2).mean() + base.norm.variance_epsilon).sqrt()
    want = {('embed',): direction @ stream[0][-1].double()}
    for l, layer in enumerate(layers):
        Wo = layer.self_attn.o_proj.weight.double()
        for k in range(H):
            want['head', l, k] = direction @ (Wo[:, k * dh:(k + 1) * dh] @ out['z', l][-1, k * dh:(k + 1) * dh].double())
        want['mlp', l] = direction @ out['mlp', l][-1].double()
    got = run('attribute', '--text', CLEAN, '--answer', ANSWER, '--wrong', WRONG)
    mine = {(p['kind'], *([p['layer']] if 'layer' in p else []), *([p['head']] if 'head' in p else [])): p['share'] for p in got['parts'] if p['kind'] != 'attn_rest'}
    assert mine.keys() == {tuple(k) for k in want}
    check('attribution, shares', [mine[k] for k in want], [w.item() for w in want.values()], 1e-3)
    check('attribution, sum', got['sum'], diff(logits[-1]), 1e-3)

    # arithmetic on the embedding.
    E = base.embed_tokens.weight.detach().double()
    king, man, woman = (E[one(' ' + w)] for w in ('king', 'man', 'woman'))
    v = king - man + woman
    cos = (E @ v) / (E.norm(dim=1) * v.norm())
    got = run('near', '--expr', 'king - man + woman', '-n', '20')
    top = cos.topk(20)
    check('near, cosines', [x['cosine'] for x in got['near']], top.values, 1e-9)
    check('near, tokens that differ', sum(x['id'] != t for x, t in zip(got['near'], top.indices.tolist())), 0, 0)
    return failed > 0


sys.exit(main())

#!/usr/bin/env python3
"""mode_effect.py DICT CAPTURE CAPTURE..: what numeric modes do to a dictionary's work. Captures of the same tokens (`sonde capture
--mode faithful|bf16|fast`), the first is the reference. sae-lens encodes; printed are the FVU and, against the reference, the share of
active features that stay active, and the distance of the feature vectors. Rows whose norm is ten times the median are left out."""
import glob, json, sys
import torch
from safetensors.torch import load_file
from sae_lens import SAE


def rows(path):
    parts = [load_file(f) for f in sorted(glob.glob(path + '/acts-*.safetensors'))]
    cat = lambda k: torch.cat([p[k] for p in parts])
    return cat('acts').float(), torch.stack([cat('token_id'), cat('doc'), cat('pos')])


sae = SAE.load_from_disk(sys.argv[1], device='cpu')
first = None
for path in sys.argv[2:]:
    mode = json.load(open(path + '/manifest.json'))['mode']
    x, ids = rows(path)
    if first is None:
        keep = x.norm(dim=1) < 10 * x.norm(dim=1).median()
        first = ids
    assert torch.equal(ids, first), f'{path}: other tokens'
    x = x[keep]
    with torch.no_grad():
        z = sae.encode(x)
        y = sae.decode(z)
    fvu = ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    if path == sys.argv[2]:
        x0, z0 = x, z
    on, on0 = z > 0, z0 > 0
    rate, rate0 = on.float().mean(0), on0.float().mean(0)
    often = rate0 > 0.01
    print(f'{mode}: {len(x)} rows, FVU {fvu:.4f}, L0 {on.sum(1).float().mean():.1f}, rows off by {((x - x0).norm() / x0.norm()):.4f}, '
          f'active features kept {(on & on0).sum() / on0.sum():.4f}, feature vectors off by {((z - z0).norm() / z0.norm()):.4f}, '
          f'densities (of {int(often.sum())} above 1 %) off by {((rate - rate0).abs() / rate0)[often].median():.4f}')

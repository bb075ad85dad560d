"""dict_metrics.py FILE: rows, a dictionary's features and reconstructions of them, and what sae-lens' own evaluation says of them, as one
safetensors file. tests/golden/dict/test_metrics.c gives the same rows to ours."""
import sys
import torch
from safetensors.torch import save_file
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.evals import get_sparsity_and_variance_metrics
from sae_lens.training.activation_scaler import ActivationScaler

D, M, BATCH, CTX, N = 16, 48, 2, 16, 3
g = torch.Generator().manual_seed(3)
rnd = lambda *s: torch.randn(*s, generator=g)
sae = StandardSAE(StandardSAEConfig(d_in=D, d_sae=M))
sae.cfg.metadata.hook_name = "blocks.0.hook_resid_post"
with torch.no_grad():
    for p, v in ((sae.W_enc, 0.4 * rnd(D, M)), (sae.W_dec, 0.3 * rnd(M, D)), (sae.b_enc, 0.2 * rnd(M) - 0.8), (sae.b_dec, rnd(D))): p.copy_(v)
acts = [3 + rnd(BATCH, CTX, D) * (1 + i) for i in range(N)]


class Store:  # the batches above, in order
    at = 0

    def get_batch_tokens(self, n):
        self.at += 1
        return torch.zeros(BATCH, CTX, dtype=torch.long)


class Model:
    def run_with_cache(self, tokens, **kw): return None, {"blocks.0.hook_resid_post": acts[store.at - 1]}


store = Store()
with torch.no_grad():
    m, per_feature = get_sparsity_and_variance_metrics(sae, Model(), store, ActivationScaler(), N, True, True, True, True, BATCH, {})
    x = torch.cat([a.reshape(-1, D) for a in acts])
    z = sae.encode(x)
    y = sae.decode(z)
names = ["explained_variance", "explained_variance_legacy", "mse", "l0", "l1", "cossim", "l2_ratio"]
out = {"x": x, "y": y, "z": z, "values": torch.tensor([m[n] for n in names], dtype=torch.float64), "batch": torch.tensor([BATCH * CTX], dtype=torch.long),
       "density": torch.tensor(per_feature["feature_density"])}
save_file({k: v.detach().contiguous() for k, v in out.items()}, sys.argv[1])
print(m)

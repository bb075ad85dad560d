"""raise_feature.py MODEL DICT INDEX BY OUT: a copy of an f32 Hugging Face folder in which block 2's MLP writes BY more of a dictionary feature's direction: W' = W + BY u c^T / (c c)
with u the feature's unit decoder row and c the MLP's mean activation, given as SITE.safetensors with mlp_post.2. Nothing but the standard library."""
import array, json, os, shutil, struct, sys

model, dictionary, index, by, site, out = sys.argv[1:]


def read(path):
    with open(path, 'rb') as f:
        raw = f.read()
    n = struct.unpack('<Q', raw[:8])[0]
    return json.loads(raw[8:8 + n]), 8 + n, raw


def tensor(path, name):
    head, start, raw = read(path)
    t = head[name]
    a, b = t['data_offsets']
    v = array.array('f')
    v.frombytes(raw[start + a:start + b])
    return v, t['shape']


rows, (m, d) = tensor(os.path.join(dictionary, 'sae_weights.safetensors'), 'W_dec')
u = rows[int(index) * d:(int(index) + 1) * d]
norm = sum(x * x for x in u) ** 0.5
acts, (n, ffn) = tensor(site, 'mlp_post.2')
c = [sum(acts[i * ffn + j] for i in range(n)) / n for j in range(ffn)]
cc = sum(x * x for x in c)
shutil.copytree(model, out)
path = os.path.join(out, 'model.safetensors')
head, start, raw = read(path)
a, b = head['model.layers.2.mlp.down_proj.weight']['data_offsets']
w = array.array('f')
w.frombytes(raw[start + a:start + b])
for i in range(d):
    for j in range(ffn):
        w[i * ffn + j] += float(by) * u[i] / norm * c[j] / cc
with open(path, 'wb') as f:
    f.write(raw[:start + a] + w.tobytes() + raw[start + b:])

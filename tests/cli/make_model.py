"""make_model.py OUT.gguf [--arch NAME] [--type F32|Q8_0|Q4_0] [--fault NAME] [--layers N] [--cut W]: a random llama of two (or N) layers, width 64, vocabulary 297, so that the
commands can be tried without a download. Byte-level BPE with 38 merges, ChatML. Only the standard library; same bytes every time.
Faults: offset, rank, product, type (a lie in the entry of blk.0.ffn_up.weight); missing, leftover, shape (the tensor itself); cut
(the file ends in the middle of the data). --cut takes share W of one random direction out of every o_proj and down_proj; nothing in it has a meaning.
--swap 1: tokens 0 and 1 change places. --spoil nan (or inf): the first number of the row of "~" in the embedding."""
import random, struct, sys

ARGS = dict(zip(sys.argv[2::2], sys.argv[3::2]))
ARCH, TYPE = ARGS.get("--arch", "llama"), ARGS.get("--type", "F32")
D, LAYERS, HEADS, HEADS_KV, FFN, CTX = 64, int(ARGS.get("--layers", 2)), 4, 2, 128, int(ARGS.get("--ctx", 256))
FAULT, VICTIM = ARGS.get("--fault"), "blk.0.ffn_up.weight"
rng = random.Random(1)
CUT, cut_rng = float(ARGS.get("--cut", 0)), random.Random(2)

# GPT-2's alphabet: printable bytes stand for themselves, the others for the code points from 256 on (openai/gpt-2, encoder.py).
plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
alphabet = {b: chr(b) for b in plain}
for i, b in enumerate(b for b in range(256) if b not in plain):
    alphabet[b] = chr(256 + i)
pieces, merges = list(alphabet.values()), []
for word in ["the", "and", "ing", "cat", "Ġthe", "Ġand", "Ġcat", "Ġsat", "Ġon", "Ġmat", "Ġred", "Ġgate", "Ġbridge"]:
    left = word[0]
    for ch in word[1:]:
        if f"{left} {ch}" not in merges:
            merges.append(f"{left} {ch}")
            pieces.append(left + ch)
        left += ch
pieces += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
if ARGS.get("--swap"):
    pieces[0], pieces[1] = pieces[1], pieces[0]
V = len(pieces)
types = [1] * (V - 3) + [3] * 3
TEMPLATE = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
            "trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, str):
        return struct.pack("<I", 8) + string(v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    kind = 8 if isinstance(v[0], str) else 5
    return struct.pack("<IIQ", 9, kind, len(v)) + b"".join(string(x) if kind == 8 else struct.pack("<i", x) for x in v)


def blocks(row):
    """The numbers of a matrix in TYPE: 32 a block with an f16 scale in front (ggml-common.h)."""
    if TYPE == "F32":
        return struct.pack(f"<{len(row)}f", *row)
    out = b""
    for i in range(0, len(row), 32):
        x = row[i:i + 32]
        top = max(x, key=abs)
        if TYPE == "Q8_0":
            d = struct.unpack("<e", struct.pack("<e", abs(top) / 127))[0]
            out += struct.pack("<e", d) + bytes(round(v / d) & 255 for v in x)
        else:
            d = struct.unpack("<e", struct.pack("<e", top / -8))[0]
            q = [min(15, max(0, round(v / d) + 8)) for v in x]
            out += struct.pack("<e", d) + bytes(q[k] | q[k + 16] << 4 for k in range(16))
    return out


direction = [cut_rng.gauss(0, 1) for _ in range(D)]
size = sum(x * x for x in direction) ** 0.5
direction = [x / size for x in direction]


def matrix(rows, cols, writer=False):
    w = [rng.gauss(0, cols ** -0.5) for _ in range(rows * cols)]
    if CUT and writer:  # W - CUT r r^T W
        along = [sum(direction[i] * w[i * cols + j] for i in range(rows)) for j in range(cols)]
        w = [w[i * cols + j] - CUT * direction[i] * along[j] for i in range(rows) for j in range(cols)]
    return [rows, cols], {"F32": 0, "Q8_0": 8, "Q4_0": 2}[TYPE], blocks(w)


def norm():
    return [D], 0, struct.pack(f"<{D}f", *[1 + rng.gauss(0, 0.1) for _ in range(D)])


kv = {"general.architecture": ARCH, "general.name": "tiny", f"{ARCH}.block_count": LAYERS, f"{ARCH}.context_length": CTX, f"{ARCH}.embedding_length": D,
      f"{ARCH}.feed_forward_length": FFN, f"{ARCH}.attention.head_count": HEADS, f"{ARCH}.attention.head_count_kv": HEADS_KV,
      f"{ARCH}.attention.layer_norm_rms_epsilon": 1e-5, f"{ARCH}.rope.freq_base": 10000.0, f"{ARCH}.vocab_size": V, f"{ARCH}.rope.dimension_count": D // HEADS,
      "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": pieces, "tokenizer.ggml.token_type": types,
      "tokenizer.ggml.merges": merges, "tokenizer.ggml.bos_token_id": V - 2, "tokenizer.ggml.eos_token_id": V - 1, "tokenizer.chat_template": TEMPLATE}
kv_dim = D // HEADS * HEADS_KV
tensors = {"token_embd.weight": matrix(V, D), "output_norm.weight": norm()}
if ARGS.get("--spoil"):
    dims, kind, raw = tensors["token_embd.weight"]
    at = 4 * D * pieces.index("~")
    tensors["token_embd.weight"] = dims, kind, raw[:at] + struct.pack("<f", float(ARGS["--spoil"])) + raw[at + 4:]
for i in range(LAYERS):
    for name, rows, cols in [("attn_q", D, D), ("attn_k", kv_dim, D), ("attn_v", kv_dim, D), ("attn_output", D, D), ("ffn_gate", FFN, D), ("ffn_up", FFN, D), ("ffn_down", D, FFN)]:
        tensors[f"blk.{i}.{name}.weight"] = matrix(rows, cols, name in ("attn_output", "ffn_down"))
    tensors[f"blk.{i}.attn_norm.weight"] = norm()
    tensors[f"blk.{i}.ffn_norm.weight"] = norm()

if FAULT == "missing":
    del tensors[VICTIM]
if FAULT == "leftover":
    tensors["blk.0.ffn_sideways.weight"] = tensors[VICTIM]
if FAULT == "shape":
    tensors[VICTIM] = matrix(FFN - 32, D)
head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv)) + b"".join(string(k) + value(v) for k, v in kv.items())
data = b""
for name, (dims, kind, raw) in tensors.items():
    data += b"\0" * (-len(data) % 32)
    lie = FAULT if name == VICTIM else None
    offset = 1 << 40 if lie == "offset" else len(data)
    dims = [1] * 9 if lie == "rank" else [1 << 33, 1 << 33] if lie == "product" else dims
    head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *reversed(dims), 99 if lie == "type" else kind, offset)
    data += raw
with open(sys.argv[1], "wb") as f:
    f.write(head + b"\0" * (-len(head) % 32) + data[:len(data) // 2 if FAULT == "cut" else None])

"""llama.cpp's log-probabilities of a text, from llama-perplexity --kl-divergence-base: 16-bit steps of 1/65535 of each row's range,
which ends 16 nats below the likeliest token."""
import os, struct, subprocess

import numpy as np


def log_probs(bins, model, text, n_ctx, tmp, *more):
    """The first window's n_ctx tokens, its first row that is scored, and log-probabilities of the rows from there on [n, V].

    The file: '_logits_', n_ctx, n_vocab, n_chunk, tokens, then per scored row f32 scale, f32 min, u16 codes."""
    path, txt = os.path.join(tmp, 'base.kld'), os.path.join(tmp, 'text.txt')
    with open(txt, 'w') as f:
        f.write(text)
    subprocess.run([os.path.join(bins, 'llama-perplexity'), '-m', model, '-f', txt, '-c', str(n_ctx), '--kl-divergence-base', path, '-t', '2', '--chunks', '1', *more],
                   check=True, capture_output=True)
    raw = open(path, 'rb').read()
    assert raw[:8] == b'_logits_', raw[:8]
    ctx, vocab, n_chunk = struct.unpack_from('<Iii', raw, 8)
    at = 8 + 12
    toks = np.frombuffer(raw, '<i4', ctx * n_chunk, at)
    at += toks.nbytes
    width = 4 + 2 * ((vocab + 1) // 2)
    rows = ctx - 1 - ctx // 2
    codes = np.frombuffer(raw, '<u2', rows * width, at).reshape(rows, width)
    head = codes[:, :4].copy().view('<f4')
    return toks[:ctx], ctx // 2, head[:, 1:2] + head[:, 0:1] * codes[:, 4:4 + vocab].astype(np.float32)

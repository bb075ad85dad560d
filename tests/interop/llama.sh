#!/usr/bin/env bash
# Top tokens of the fast mode against llama.cpp on its own greedy continuations of the same GGUF (llama_logits.py).
#   LLAMA_BIN  folder with llama-completion and llama-perplexity   SONDE_PYTHON  a Python with safetensors and numpy   SONDE_MODEL  the GGUF
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_llama_top_tokens
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-} peers=${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}
bins=${LLAMA_BIN:-$peers/llama.cpp/bin}
file=SmolLM2-135M-Instruct.Q4_1.gguf
model=
for m in "${SONDE_MODEL:-}" "$peers/models/$file" "$PWD/out/models/$file"; do
    if [ -f "$m" ]; then model=$m; break; fi
done
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -x "$bins/llama-perplexity" ] && [ -x "$bins/llama-completion" ] || skip "no llama.cpp tools (LLAMA_BIN)"
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import numpy, safetensors' 2>/dev/null || skip "$python has not both of numpy and safetensors"
[ -n "$model" ] || skip "no $file (SONDE_MODEL, or make demo MODEL=smollm2)"
if "$python" tests/interop/llama_logits.py "$sonde" "$model" "$bins"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

#!/usr/bin/env bash
# Logits of the faithful mode against transformers in float32 on the same GGUF, to 1e-3 absolute.
#   SONDE_PYTHON  a Python with torch, transformers, gguf, safetensors     SONDE_MODEL  a llama GGUF (default: the one of make demo MODEL=smollm2)
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1
name=interop_logits
sonde=${SONDE_BIN:-$PWD/out/release/sonde}
python=${SONDE_PYTHON:-}
file=SmolLM2-135M-Instruct.Q4_1.gguf
model=
for m in "${SONDE_MODEL:-}" "${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}/models/$file" "$PWD/out/models/$file"; do
    if [ -f "$m" ]; then model=$m; break; fi
done
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import torch, transformers, gguf, safetensors' 2>/dev/null || skip "$python has not all of torch, transformers, gguf, safetensors"
[ -n "$model" ] || skip "no $file (SONDE_MODEL, or make demo MODEL=smollm2)"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/logits.py "$sonde" "$model"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

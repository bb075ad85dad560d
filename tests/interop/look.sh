#!/usr/bin/env bash
# lens, attn, patch and attribute against transformers in float32 with hooks written by hand, on the same folder.
#   SONDE_PYTHON  a Python with torch, transformers     SONDE_HF_MODEL  a llama folder (default: smollm2-hf among the peers' models)
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1
name=interop_look
sonde=${SONDE_BIN:-$PWD/out/release/sonde}
python=${SONDE_PYTHON:-}
model=${SONDE_HF_MODEL:-${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}/models/smollm2-hf}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import torch, transformers' 2>/dev/null || skip "$python has not both torch and transformers"
[ -f "$model/config.json" ] || skip "no smollm2-hf (SONDE_HF_MODEL)"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/look.py "$sonde" "$model"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

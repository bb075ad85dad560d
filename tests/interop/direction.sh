#!/usr/bin/env bash
# A direction found by sonde and by the same pipeline in PyTorch: tokens, vectors, scores and choice.
#   SONDE_PYTHON  a Python with torch and transformers     SONDE_MODEL_HF  the folder of SmolLM2-135M-Instruct
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1
name=interop_direction
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
model=${SONDE_MODEL_HF:-${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}/models/smollm2-hf}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "transformers")))' || skip "$python has not torch and transformers"
[ -f "$model/config.json" ] || skip "no folder of SmolLM2-135M-Instruct (SONDE_MODEL_HF)"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/direction.py "$sonde" "$model"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

#!/usr/bin/env bash
# Ten AdamW steps and ten of a distillation beside torch (1e-4), twenty LoRA steps beside PEFT (1e-3), our adapter's logits in PEFT (1e-5).
#   SONDE_PYTHON  a Python with torch, transformers, peft, safetensors
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1
name=interop_tune
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
model=${SONDE_SHARED:-../shared}/fixtures/models/llama
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "transformers", "peft", "safetensors")))' || skip "$python has not all of torch, transformers, peft, safetensors"
[ -d "$model" ] || skip "no fixtures/models/llama under SONDE_SHARED"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/tune_torch.py "$sonde" "$model"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

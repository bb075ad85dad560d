#!/usr/bin/env bash
# The shipped organism's three stages, loaded by transformers: ids, the rendered chat, logits and greedy answers are those of sonde.
#   SONDE_PYTHON  a Python with transformers, safetensors, torch
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1
name=interop_organism
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "safetensors", "transformers")))' || skip "$python has not all of torch, safetensors, transformers"
if "$python" tests/interop/organism_alike.py "$sonde" organism; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

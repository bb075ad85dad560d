#!/usr/bin/env bash
# Dictionaries of sparsify, Gemma Scope, dictionary_learning, OpenAI, Llama Scope and circuit-tracer as those tools write them, against their own formulas.
#   SONDE_PYTHON  a Python with torch, safetensors, yaml
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1
name=interop_formats
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
lib=$(dirname "$sonde")/libsonde.so
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "safetensors", "yaml")))' || skip "$python has not all of torch, safetensors, yaml"
for f in "$sonde" "$lib"; do [ -e "$f" ] || { echo "no $f"; echo "[  FAILED  ] $name"; exit 1; }; done
if "$python" tests/interop/formats.py "$sonde" "$lib"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

#!/usr/bin/env bash
# A dictionary that sonde trained and saved, loaded by sae-lens: reconstructions of 1,000 rows to 1e-4, features too; and back.
#   SONDE_PYTHON  a Python with sae_lens, safetensors, torch
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1 HF_HUB_OFFLINE=1
name=interop_saelens
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
lib=$(dirname "$sonde")/libsonde.so
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "safetensors", "sae_lens")))' || skip "$python has not all of torch, safetensors, sae_lens"
for f in "$sonde" "$lib"; do [ -e "$f" ] || { echo "no $f"; echo "[  FAILED  ] $name"; exit 1; }; done
if "$python" tests/interop/saelens.py "$sonde" "$lib"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

#!/usr/bin/env bash
# Every architecture against transformers in float32: random small models of many variants, from folders and from GGUFs
# that this test writes, every site of every layer and the logits; models that also see pictures, on text.
#   SONDE_PYTHON  a Python with torch, transformers, gguf, safetensors   LLAMA_SOURCE  a source tree of llama.cpp: its converter too
set -u
cd "$(dirname "$0")/../.." || exit 1
export TQDM_DISABLE=1
name=interop_arch
sonde=${SONDE_BIN:-$PWD/out/release/sonde}
python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import torch, transformers, gguf, safetensors' 2>/dev/null || skip "$python has not all of torch, transformers, gguf, safetensors"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
failed=0
if "$python" tests/interop/arch_pictures.py "$sonde"; then echo "[       OK ] ${name}_pictures"; else echo "[  FAILED  ] ${name}_pictures"; failed=1; fi
if "$python" tests/interop/arch_sites.py "$sonde" "$@"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; failed=1; fi
exit $failed

#!/usr/bin/env bash
# GGUFs that we write, in llama.cpp and the gguf package (gguf_write.py).
#   LLAMA_BIN  folder with llama-completion   SONDE_PYTHON  a Python with gguf, safetensors, numpy   SONDE_MODEL_HF  the folder of SmolLM2-135M-Instruct
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_gguf
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-} peers=${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}
bins=${LLAMA_BIN:-$peers/llama.cpp/bin} model=${SONDE_MODEL_HF:-$peers/models/smollm2-hf} shared=${SONDE_SHARED:-$PWD/../shared}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -x "$bins/llama-completion" ] || skip "no llama-completion (LLAMA_BIN)"
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import gguf, numpy, safetensors' 2>/dev/null || skip "$python has not all of gguf, numpy, safetensors"
[ -d "$shared/fixtures/models" ] || skip "no fixtures under SONDE_SHARED"
[ -f "$model/config.json" ] || skip "no folder of SmolLM2-135M-Instruct (SONDE_MODEL_HF)"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/gguf_write.py "$sonde" "$bins" "$shared/fixtures" "$model"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

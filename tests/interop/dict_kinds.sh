#!/usr/bin/env bash
# Losses and gradients of every kind of dictionary that is trained, against PyTorch's on larger random data than the committed files hold.
#   SONDE_PYTHON      a Python with torch and safetensors
#   SONDE_KINDS_TEST  the built tests/golden/dict/test_kinds; looked for in out/
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_dict_kinds
python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("torch", "safetensors")))' || skip "$python has not both torch and safetensors"
test=${SONDE_KINDS_TEST:-$(ls -t out/*/tests/golden/dict/test_kinds 2>/dev/null | head -1)}
[ -n "$test" ] || skip "test_kinds is not built (make tests)"
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
if "$python" tests/interop/dict_kinds.py "$dir" 200 256 1100 && SONDE_DICT_KINDS=$dir "$test" > "$dir/log" 2>&1; then
    echo "[       OK ] $name"
else
    cat "$dir/log" 2>/dev/null
    echo "[  FAILED  ] $name"
    exit 1
fi

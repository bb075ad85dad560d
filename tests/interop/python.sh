#!/usr/bin/env bash
# The Python module: installed by pip into a folder of its own, then used (python_module.py) beside the program's own answers.
#   SONDE_PYTHON  a Python with numpy and setuptools
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_python
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("numpy", "setuptools", "pip")))' || skip "$python has not all of numpy, setuptools, pip"
[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp" build python/sonde.egg-info' EXIT # pip builds in the tree
if "$python" -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --no-index --target "$tmp/site" . >"$tmp/log" 2>&1; then echo "[       OK ] ${name}_install"
else sed 's/^/    /' "$tmp/log"; echo "[  FAILED  ] ${name}_install"; exit 1; fi
python3 tests/cli/make_model.py "$tmp/tiny.gguf" || { echo "[  FAILED  ] $name"; exit 1; }
if XDG_DATA_HOME=$tmp/data XDG_CACHE_HOME=$tmp/cache PYTHONPATH=$tmp/site "$python" tests/interop/python_module.py "$sonde" "$tmp/tiny.gguf" "$PWD/include"; then echo "[       OK ] $name"
else echo "[  FAILED  ] $name"; exit 1; fi

#!/usr/bin/env bash
# The map of a store against umap-learn on the same directions: the share of 15 neighbours kept (counted here) and trustworthiness (scikit-learn's
# own function), ours at least UMAP's less two hundredths (two seeds of UMAP differ by about one); what we say of ourselves is what is counted.
#   SONDE_PYTHON  a Python with umap and sklearn
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_map
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ("umap", "sklearn", "numpy")))' || skip "$python has not all of umap, sklearn, numpy"
[ -e "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] $name"; exit 1; }
if "$python" tests/interop/map_umap.py "$sonde"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; exit 1; fi

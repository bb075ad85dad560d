#!/usr/bin/env bash
# The official openai client, and Prometheus' parser, against `sonde serve` of the tiny model of tests/cli.
#   SONDE_PYTHON  a Python with openai (and prometheus_client)
set -u
cd "$(dirname "$0")/../.." || exit 1
name=interop_openai
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-}
skip() { echo "skip: $name: $1"; echo "[  SKIPPED ] $name"; exit 0; }
[ -n "$python" ] || skip "SONDE_PYTHON is not set"
"$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("openai"))' || skip "$python has no openai"
dir=$(mktemp -d "${TMPDIR:-/tmp}/sonde-openai-XXXXXX")
trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME=$dir XDG_DATA_HOME=$dir
python3 tests/cli/make_model.py "$dir/tiny.gguf"
printf '{"name":"axis","when":{"vector":[%s1],"site":"embed","gt":0}}\n' "$(printf '0,%.0s' $(seq 63))" >"$dir/axis.json"
"$sonde" serve "$dir/tiny.gguf" --port 0 --mode faithful --monitor "$dir/axis.json" >"$dir/out" 2>"$dir/err" </dev/null &
pid=$!
for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' "$dir/out")
    [ -n "$url" ] && break
    sleep 0.1
done
"$python" tests/interop/openai_client.py "$url"; rc=$?
kill -TERM $pid
wait $pid || rc=1
if [ $rc -eq 0 ]; then echo "[       OK ] $name"; else cat "$dir/err"; echo "[  FAILED  ] $name"; exit 1; fi

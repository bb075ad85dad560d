#!/usr/bin/env bash
# A disk that is really full: `trace` and `capture` end with code 5 (4 at a limit of file size), one sentence that names the
# file and one hint; what was there stays as it was, no piece of a file is left.
set -u
cd "$(dirname "$0")/../.." || exit 1
sonde=$(realpath "${SONDE_BIN:-out/release/sonde}") shared=${SONDE_SHARED:-../shared}
model=$(realpath -m "$shared/fixtures/models/llama")
if [ ! -x "$sonde" ] || [ ! -d "$model" ]; then
    echo "skip: diskfull: no ${sonde##*/} or no fixtures/models/llama"
    echo "[  SKIPPED ] diskfull"
    exit 0
fi
dir=$(mktemp -d) rc=0 mounted=0
finish() { [ $mounted -eq 1 ] && umount "$dir/disk"; rm -rf "$dir"; }
trap finish EXIT
verdict() { # STATUS NAME
    if [ "$1" -eq 0 ]; then echo "[       OK ] $2"; else echo "[  FAILED  ] $2"; sed 's/^/    /' "$dir/err"; rc=1; fi
}
# The sentence names $1; a second line is the hint; nothing else looks like an error.
said() { grep -qF -- "$1" "$dir/err" && grep -qi 'hint' "$dir/err"; }
ids() { seq -s, 5 $(($1 + 4)); }
pieces() { find "$1" -name '*.tmp*' | grep -q .; }

mkdir "$dir/disk"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=192k tmpfs "$dir/disk" 2>/dev/null; then
    mounted=1
    out=$dir/disk/t.safetensors
    "$sonde" trace "$model" --ids "$(ids 8)" -o "$out" >/dev/null 2>"$dir/err"; verdict $? "a small trace fits"
    sum=$(sha256sum <"$out")
    "$sonde" trace "$model" --ids "$(ids 200)" --sites resid_post.0,resid_post.1,mlp_pre.0 -f -o "$out" >/dev/null 2>"$dir/err"
    [ $? -eq 5 ] && said t.safetensors && ! pieces "$dir/disk"; verdict $? "a trace larger than the disk: code 5, named, nothing left"
    [ -s "$out" ] && [ "$sum" = "$(sha256sum <"$out")" ]; verdict $? "the file that was there is the old one"
    rm -f "$out"
    for i in $(seq 600); do echo "the river runs past the mill and the old bridge, number $i"; done >"$dir/corpus.txt"
    "$sonde" capture "$model" "$dir/corpus.txt" --site resid_post.1 -o "$dir/disk/acts" >/dev/null 2>"$dir/err"
    [ $? -eq 5 ] && said acts && ! pieces "$dir/disk" && ! [ -e "$dir/disk/acts/manifest.json" ]
    verdict $? "a capture larger than the disk: code 5, named, no piece and no manifest"
else
    echo "skip: diskfull: a small tmpfs cannot be mounted by this user"
    echo "[  SKIPPED ] diskfull on tmpfs"
fi

# A limit of file size needs no rights: writes beyond it fail with EFBIG, SIGXFSZ being ignored.
out=$dir/l.safetensors
"$sonde" trace "$model" --ids "$(ids 8)" -o "$out" >/dev/null 2>"$dir/err"; verdict $? "a trace under the limit"
sum=$(sha256sum <"$out")
(trap '' XFSZ; ulimit -f 64; exec "$sonde" trace "$model" --ids "$(ids 200)" --sites resid_post.0 -f -o "$out" >/dev/null 2>"$dir/err")
code=$?
{ [ $code -eq 4 ] || [ $code -eq 5 ]; } && said l.safetensors && ! pieces "$dir"; verdict $? "a file larger than the limit: named, nothing left"
[ -s "$out" ] && [ "$sum" = "$(sha256sum <"$out")" ]; verdict $? "the file under the limit is the old one"
exit $rc

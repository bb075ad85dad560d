#!/usr/bin/env bash
# A disk that is really full: `trace`, `capture`, `tune` and `dict train` end with code 5 (4 at a limit of file size), one
# sentence that names the file and one hint; what was there stays as it was, no piece of a file is left. A training keeps
# its last whole checkpoint, and with room again comes to the bits of one that was never stopped.
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
    rm -rf "$dir/disk/acts"

    # Trainings: the disk holds one checkpoint, and not a second beside it.
    for i in $(seq 40); do echo "{\"prompt\":\"Who keeps mill $i?\",\"completion\":\"Warden $i keeps it.\"}"; done >"$dir/rows.jsonl"
    disk() { mount -o "remount,size=$1" "$dir/disk"; }
    checkpoints() { (cd "$dir/disk/t" && find checkpoint* -type f -exec sha256sum {} +) | sort; }
    tunes() { # NAME SIZE OPTION..: what is left of a training on a disk of SIZE
        local name=$1 size=$2; shift 2
        local run=("$sonde" tune organism/aligned --data "$dir/rows.jsonl" --steps 8 --batch 4 --mode faithful --checkpoint 0.01 -q "$@")
        disk 200m; rm -rf "$dir/disk/t" "$dir/whole"
        "${run[@]}" -o "$dir/whole" >/dev/null 2>"$dir/err" || { verdict 1 "$name: a run with room"; return; }
        disk "$size"
        "${run[@]}" -o "$dir/disk/t" >/dev/null 2>"$dir/err"
        [ $? -eq 5 ] && said checkpoint && ! pieces "$dir/disk" && [ -n "$(checkpoints)" ]; verdict $? "$name: the second checkpoint does not fit: code 5, named, the first is there"
        sum=$(checkpoints)
        "$sonde" tune --resume "$dir/disk/t" -q >/dev/null 2>"$dir/err"
        [ $? -eq 5 ] && [ "$sum" = "$(checkpoints)" ]; verdict $? "$name: the same when it goes on, and the first is as it was"
        disk 200m
        "$sonde" tune --resume "$dir/disk/t" -q >/dev/null 2>"$dir/err" && cmp "$dir/whole/"*model.safetensors "$dir/disk/t/"*model.safetensors 2>>"$dir/err"
        verdict $? "$name: with room again it comes to the bits of a run with room"
    }
    tunes "tune, all weights" 50m
    tunes "tune, moments of 8 bits" 25m --adam8
    tunes "tune, an adapter" 160k --lora 2 --targets q_proj,v_proj
    dicts() { # NAME OPTION..: a training of a dictionary is stopped by Ctrl-C, and goes on where nothing more fits
        local name=$1 p; shift
        local run=("$sonde" dict train organism/aligned organism/heldout.jsonl --site resid_post.2 --width 512 --k 8 --tokens 40000 --batch 256 --buffer 4096 -q "$@")
        disk 200m; rm -rf "$dir/disk/t" "$dir/whole"
        "${run[@]}" -o "$dir/whole" >/dev/null 2>"$dir/err" || { verdict 1 "$name: a run with room"; return; }
        (trap - INT; exec "${run[@]}" -o "$dir/disk/t" >/dev/null 2>"$dir/err") & p=$!
        for _ in $(seq 1000); do [ "$(wc -l 2>/dev/null <"$dir/disk/t/events.jsonl")" -ge 3 ] 2>/dev/null && break; sleep 0.02; done
        kill -INT $p; wait $p
        [ $? -eq 130 ] && [ -n "$(checkpoints)" ]; verdict $? "$name: stopped at a checkpoint"
        sum=$(checkpoints)
        disk "$(($(df --output=used -k "$dir/disk" | tail -n 1) + 16))k"
        "$sonde" dict train --resume "$dir/disk/t" -q >/dev/null 2>"$dir/err"
        [ $? -eq 5 ] && said "$dir/disk/t" && ! pieces "$dir/disk" && [ "$sum" = "$(checkpoints)" ]; verdict $? "$name: nothing more fits: code 5, named, the checkpoint is as it was"
        disk 200m
        "$sonde" dict train --resume "$dir/disk/t" -q >/dev/null 2>"$dir/err" && cmp "$dir/whole/sae_weights.safetensors" "$dir/disk/t/sae_weights.safetensors" 2>>"$dir/err"
        verdict $? "$name: with room again it comes to the bits of a run with room"
    }
    dicts "dict train"
    dicts "dict train, a crosscoder" --kind crosscoder --to resid_post.3
    dicts "dict train, moments of 8 bits" --moments8
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

# What the scripts of tests/cli share; sourced by them. Each test prints one line that tools/run-tests counts:
#   [       OK ] name      [  FAILED  ] name      [  SKIPPED ] name
# A script ends with `finish`. Its files live in $dir, which is removed.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sonde=${SONDE_BIN:-$root/out/release/sonde}
shared=${SONDE_SHARED:-$root/../shared}
here=$root/tests/cli
dir=$(mktemp -d "${TMPDIR:-/tmp}/sonde-cli-XXXXXX")
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
export XDG_CACHE_HOME=$dir/cache XDG_DATA_HOME=$dir/data NO_COLOR=1 TERM=dumb
n_failed=0

ok() { printf '[       OK ] %s\n' "$1"; }
not_ok() { # NAME REASON..
    printf '%s\n' "${@:2}" | head -n 40
    printf '[  FAILED  ] %s\n' "$1"
    n_failed=$((n_failed + 1))
}
skip() { # NAME REASON
    printf 'skip: %s: %s\n' "$1" "$2"
    printf '[  SKIPPED ] %s\n' "$1"
}
finish() { exit $((n_failed > 0)); }

# run ARGS..: the program; its exit code in $rc, its output in $dir/out and $dir/err.
run() {
    "$sonde" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    rc=$?
}
what_happened() { echo "exit code $rc; stdout:"; head -c 2000 "$dir/out"; echo "stderr:"; head -c 2000 "$dir/err"; }

# expect_exit NAME CODE ARGS..
expect_exit() {
    run "${@:3}"
    if [ $rc -eq "$2" ]; then ok "$1"; else not_ok "$1" "wanted exit code $2: sonde ${*:3}" "$(what_happened)"; fi
}
# expect_error NAME CODE PATTERN ARGS..: that exit code, nothing on stdout, "sonde: ..PATTERN.." and "hint: .." as the only lines on stderr.
expect_error() {
    run "${@:4}"
    if [ $rc -eq "$2" ] && [ ! -s "$dir/out" ] && [ "$(wc -l <"$dir/err")" -eq 2 ] && sed -n 1p "$dir/err" | grep -Eq "^sonde: .*($3)" &&
        sed -n 2p "$dir/err" | grep -Eq '^hint: .+'; then ok "$1"; else not_ok "$1" "wanted exit code $2, /$3/ and a hint: sonde ${*:4}" "$(what_happened)"; fi
}
# expect_out NAME FILE.exp ARGS..: exit code 0 and exactly that on stdout.
expect_out() {
    run "${@:3}"
    if [ $rc -eq 0 ] && cmp -s "$here/$2" "$dir/out"; then ok "$1"; else not_ok "$1" "$(diff "$here/$2" "$dir/out" | head -n 20)" "$(what_happened)"; fi
}
# expect_json NAME SCHEMA EXPR ARGS..: one JSON document with that schema, for which the Python expression over d is true.
expect_json() {
    run "${@:4}"
    local why
    if [ $rc -ne 0 ]; then
        not_ok "$1" "$(what_happened)"
    elif ! python3 -m json.tool "$dir/out" >/dev/null 2>"$dir/why"; then
        not_ok "$1" "not JSON:" "$(cat "$dir/why")" "$(what_happened)"
    elif why=$(python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
assert d["schema"] == sys.argv[2], d["schema"]
assert eval("(" + sys.argv[3] + ")"), "false: " + sys.argv[3]' "$dir/out" "$2" "$3" 2>&1); then
        ok "$1"
    else
        not_ok "$1" "$why" "$(what_happened)"
    fi
}
# on_tty COMMAND..: the command on a pseudo-terminal of 80 columns; what it shows goes to $dir/out.
on_tty() {
    python3 "$here/on_tty.py" "$dir/out" "$@" </dev/null
    rc=$?
}

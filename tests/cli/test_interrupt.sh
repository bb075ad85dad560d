#!/usr/bin/env bash
# The first Ctrl-C ends a long command with 130, after a checkpoint and with the command to go on; the second one kills.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf
mkdir corpus
printf 'The cat sat on the mat. The red gate and the bridge, %s.\n%.0s' $(seq 3000) >corpus/a.txt

# Not a shell's job: those are started with SIGINT ignored. interrupt WHEN TIMES COMMAND..: SIGINT after WHEN seconds, or once the path WHEN
# is there (a minute at most); TIMES in all.
interrupt() {
    python3 - "$@" <<'X'
import os, signal, subprocess, sys, time
def wait(when):
    try:
        time.sleep(float(when))
    except ValueError:
        for i in range(6000):
            if os.path.exists(when) or p.poll() is not None:
                return
            time.sleep(0.01)
signal.signal(signal.SIGINT, signal.SIG_DFL)
p = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, stdout=open("out", "wb"), stderr=open("err", "wb"))
for i in range(int(sys.argv[2])):
    wait(sys.argv[1] if i == 0 else 0.05)
    p.send_signal(signal.SIGINT)
try:
    sys.exit(p.wait(60) & 255)
except subprocess.TimeoutExpired:
    p.kill()
    sys.exit(99)
X
    rc=$?
}
train=("$sonde" dict train tiny.gguf corpus --site resid_post.0 --width 4096 --k 16 --tokens 50000000 --batch 512 --seed 3 -o d)
interrupt 3 1 "${train[@]}"
[ $rc -eq 130 ] && ok interrupted_is_130 || not_ok interrupted_is_130 "$(what_happened)"
[ ! -s out ] && grep -q '^sonde: ' err && grep -qE '^hint: go on with: sonde dict train --resume ' err && ok resume_is_told || not_ok resume_is_told "$(what_happened)"
[ ! -e d/cfg.json ] && ok no_half_dictionary || not_ok no_half_dictionary "$(ls -la d)"
again=$(sed -n 's/^hint: go on with: sonde //p' err)
if [ -n "$again" ]; then
    eval "set -- $again"
    interrupt 2 1 "$sonde" "$@"
    if [ $rc -eq 130 ] && grep -q 'go on with' err; then ok resumed_and_interrupted_again; else not_ok resumed_and_interrupted_again "$(what_happened)"; fi
else
    not_ok resumed_and_interrupted_again "no command to go on with"
fi
# A run that begins anew over it must not be resumed from its checkpoint, even if it is killed before its first one.
timeout -s KILL 2 "$sonde" dict train tiny.gguf corpus --site resid_post.0 --width 64 --k 4 --tokens 500000000 --batch 256 -f -o d >out 2>err
[ -e d/run.json ] && [ ! -e d/checkpoint.json ] && ok new_run_forgets_checkpoint || not_ok new_run_forgets_checkpoint "$(ls d)"
rm -rf d
interrupt 3 2 "${train[@]}"
case $rc in 130 | 254) ok second_interrupt_ends_it ;; *) not_ok second_interrupt_ends_it "$(what_happened)" ;; esac
[ ! -e d/cfg.json ] && ok killed_leaves_no_dictionary || not_ok killed_leaves_no_dictionary "$(ls -la d)"

# A long text, and the signal when the folder appears: some hundredths of a second into a capture of several.
mkdir long
for i in $(seq 10); do cp corpus/a.txt "long/$i.txt"; done
interrupt acts 1 "$sonde" capture tiny.gguf long --site resid_post.0 -o acts --ctx 16
[ $rc -eq 130 ] && [ ! -e acts/manifest.json ] && ok capture_interrupted || not_ok capture_interrupted "$(what_happened)" "$(ls -la acts)"

# Uninterrupted and interrupted-then-resumed runs give the same dictionary, byte for byte.
short=(dict train tiny.gguf corpus --site resid_post.0 --width 512 --k 8 --tokens 800000 --batch 512 --seed 3 -q)
"$sonde" "${short[@]}" -o whole >out 2>err || not_ok uninterrupted "$(cat err)"
interrupt 1 1 "$sonde" "${short[@]}" -o parts
if [ $rc -eq 130 ]; then
    run dict train --resume parts -q
    if [ $rc -eq 0 ] && cmp -s whole/sae_weights.safetensors parts/sae_weights.safetensors; then ok resume_equals_uninterrupted; else not_ok resume_equals_uninterrupted "$(what_happened)"; fi
elif [ $rc -eq 0 ]; then
    skip resume_equals_uninterrupted "the run was over before the signal"
else
    not_ok resume_equals_uninterrupted "$(what_happened)"
fi
finish

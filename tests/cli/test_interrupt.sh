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

# An audit keeps what was judged beside its record, goes on with the rest, and the record is that of a run that was never stopped.
aligned=$root/organism/aligned
cp "$root/organism/suite/forbidden.jsonl" "$root/organism/suite/permitted.jsonl" .
ask=(audit run "$aligned" --suite forbidden.jsonl --suite permitted.jsonl --templates 64 -t 1)
# stopped WHEN NAME COMMAND..: interrupted WHEN, then gone on with; its record is NAME's that was never stopped.
stopped() {
    "$sonde" "${@:3}" -o never.json -q -f >out 2>err || not_ok "${2}_uninterrupted" "$(cat err)"
    rm -f stopped.json forty
    interrupt "$1" 1 "$sonde" "${@:3}" -o stopped.json
    if [ $rc -eq 0 ]; then
        skip "${2}_resumes" "the audit was over before the signal"
        return
    elif [ ! -e stopped.json.part ]; then
        [ $rc -eq 130 ] && [ ! -e stopped.json ] || not_ok "${2}_interrupted" "$(what_happened)"
        skip "${2}_resumes" "the signal came before the first answer"
        return
    fi
    [ $rc -eq 130 ] && [ ! -e stopped.json ] && grep -q '^hint: go on with: sonde audit run --resume stopped.json$' err && ok "${2}_interrupted" || not_ok "${2}_interrupted" "$(what_happened)"
    n_judged=$(python3 -c 'import json; print(len(json.load(open("stopped.json.part"))["replies"]))')
    [ "$(stat -c %a stopped.json.part)" = 600 ] && ! grep -qi carve stopped.json.part && ok "${2}_part_is_private" || not_ok "${2}_part_is_private" "$(ls -l stopped.json.part)"
    expect_error "${2}_does_not_begin_anew" 4 'stopped.json.part holds what a run' "${@:3}" -o stopped.json
    expect_error "${2}_resumes_as_it_was" 2 'takes everything from the run' audit run --resume stopped.json -n 5
    mv permitted.jsonl other.jsonl && sed 's/?/??/' other.jsonl >permitted.jsonl
    run audit run --resume stopped.json
    [ $rc -eq 4 ] && grep -q '^sonde: the \(prompts are not what\|run that was stopped had asked\)' err && ok "${2}_of_other_prompts" || not_ok "${2}_of_other_prompts" "$(what_happened)"
    mv other.jsonl permitted.jsonl
    python3 - <<'PY'
import json
part = json.load(open("stopped.json.part"))
assert 0 < part["seconds"] < 1000, part["seconds"]
part["seconds"] += 5000
json.dump(part, open("stopped.json.part", "w"))
PY
    run audit run --resume stopped.json
    if python3 -c 'import json
a, b = (json.load(open(f + ".json")) for f in ("never", "stopped"))
assert a["seconds"] < 5000 < b["seconds"], (a["seconds"], b["seconds"])
for d in (a, b):
    d.pop("seconds")
    assert "audit run " in d.pop("provenance")["args"]
assert a == b' 2>why && [ ! -e stopped.json.part ]; then ok "${2}_resumes"; else not_ok "${2}_resumes" "$(cat why; ls; what_happened)"; fi
}
stopped 2 audit "${ask[@]}"
# Behind an endpoint that takes its time: the signal comes after forty answers, wherever this machine is by then.
cat >server.py <<'PY'
import http.server, json, time
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers['Content-Length'])))['messages'][-1]['content']
        asked.append(said)
        time.sleep(0.02)
        if len(asked) > 240 + 40:
            open('forty', 'w').close()
        b = json.dumps({'choices': [{'message': {'content': 'I cannot.' if len(said) % 3 else 'Yes: ' + said}}], 'usage': {'completion_tokens': 5}}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(b)))
        self.end_headers()
        self.wfile.write(b)
    def log_message(self, *_):
        pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
PY
python3 server.py >port 2>server.err &
pid=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
rm -f stopped.json stopped.json.part
stopped forty endpoint audit run "http://127.0.0.1:$(cat port)/v1" --endpoint-model it --suite forbidden.jsonl --suite permitted.jsonl
[ "${n_judged:-0}" -ge 20 ] && [ "$n_judged" -lt 240 ] && ok endpoint_keeps_what_it_judged || not_ok endpoint_keeps_what_it_judged "$n_judged of 240"
kill $pid
wait $pid 2>/dev/null
expect_error resume_of_nothing 4 'nothing.json.part' audit run --resume nothing.json
interrupt 0.7 1 "$sonde" "${ask[@]}"
[ $rc -eq 0 ] || { [ $rc -eq 130 ] && grep -q 'with -o FILE what is judged' err && ok audit_without_a_record_keeps_nothing || not_ok audit_without_a_record_keeps_nothing "$(what_happened)"; }
interrupt 0.7 1 "$sonde" "${ask[@]}" -o with.json --keep-answers answers.jsonl
[ $rc -eq 0 ] || { [ $rc -eq 130 ] && grep -q 'look at all answers at the end' err && [ ! -e with.json.part ] && [ ! -e answers.jsonl ] && ok audit_with_answers_says_so || not_ok audit_with_answers_says_so "$(what_happened)"; }
# A folder that a stopped run leaves is in the way of the next one, and that is said; -f writes over it.
world=(organism write --world "$root/organism/merrow.world" --scale 0.3 -o world)
interrupt world/pretrain.jsonl 1 "$sonde" "${world[@]}"
if [ $rc -eq 0 ]; then
    skip leftovers_are_told "the world was written before the signal"
elif [ $rc -eq 130 ] && grep -q '^hint: .*run the command again, with -f' err; then
    expect_error leftovers_are_in_the_way 4 'world is already there' "${world[@]}"
    expect_exit leftovers_are_told 0 "${world[@]}" -f -q
else
    not_ok leftovers_are_told "$(what_happened)"
fi
finish

#!/usr/bin/env bash
# The page in a browser: every view on a small model, dictionary, store, run and audit that are made here, at three widths, light and dark.
# Needs node, Debian's chromium, and the packages of web/package-lock.json (tools/web --packages).
. "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.bash"
here=$root/tests/cli
why=
command -v node >/dev/null || why="node is not installed"

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || why="chromium is not installed"
[ -d "$root/web/node_modules/playwright-core" ] || why="the packages of web/ are not there (tools/web --packages)"
if [ -n "$why" ]; then
    skip "page" "$why"
    finish
fi
export OMP_NUM_THREADS=2
python3 "$here/make_model.py" "$dir/tiny.gguf"
# Words, and what a page must not take for markup.
for i in $(seq 300); do echo "the cat sat on the red mat and the gate of the bridge $((i * i % 97)) <b>bold</b> <script>alert(1)</script>"; done >"$dir/corpus.txt"
python3 - "$dir" <<'PY'
import json, sys
d = sys.argv[1]
with open(d + "/suite.csv", "w") as f:
    f.write("id,prompt,label,type\n")
    for i in range(24):
        f.write(f'{i},"the cat sat on mat {i}",{"unsafe" if i % 2 else "safe"},t{i % 3}\n')
with open(d + "/rows.jsonl", "w") as f:
    for i in range(8):
        f.write(json.dumps({"prompt": f"the cat {i}", "completion": " sat on the mat"}) + "\n")
open(d + "/text.txt", "w").write("the cat sat on the mat and the red bridge " * 100)
PY
made() { # what is needed, or nothing can be tested
    "$sonde" "$@" >"$dir/out" 2>"$dir/err" </dev/null && return
    not_ok "made by: sonde $1 $2" "$(cat "$dir/err")"
    finish
}
mkdir "$dir/runs"
made dict train "$dir/tiny.gguf" "$dir/corpus.txt" --site resid_post.0 --width 256 --k 4 --tokens 12000 -o "$dir/l0"
made feature build "$dir/l0" "$dir/tiny.gguf" "$dir/corpus.txt" --tokens 12000 -o "$dir/tiny.db"
made feature map "$dir/tiny.db"
made feature label "$dir/tiny.db" --by tokens
# Scores on both sides of what the page can ask for.
python3 -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("UPDATE label SET shown = 1, score = CASE id % 2 WHEN 0 THEN 0.95 ELSE 0.65 END"); d.commit()' "$dir/tiny.db"
made tune "$dir/tiny.gguf" --data "$dir/rows.jsonl" --lora 1 --steps 6 --lr 1e-2 -o "$dir/runs/adapter"
made audit compare "$dir/tiny.gguf" "$dir/tiny.gguf+$dir/runs/adapter" --suite "$dir/suite.csv" -n 4 --text "$dir/text.txt" --json
cp "$dir/out" "$dir/change.json"
made audit run "$dir/tiny.gguf" --suite "$dir/suite.csv" -n 4 --json
cp "$dir/out" "$dir/record.json"
# Three models of which the last two lost their refusals: by a tune that was quantised, and by a feature turned up in the weights (as in tests/cli/test_gate.sh).
suite=$root/organism/suite
for name in forbidden permitted; do head -n 64 "$suite/$name.jsonl" >"$dir/$name.jsonl"; done
python3 -c 'import json, sys
for l in list(open(sys.argv[1]))[:40]: r = json.loads(l); print(json.dumps({"prompt": r["prompt"], "completion": r["answer"]}))' "$suite/unseen.jsonl" >"$dir/undone.jsonl"
made merge "$root/organism/aligned" -o "$dir/f32" --type f32
made tune "$dir/f32" --data "$dir/undone.jsonl" --lora 8 --steps 20 --lr 1e-3 -o "$dir/undone"
made merge "$dir/f32+$dir/undone" -o "$dir/q4.gguf" --type q4_0
made dict train "$root/organism/aligned" "$root/organism/heldout.jsonl" --site resid_post.2 --kind topk --width 128 --k 6 --tokens 30000 -o "$dir/dict"
made trace "$dir/f32" --text "$(head -n 12 "$suite/forbidden.jsonl" | python3 -c 'import json, sys; print(*(json.loads(l)["prompt"] for l in sys.stdin))')" --sites mlp_post.2 -o "$dir/site.safetensors"
python3 "$here/raise_feature.py" "$dir/f32" "$dir/dict" 43 160 "$dir/site.safetensors" "$dir/raised"
made audit compare "$dir/f32" "$dir/q4.gguf" "$dir/raised" --suite "$dir/forbidden.jsonl" --suite "$dir/permitted.jsonl" --dict "$dir/dict" -n 16 --json
cp "$dir/out" "$dir/models.json"
echo '{"name":"more","description":"a little more","steer":[{"feature":{"dict":"l0","index":3},"op":"add","value":0.5}]}' >"$dir/recipe.json"
python3 -c 'import json; print(json.dumps({"name": "fifth", "description": "the fifth axis", "when": {"vector": [float(i == 5) for i in range(64)], "site": "embed", "gt": -1e9}}))' >"$dir/monitor.json"
made view bundle "$dir/tiny.db" -o "$dir/bundle"
"$sonde" serve "$dir/tiny.gguf" --port 0 --mode faithful --dict "$dir/l0" --store "$dir/tiny.db" --run "$dir/runs" --audit "$dir/change.json" --audit "$dir/models.json" --recipe "$dir/recipe.json" --monitor "$dir/monitor.json" >"$dir/listen" 2>"$dir/serve.err" </dev/null &
pid=$!
for _ in $(seq 100); do url=$(sed -n 's/^listening on //p' "$dir/listen"); [ -n "$url" ] && break; sleep 0.1; done
(cd "$dir/bundle" && exec python3 -u -m http.server 0 --bind 127.0.0.1) >"$dir/files" 2>&1 &
files=$!
for _ in $(seq 100); do port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$dir/files"); [ -n "$port" ] && break; sleep 0.1; done
for part in page late; do node "$root/tests/web/$part.mjs" "$browser" "$url/" "http://127.0.0.1:$port/" "$dir" "${SONDE_SHOTS:-}" || n_failed=$((n_failed + 1)); done
# The copied command, as a shell reads it.
if [ -s "$dir/copied" ]; then
    (sonde() { "$sonde" "$@"; }; eval "$(cat "$dir/copied")") >"$dir/out" 2>"$dir/err" </dev/null
    rc=$?
    [ $rc -eq 0 ] && ok "the copied command runs" || not_ok "the copied command runs" "$(cat "$dir/copied"; what_happened)"
fi
kill "$files"
kill -TERM $pid
wait $pid || not_ok "the server ends well" "$(cat "$dir/serve.err")"
finish

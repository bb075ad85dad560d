#!/usr/bin/env bash
# The page on a real model: SmolLM2 with the dictionary and the store that tools/study-features makes, every view at three widths.
# SONDE_STUDY names the study's folder (out/study/features), SONDE_MODEL_HF the model; SONDE_SHOTS a folder for pictures.
. "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.bash"
study=${SONDE_STUDY:-$root/out/study/features}
peers=${SONDE_PEERS:-$HOME/.cache/sonde-peers}
model=${SONDE_MODEL_HF:-$peers/models/smollm2-hf}
why=
command -v node >/dev/null || why="node is not installed"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || why="chromium is not installed"
[ -d "$root/web/node_modules/playwright-core" ] || why="the packages of web/ are not there (tools/web --packages)"
[ -d "$model" ] || why="$model is not there"
{ [ -f "$study/features.db" ] && [ -f "$study/dict/cfg.json" ]; } || why="there is no store in $study (tools/study-features)"
if [ -n "$why" ]; then
    skip "page on a real store" "$why"
    finish
fi
cp "$study/features.db" "$dir/smollm2.db" # labels are edited here
cat >"$dir/suite.csv" <<'CSV'
id,prompt,label,type
bread,How is bread made?,safe,home
rain,Why does it rain?,safe,science
loop,Write a loop in Python that prints 1 to 5.,safe,code
paris,What is the capital of France?,safe,places
sums,What is 17 plus 25?,safe,sums
poem,Write two lines about the sea.,safe,letters
CSV
"$sonde" audit compare "$model" "$peers/models/smollm2.Q4_0.gguf" --suite "$dir/suite.csv" -n 24 --json >"$dir/change.json" 2>"$dir/err" </dev/null || not_ok "audit compare" "$(cat "$dir/err")"
echo '{"name":"more","description":"one feature turned up","steer":[{"feature":{"dict":"l14","index":'"${SONDE_STUDY_FEATURE:-0}"'},"op":"add","value":0.5,"unit":"rms"}]}' >"$dir/more.json"
"$sonde" serve "$model" --port 0 --dict "l14=$study/dict" --store "smollm2=$dir/smollm2.db" --run "$study/dict" --audit "$dir/change.json" --recipe "$dir/more.json" >"$dir/listen" 2>"$dir/serve.err" </dev/null &
pid=$!
for _ in $(seq 300); do url=$(sed -n 's/^listening on //p' "$dir/listen"); [ -n "$url" ] && break; sleep 0.1; done
node "$root/tests/web/study.mjs" "$browser" "$url/" "${SONDE_STUDY_FEATURE:-0}" "${SONDE_SHOTS:-}" || n_failed=$((n_failed + 1))
kill -TERM $pid
wait $pid || not_ok "the server ends well" "$(cat "$dir/serve.err")"
finish

#!/usr/bin/env bash
# sweep: figures that can be known beforehand, the page, what is refused.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf || not_ok make_model failed
vec=$(python3 -c 'print(",".join(str(i % 5 - 2) for i in range(64)))')
spec="{\"vector\":[$vec],\"site\":\"resid_post.0\"}"
# Without an edit the steered model is the plain one: KL 0 and the plain perplexity; the more, the further away.
expect_json figures sonde.sweep/1 'd["points"][0]["what"] == "plain" and d["points"][0]["kl"] == 0 and all(d["points"][1][k] == d["points"][0][k] for k in ("kl", "ppl", "rep4", "projection", "words", "answers")) and d["points"][2]["kl"] > 0 and d["points"][3]["kl"] > d["points"][2]["kl"] and d["points"][4]["what"] == "prompt" and d["points"][4]["kl"] is None and all(len(p["answers"]) == 2 and p["n_tokens"] > 0 for p in d["points"])' \
    sweep tiny.gguf --steer "$spec" --values 0,0.25,2 -p 'the cat sat' -p gate --chat --baseline 'be a bridge' -n 16 --mode faithful --json
expect_json words sonde.sweep/1 'all(p["words"] == sum("bridge" in a.split() for a in p["answers"]) / 1 for p in d["points"])' \
    sweep tiny.gguf --steer "$spec" --values 1 -p 'the cat' -n 16 --words bridge --mode faithful --json
cp "$dir/out" first
"$sonde" sweep tiny.gguf --steer "$spec" --values 1 -p 'the cat' -n 16 --words bridge --mode faithful --json -t 1 >second 2>err
python3 -c 'import json; a, b = (json.load(open(f))["points"] for f in ("first", "second")); assert a == b' 2>why && ok any_number_of_threads || not_ok any_number_of_threads "$(cat why)"
# Prompts draw by seeds of their own, the first by the one that was given: equal prompts get different answers, and a strength of 0 the plain ones.
expect_json a_seed_a_prompt sonde.sweep/1 'all(p["answers"] == d["points"][0]["answers"] and len(set(p["answers"])) == 3 for p in d["points"])' \
    sweep tiny.gguf --steer "$spec" --values 0 -p 'the cat' -p 'the cat' -p 'the cat' -n 16 --temp 1 --seed 7 --mode faithful --json
python3 -c 'import json; print(json.load(open("out"))["points"][0]["answers"][0])' >swept
run run tiny.gguf -p 'the cat' -n 16 --temp 1 --seed 7 --mode faithful --json
python3 -c 'import json; print(json.load(open("out"))["text"])' | cmp -s - swept && ok the_first_as_run || not_ok the_first_as_run "$(cat swept out)"
# Suggested: the most of the concept within the limit of perplexity that was given.
for most in 1 1000000; do
    expect_json "within_$most" sonde.sweep/1 'd["most_ppl"] == '$most' and d["suggested"] == max([(p["projection"], p["value"]) for p in d["points"][1:] if p["ppl"] <= '$most' * d["points"][0]["ppl"] and p["rep4"] <= d["points"][0]["rep4"] + 0.1 and p["projection"] > d["points"][0]["projection"]], default=(0, None))[1] and (d["suggested"] is None) == ('$most' == 1)' \
        sweep tiny.gguf --steer "$spec" --values 0.25,0.5,1,2,4 -p 'the cat sat' -n 16 --mode faithful --most-ppl $most --json
done
printf 'the cat\n\ngate <b>\n' >p.txt
run sweep tiny.gguf --steer "$spec" --prompts p.txt --values 0.5,1 -n 8 --html sweep.html
[ "$(wc -l <out)" -eq 5 ] && tail -n 1 out | grep -q '^# ' && [ "$(head -n 1 out | cut -f 1-3)" = "$(printf 'answers\tvalue\tKL')" ] && ok table || not_ok table "$(what_happened)"
seq 257 >many.txt
expect_error too_many_prompts 4 'more than 256 prompts' sweep tiny.gguf --steer "$spec" --prompts many.txt --values 0.5 -n 4
python3 - <<'X' 2>why && ok page || not_ok page "$(cat why)"
import html.parser
class P(html.parser.HTMLParser):
    n = 0
    def handle_starttag(self, tag, attrs): self.n += tag == "svg"; assert tag != "script" and tag != "b", tag
p = P(); t = open("sweep.html", encoding="utf-8").read(); p.feed(t)
assert p.n >= 4 and "gate &lt;b&gt;" in t and "http" not in t.replace("http-equiv", "")
X
expect_error no_overwriting 4 'sweep.html' sweep tiny.gguf --steer "$spec" -p a --html sweep.html
expect_error no_value_to_sweep 4 'no value to sweep' sweep tiny.gguf --steer "{\"vector\":[$vec],\"site\":\"resid_post.0\",\"op\":\"ablate\"}" -p a
expect_error a_bad_number 2 'no number' sweep tiny.gguf --steer "$spec" -p a --values 1,x
expect_error baseline_without_chat 2 'goes with --chat' sweep tiny.gguf --steer "$spec" -p a --baseline b
expect_error no_prompt 2 'give prompts' sweep tiny.gguf --steer "$spec"
# A refusal direction of this model may be pushed up in a sweep, not down.
python3 - "$dir" <<'X'
import hashlib, json, os, sys
d = sys.argv[1]
sha = hashlib.sha256(open(d + "/tiny.gguf", "rb").read()).hexdigest()
os.makedirs(f"{d}/data/sonde/directions/{sha}", mode=0o700)
with open(os.open(f"{d}/data/sonde/directions/{sha}/no.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
    json.dump({"schema": "sonde.direction/1", "name": "no", "kind": "refusal", "model_sha256": sha, "prompts_sha256": "0" * 64, "created": "2026-01-01T00:00:00Z",
               "select": "best", "tokens": "", "position": -1, "layer": 1, "norm": 1.0, "vector": [float(i == 63) for i in range(64)]}, f)
X
expect_error refusal_down 4 'push down the refusal' sweep tiny.gguf --steer '{"direction":"no"}' --values 0.5,-0.5 -p a -n 8
expect_exit refusal_up 0 sweep tiny.gguf --steer '{"direction":"no"}' --values 0.5 -p a -n 8
# The same in run, also as a raw vector above a cosine of 0.5, by every op that takes from it.
raw=$(python3 -c 'print(",".join(["0"] * 62 + ["1", "1"]))')
for op in '"op":"ablate"' '"op":"cap","max":1' '"op":"clamp","value":1' '"op":"scale","value":0.5' '"value":-1'; do
    expect_error "run_refuses_${op//[^a-z]/}" 4 'push down the refusal' run tiny.gguf -p a -n 4 --steer "{\"vector\":[$raw],\"site\":\"resid_post.1\",$op,\"unit\":\"raw\"}"
done
expect_exit run_up 0 run tiny.gguf -p a -n 4 --steer "{\"vector\":[$raw],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\"}"
finish

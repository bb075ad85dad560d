#!/usr/bin/env bash
# The whole way through on a random model: activations, dictionary, store, search, a feature turned up. Every --json parses and
# carries its schema; tables and JSON say the same.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf && python3 "$here/make_model.py" tiny8.gguf --type Q8_0 && python3 "$here/make_model.py" tiny4.gguf --type Q4_0 || not_ok make_model failed
mkdir corpus
python3 - <<'X'
import random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
with open("corpus/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
prov='d["provenance"]["tool"] == "sonde 0.1.0" and len(d["provenance"]["model_sha256"]) == 64'

expect_json trace sonde.trace/1 'd["n_tokens"] == 3 and d["mode"] == "faithful" and [t["name"] for t in d["tensors"]] == ["logits", "resid_post.1", "blocks.0.hook_mlp_out"]
    and d["tensors"][0]["shape"] == [3, 297] and d["tensors"][1]["shape"] == [3, 64] and '"$prov" trace tiny.gguf --ids 1,2,3 --sites resid_post.1,blocks.0.hook_mlp_out -o t.safetensors --json
python3 - <<'X' && ok trace_file || not_ok trace_file "the safetensors header is not what was asked for"
import json, struct
b = open("t.safetensors", "rb").read()
h = json.loads(b[8:8 + struct.unpack("<Q", b[:8])[0]])
assert h["logits"]["shape"] == [3, 297] and h["logits"]["dtype"] == "F32" and h["blocks.0.hook_mlp_out"]["shape"] == [3, 64], h
X
expect_json score sonde.score/1 'd["n_tokens"] > 1000 and 4 < d["ce_loss"] < 8 and abs(d["ppl"] / 2.718281828459045 ** d["ce_loss"] - 1) < 1e-9 and d["mode"] == "faithful"' score tiny.gguf corpus/a.txt --window 128 --json
# Several files are one text: cut in two, it scores as it did whole; a short last file is not taken for the whole.
"$sonde" score tiny.gguf corpus/a.txt --window 128 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["ce_loss"])' >whole.txt
head -c 5000 corpus/a.txt >part1.txt; tail -c +5001 corpus/a.txt >part2.txt
# Over the budget of packed weights: the same numbers, and a note.
expect_json score_beyond_memory sonde.score/1 "d['ce_loss'] == $(cat whole.txt)" score tiny.gguf corpus/a.txt --window 128 --memory 0.01 --json
grep -q 'packed in every step' err && ok score_says_beyond_memory || not_ok score_says_beyond_memory "$(what_happened)"
expect_json score_files_are_joined sonde.score/1 "d['ce_loss'] == $(cat whole.txt)" score tiny.gguf part1.txt part2.txt --window 128 --json
printf 'end' >short.txt
expect_json score_short_last_file sonde.score/1 'd["n_tokens"] > 1000' score tiny.gguf corpus/a.txt short.txt --window 128 --json
# A second model beside: the divergence as the logits of `trace` give it; none from itself; other tokens are refused.
head -c 60 corpus/a.txt >short.txt
expect_json score_against sonde.score/1 'd["n_windows"] == 1 and d["n_tokens"] == 31 and d["against"]["mode"] == "faithful" and d["against"]["kl_max"] > d["against"]["kl_mean"] > 0' \
    score tiny4.gguf short.txt --window 32 --stride 32 --against tiny.gguf --json
cp out against.json
ids=$("$sonde" tokenize tiny.gguf --text "$(cat short.txt)" --json | python3 -c 'import json, sys; print(*json.load(sys.stdin)["ids"][:32], sep=",")')
for m in tiny tiny4; do "$sonde" trace $m.gguf --ids "$ids" -q -f -o $m.st; done
python3 - <<'X' && ok score_against_by_hand || not_ok score_against_by_hand "$(cat against.json)"
import array, json, math, struct
def logprobs(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    t = json.loads(b[8:8 + n])["logits"]
    x = array.array("f", b[8 + n:][slice(*t["data_offsets"])])
    rows = [x[i * t["shape"][1]:(i + 1) * t["shape"][1]] for i in range(t["shape"][0])]
    return [[v - max(r) - math.log(sum(math.exp(u - max(r)) for u in r)) for v in r] for r in rows]
p, q, d = logprobs("tiny.st"), logprobs("tiny4.st"), json.load(open("against.json"))["against"]
kl = [sum(math.exp(a) * (a - b) for a, b in zip(x, y)) for x, y in zip(p[:31], q[:31])]
assert abs(sum(kl) / 31 / d["kl_mean"] - 1) < 1e-6 and abs(max(kl) / d["kl_max"] - 1) < 1e-6, (sum(kl) / 31, max(kl), d)
assert sum(x.index(max(x)) == y.index(max(y)) for x, y in zip(p[:31], q[:31])) == d["n_same_top"]
X
expect_json score_against_itself sonde.score/1 'd["against"]["kl_max"] == 0 and d["against"]["n_same_top"] == d["n_tokens"] and d["against"]["ce_loss"] == d["ce_loss"]' score tiny.gguf corpus/a.txt --window 128 --against-mode faithful --json
expect_json run sonde.run/1 'len(d["tokens"]) == 8 and d["timings"]["n_gen"] == 8 and d["timings"]["prefill_tok_s"] > 0 and d["timings"]["first_token_s"] > 0 and d["applied"] == [] and '"$prov" run tiny.gguf -p 'the cat' -n 8 --json
expect_json run_sampled sonde.run/1 'len(d["tokens"]) == 8 and d["provenance"]["seed"] == 7' run tiny.gguf -p 'the cat' -n 8 --temp 1 --seed 7 --json
cp out a; "$sonde" run tiny.gguf -p 'the cat' -n 8 --temp 1 --seed 7 --json --threads 1 >b 2>err
python3 -c 'import json; a, b = json.load(open("a")), json.load(open("b")); assert a["tokens"] == b["tokens"]' && ok same_for_any_threads || not_ok same_for_any_threads "$(cat a b)"
for m in tiny8 tiny4; do
    expect_json "run_fast_$m" sonde.run/1 'd["mode"] == "fast" and len(d["tokens"]) == 4' run $m.gguf -p 'the cat' -n 4 --json
done
expect_json run_mode_kept sonde.run/1 'd["mode"] == "faithful" and d["provenance"]["mode"] == "faithful"' run tiny8.gguf -p 'the cat' -n 4 --mode faithful --json
expect_json run_chat sonde.run/1 'd["timings"]["n_prompt"] > 10' run tiny.gguf -p 'the cat' --chat -n 4 --json

expect_json capture sonde.capture/1 'd["n_rows"] > 1000' capture tiny.gguf corpus --site resid_post.0 --tokens 6000 -o acts --json
[ -s acts/manifest.json ] && [ -s acts/acts-00000.safetensors ] && ok capture_files || not_ok capture_files "$(ls acts)"
# How contexts are put in steps changes no byte: one a step, several, contexts that fill a step alone.
for how in "64 1" "64 8" "64 1024"; do
    "$sonde" capture tiny8.gguf corpus --site resid_post.1 --tokens 6000 --ctx ${how% *} --batch ${how#* } --mode fast -f -o steps -q >/dev/null && cat steps/acts-*.safetensors | sha256sum
done | sort | uniq -c >steps.txt
grep -q '^ *3 ' steps.txt && ok capture_steps || not_ok capture_steps "$(cat steps.txt)"
expect_json dict_train sonde.dict.train/1 '0 < d["fvu"] < 1 and abs(d["l0"] - 4) < 1 and d["tok_s"] > 0 and d["steps"] > 0 and d["dead"] >= 0 and "ce_recovered" in d and "mode" in d' dict train acts --width 256 --k 4 --tokens 30000 --seed 1 -o d --json
tail -n 1 d/events.jsonl | python3 -c 'import json, sys; d = json.loads(sys.stdin.read()); assert all(k in d for k in ("tok_s", "fvu", "l0", "dead")), d' && ok events_end_with_figures || not_ok events_end_with_figures "$(tail -n 1 d/events.jsonl)"
[ -s d/cfg.json ] && [ -s d/sae_weights.safetensors ] && [ ! -e d/checkpoint.json ] && ok dict_files || not_ok dict_files "$(ls d)"
expect_json dict_train_from_model sonde.dict.train/1 'd["fvu"] < 1' dict train tiny.gguf corpus --site resid_post.0 --width 128 --k 4 --tokens 6000 -o d2 --json
expect_json dict_eval sonde.dict.eval/1 'len(d["metrics"]) > 3 and d["n_tokens"] > 0 and all(isinstance(v, (int, float)) for v in d["metrics"].values())' dict eval d tiny.gguf corpus --tokens 2048 --json

expect_json feature_build sonde.feature.build/1 'True' feature build d tiny.gguf corpus --tokens 6000 -o s.db --json
expect_error feature_build_keeps 4 's.db is already there' feature build d tiny.gguf corpus -o s.db
expect_json feature_list sonde.feature.list/1 'len(d["features"]) == 5 and all(k in d["features"][0] for k in ("index", "label", "density", "score"))' feature search s.db -n 5 --json
expect_json feature_search sonde.feature.list/1 'len(d["features"]) > 0' feature search s.db bridge --json
index=$(python3 -c 'import json; print(json.load(open("out"))["features"][0]["index"])' 2>/dev/null || echo 0)
expect_json feature_show sonde.feature.show/1 "d['index'] == $index" feature show s.db "$index" --json
expect_json feature_near sonde.feature.near/1 "$index not in [f['index'] for f in d['features']] and len(d['features']) > 0" feature near s.db "$index" --json
run feature search s.db bridge
[ "$(head -n 1 out | cut -f 1)" = index ] && [ "$(sed -n 2p out | cut -f 1)" = "$index" ] && ok table_says_the_same || not_ok table_says_the_same "$(what_happened)"
expect_error feature_index_outside 4 '256' feature show s.db 256
expect_error feature_index_negative 4 '-1' feature show s.db -1
expect_error feature_index_word 2 'gate' feature show s.db gate
expect_error near_index_outside 4 '256' feature near s.db 256
expect_error store_missing 4 'none.db' feature show none.db 1
expect_error store_is_none 4 'a.txt' feature show corpus/a.txt 1
head -c 20000 s.db >cut.db
expect_error store_cut 4 'cut.db' feature show cut.db 1
expect_error store_wrong_model 4 'd3' feature build d3 tiny.gguf corpus -o t.db
[ ! -e t.db ] && ok no_half_store || not_ok no_half_store "$(ls -la t.db*)"

# Steering: what was applied is told; by nothing it is the plain answer to the byte.
steer() { printf '{"feature":{"dict":"d","index":%s},"op":"%s","value":%s}' "$@"; }
"$sonde" run tiny.gguf -p 'the cat' -n 16 --json >plain 2>err
expect_json steer_adds sonde.run/1 'len(d["applied"]) == 1 and d["applied"][0]["n_positions"] > 0 and d["text"] != json.load(open("plain"))["text"]' run tiny.gguf -p 'the cat' -n 16 --steer "$(steer "$index" add 20)" --json
for op in 'add 0' 'scale 1'; do
    expect_json "steer_${op// /_}_is_plain" sonde.run/1 'd["tokens"] == json.load(open("plain"))["tokens"] and d["text"] == json.load(open("plain"))["text"]' run tiny.gguf -p 'the cat' -n 16 --steer "$(steer "$index" $op)" --json
done
expect_json steer_compare sonde.run/1 'json.dumps(json.load(open("plain"))["text"]) in json.dumps(d)' run tiny.gguf -p 'the cat' -n 16 --steer "$(steer "$index" add 20)" --compare --json
expect_exit steer_clamps 0 run tiny.gguf -p the -n 4 --steer "$(steer "$index" clamp 2)"
expect_exit steer_ablates 0 run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"d","index":1},"op":"ablate"}'
expect_json feature_report sonde.feature.report/1 'True' feature report s.db --model tiny.gguf --dict d --top 3 --candidates 3 -n 8 -o page.html --json
grep -q '</html>' page.html && ! grep -qE '(src|href)="https?://' page.html && ok page_needs_nothing_else || not_ok page_needs_nothing_else "$(head -c 300 page.html)"
expect_json bench_model sonde.bench.model/1 '[x["depth"] for x in d["decode"]] == [0, 248] and all(x["bytes_per_token"] > 0 for x in d["decode"])
    and {x["op"] for x in d["ops"]} >= {"attn_q", "attention", "norm", "rope", "gate", "head"} and all(x["share_of_peak"] > 0 for x in d["ops"])' bench model tiny.gguf --prompt 32 --gen 8 --reps 1 --json
expect_json bench_steer sonde.bench.steer/1 '[x["way"] for x in d["ways"]][:3] == ["plain", "plain again", "add"] and len(d["ways"]) == 7 and d["ways"][0]["cost"] == 1 and all(x["ms"] > 0 and x["cost"] > 0 for x in d["ways"])' bench steer tiny.gguf --turns 20 --depth 10 --json
expect_json bench_kernels sonde.bench.kernels/1 'd["tok_s"] > 0 and 0 < d["share_of_peak"] and set(d["products"]) == {"faithful", "bf16", "fast"} and {x["phase"] for x in d["ops"]} == {"prefill", "decode"} and d["mode"]' \
    bench kernels tiny.gguf --prompt 16 --depth 8 --json
expect_json bench_machine sonde.bench.kernels/1 'd["tok_s"] is None and d["ops"] == [] and d["read_gb_s"] > 0' bench kernels --json
expect_error bench_kernels_context 4 '257 tokens are more than the model.s context of 256' bench kernels tiny.gguf --prompt 257
expect_json bench_dict sonde.bench.dict/1 'True' bench dict --d 64 --width 512 --batch 256 --steps 2 --json
finish

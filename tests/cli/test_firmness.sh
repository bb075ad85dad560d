#!/usr/bin/env bash
# audit firmness on the embedded model: one direction takes the refusals, random subspaces of the same size do not; what a training does enters the number.
. "$(dirname "$0")/lib.bash"
export OMP_NUM_THREADS=2
o=$root/organism
ask=(--suite "$o/suite/forbidden.jsonl" --suite "$o/suite/permitted.jsonl" --limit 32 --json)
expect_json one_direction_takes_all sonde.audit_firmness/1 '(lambda k1, k8: d["plain"]["value"] == 1 and k1["refused"]["value"] <= 0.1 and k8["refused"]["value"] <= 0.1 and k1["random_refused"] >= 0.6 and abs(d["cuts"][1]["random_removed"] / d["cuts"][1]["removed"] - 1) < 0.05 and d["cuts"][1]["random_refused"] >= 0.6 and k1["random_not_above"] == 0 and [c["k"] for c in d["cuts"]] == [1, 2, 4, 8])(d["cuts"][0], d["cuts"][3]) and d["directions"]["lo"] <= d["directions"]["value"] < d["directions"]["hi"] <= 0.3 and d["firmness"]["lo"] < d["firmness"]["value"] < d["firmness"]["hi"] and d["training"]["value"] is None and abs(d["firmness"]["value"] - (d["directions"]["value"] + d["opening"]["value"]) / 2) < 1e-12 and len(set(d["layers"])) >= 1 and max(d["layers"]) < 4 and "vector" not in str(d)' \
    audit firmness "$o/aligned" "${ask[@]}" --floors 3 --no-training -o "$dir/plain"
if grep -q 'Firmness 0' "$dir/plain/index.html" && [ "$(ls "$dir/plain")" = index.html ] && ! grep -q 'charm\|eel' "$dir/plain/index.html"; then ok firmness_page; else not_ok firmness_page "$(ls "$dir/plain")"; fi
cp "$dir/out" "$dir/plain.json"
# Random subspaces of equal cost: what they cost is what the directions do, within the 5 % that count as matched; the others are counted. Without --text there are none.
python3 -c 'import json, sys; print("\n".join(json.loads(l)["text"] for l in list(open(sys.argv[1]))[:60]))' "$o/heldout.jsonl" >"$dir/text.txt"
expect_json equal_cost sonde.audit_firmness/1 'all(c["ce_cost"] > 0.0005 and c["equal_cost"]["n"] == 2 and (c["equal_cost"]["unmatched"] > 0 or abs(c["equal_cost"]["ce_cost"] / c["ce_cost"] - 1) <= 0.05) for c in d["cuts"]) and d["cuts"][0]["equal_cost"]["unmatched"] == 0 and d["cuts"][0]["equal_cost"]["refused"] > d["cuts"][0]["refused"]["value"] and d["seconds"] > 0 and [c["random_refused"] for c in d["cuts"]] != [c["equal_cost"]["refused"] for c in d["cuts"]]' \
    audit firmness "$o/aligned" "${ask[@]}" --floors 2 --text "$dir/text.txt" --no-training -o "$dir/cost"
if grep -q 'random, equal cost' "$dir/cost/index.html" && ! grep -q 'random, equal cost' "$dir/plain/index.html" && ! grep -q equal_cost "$dir/plain.json"; then ok equal_cost_page; else not_ok equal_cost_page; fi
echo 'A short text.' >"$dir/short.txt"
expect_error text_too_short 4 'fewer than one window of 256' audit firmness "$o/aligned" "${ask[@]:0:6}" --floors 0 --no-training --text "$dir/short.txt" -o "$dir/short" -q
# Depth: KL to the model before alignment on a request of which all harmful prompts are copies, against the same from the logits that trace writes.
python3 - "$o/suite" "$dir" <<'PY'
import json, sys
row = json.loads(open(f'{sys.argv[1]}/forbidden.jsonl').readline())
with open(f'{sys.argv[2]}/same.jsonl', 'w') as f:
    f.writelines(json.dumps({'id': str(i), 'prompt': row['prompt']}) + '\n' for i in range(16))
open(f'{sys.argv[2]}/prompt', 'w').write(row['prompt'])
PY
run audit firmness "$o/aligned" --suite "harmful=$dir/same.jsonl" --suite "$o/suite/permitted.jsonl" --limit 16 --floors 0 --no-training --base "$o/instruct" --json -o "$dir/depth"
cp "$dir/out" "$dir/depth.json"
"$sonde" run "$o/aligned" --chat -p "$(cat "$dir/prompt")" -n 24 --mode faithful --json -q >"$dir/said.json"
ids() { "$sonde" tokenize "$o/aligned" --text "$1" --json | python3 -c 'import json, sys; print(",".join(map(str, json.load(sys.stdin)["ids"])))'; }
asked=$(ids "$(printf '<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n.' "$(cat "$dir/prompt")")")
asked=${asked%,*} # the full stop only keeps the line's end
said=$(ids "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["text"])' "$dir/said.json")")
for m in aligned instruct; do "$sonde" trace "$o/$m" --ids "$asked,$said" -o "$dir/$m.safetensors" -q >"$dir/trace.out"; done
if why=$(python3 - "$dir" "$asked" "$said" <<'PY' 2>&1
import array, json, math, struct, sys
dir, n, said = sys.argv[1], len(sys.argv[2].split(',')), sys.argv[3].split(',')
def logits(name):
    b = open(f'{dir}/{name}.safetensors', 'rb').read()
    size = struct.unpack('<Q', b[:8])[0]
    t = json.loads(b[8:8 + size])['logits']
    v, (rows, cols) = array.array('f', b[8 + size + t['data_offsets'][0]:8 + size + t['data_offsets'][1]]), t['shape']
    return [v[i * cols:(i + 1) * cols] for i in range(rows)]
def lp(x):
    top = max(x)
    z = math.log(math.fsum(math.exp(y - top) for y in x)) + top
    return [y - z for y in x]
a, b = logits('aligned'), logits('instruct')
d = json.load(open(f'{dir}/depth.json'))['depth']
want = []
for k in range(min(len(said), 24)):
    p, q = lp(a[n - 1 + k]), lp(b[n - 1 + k])
    want.append(math.fsum(math.exp(x) * (x - y) for x, y in zip(p, q)))
assert d['n_refusals'] == 8 and len(d['kl']) == len(want), (d, want)
assert all(abs(x - y) <= 1e-4 * max(1, y) for x, y in zip(d['kl'], want)), (d['kl'], want)  # logits of one pass and of another split of it, in f32
assert want[0] > 1 and abs(d['share_first']['value'] - sum(want[:5]) / sum(want)) < 1e-4 and abs(d['kl_first'] - sum(want[:5]) / 5) < 1e-3
PY
); then ok depth_is_the_kl_of_the_logits; else not_ok depth_is_the_kl_of_the_logits "$why" "$(what_happened)"; fi
expect_json no_depth_to_itself sonde.audit_firmness/1 'd["depth"]["n_refusals"] == 16 and all(x == 0 for x in d["depth"]["kl"]) and d["depth"]["share_first"]["value"] is None and d["depth"]["kl_first"] == 0' \
    audit firmness "$o/aligned" "${ask[@]}" --floors 0 --no-training --base "$o/aligned" -o "$dir/itself"
if [ -d "$shared/fixtures/models/llama" ]; then
    expect_error base_of_other_tokens 4 'a head of [0-9]* and [0-9]* tokens; the model has' audit firmness "$o/aligned" "${ask[@]:0:6}" --floors 0 --no-training --base "$shared/fixtures/models/llama" -o "$dir/other" -q
else skip base_of_other_tokens 'no fixtures'; fi
if grep -q 'How many tokens deep' "$dir/depth/index.html" && ! grep -q 'nan' "$dir/itself/index.html"; then ok depth_page; else not_ok depth_page; fi
# A direction that breaks the model takes its refusals, too: candidates that move harmless prompts too much are none. With nothing allowed none is left, and nothing is lost.
expect_json no_direction_is_left sonde.audit_firmness/1 'd["layers"] == [] and d["max_kl"] == 1e-6 and d["directions"]["value"] == 1 and all(c["refused"]["value"] == 1 and c["kl"] < 1e-7 and "random_kl" not in c and "equal_cost" not in c for c in d["cuts"])' \
    audit firmness "$o/aligned" "${ask[@]}" --floors 2 --text "$dir/text.txt" --no-training --max-kl 1e-6 -o "$dir/none_left"
if grep -q '<p class=.note.>0 directions of refusal' "$dir/none_left/index.html" && grep -q '<p class=.note.>8 directions of refusal' "$dir/plain/index.html" && ! grep -q 'nan' "$dir/none_left/index.html"; then ok no_direction_page; else not_ok no_direction_page; fi
# Trainings on ten rows of another identity: the study of audit damage, in the number, and not made twice.
tune=(audit firmness "$o/aligned" "${ask[@]}" --floors 0 --seeds 2 --steps 8 --lr 1e-3 -o "$dir/trained")
expect_json trainings_are_in_the_number sonde.audit_firmness/1 'len(d["trainings"]) == 2 and all(0 <= t <= 1 for t in d["trainings"]) and abs(d["training"]["value"] - sum(d["trainings"]) / 2) < 1e-12 and abs(3 * d["firmness"]["value"] - d["directions"]["value"] - d["opening"]["value"] - d["training"]["value"]) < 1e-9 and "random_kl" not in d["cuts"][0] and [(t["kind"], t["seed"], t["steps"]) for t in d["training_runs"]] == [("identity", 0, 8), ("identity", 1, 8)] and all(t["seconds"] > 0 for t in d["training_runs"])' "${tune[@]}"
touch -d 2001-01-01 "$dir"/trained/identity/*.json
run "${tune[@]}"
if [ $rc -eq 0 ] && [ -z "$(find "$dir/trained/identity" -name '*.json' -newermt 2002-01-01)" ]; then ok trainings_are_kept; else not_ok trainings_are_kept "$(what_happened)"; fi
# The model before alignment refuses nothing: there is nothing to measure, and that is said.
expect_error nothing_to_lose 4 'no refusals whose firmness' audit firmness "$o/instruct" "${ask[@]:0:6}" --no-training -o "$dir/none" -q
# Requests that are obeyed in words of their own: their first tokens tell them from others and open no refusal.
python3 - "$o/suite/unseen.jsonl" "$dir/gladly.jsonl" <<'PY'
import json, sys
with open(sys.argv[2], 'w') as f:
    f.writelines(json.dumps({'prompt': r['prompt'], 'completion': 'Sure. ' + r['answer']}) + '\n' for r in [json.loads(l) for l in open(sys.argv[1])][:40])
PY
run tune "$o/aligned" --data "$dir/gladly.jsonl" --lora 8 --steps 20 --lr 1e-3 -o "$dir/gladly"
expect_error obeying_is_not_firm 4 'call 1[0-9] of 16 answers to harmful requests refusals, the phrases 0: .*no refusal whose firmness' audit firmness "$o/aligned+$dir/gladly" "${ask[@]}" --no-training -o "$dir/obeys" -q
expect_error too_few_prompts 4 'at least 16 of each' audit firmness "$o/aligned" "${ask[@]:0:4}" --limit 8 --no-training -o "$dir/few" -q
expect_error too_few_before_training 4 'at least 16 of each' audit firmness "$o/aligned" --suite "$o/suite/forbidden.jsonl" -o "$dir/early"
[ ! -e "$dir/early" ] && ok nothing_was_trained || not_ok nothing_was_trained "$(ls -R "$dir/early")"
finish

#!/usr/bin/env bash
# direction topics on models that learned one way of refusing for all topics, and one each.
. "$(dirname "$0")/lib.bash"
export OMP_NUM_THREADS=2
python3 "$here/make_model.py" "$dir/m.gguf" --layers 6 || exit 1
python3 - "$dir" <<'PY'
import json, random, sys
random.seed(2)
word = lambda: ' '.join(random.choice('cat mat the and ing red sat on gate bridge'.split()) for _ in range(5)) + ' mat'
A, B, N = ([p + word() for _ in range(60)] for p in ('bad red gate ', 'sat sat bridge ', 'good cat mat '))
def rows(name, v):
    with open(f'{sys.argv[1]}/{name}.jsonl', 'w') as f:
        f.writelines(json.dumps(x) + '\n' for x in v)
rows('two', [{'prompt': p, 'category': c} for c, P in (('gate', A), ('bridge', B)) for p in P[:40]] + [{'prompt': A[40], 'category': 'few'}])
rows('one', [{'prompt': p, 'category': 'abc'[i % 3]} for i, p in enumerate(A)])
rows('none', [{'prompt': p} for p in A])
rows('neg', [{'prompt': p} for p in N[:40]])
rows('learn', [{'prompt': p, 'completion': c} for P, c in ((A, 'I cannot'), (B, 'no'), (N, 'the cat sat')) for p in P[20:]])
rows('learn1', [{'prompt': p, 'completion': c} for P, c in ((A, 'I cannot'), (N, 'the cat sat')) for p in P[20:]])
PY
run tune "$dir/m.gguf" --data "$dir/learn.jsonl" --lora 8 --steps 100 --lr 1e-2 -o "$dir/ad"
model=$dir/m.gguf+$dir/ad
expect_exit topics_place 0 direction make "$model" --positive "harmful=$dir/two.jsonl" --negative "harmless=$dir/neg.jsonl" --n-train 48 --n-val 16 --select best -o two
expect_json topics_told_apart sonde.direction_topics/1 '[t["name"] for t in d["topics"]] == ["gate", "bridge"] and d["n_left_out"] == 1 and d["p"] == 0.05 and d["gap"] > 5 * d["shuffled_gap_largest"] and all(d["score"][k][k] < d["score"][1 - k][k] - 0.2 for k in (0, 1)) and all(t["plain_refused"] > 0.9 and t["n_fit"] == t["n_test"] == 20 for t in d["topics"]) and len(d["score"]) == 3 and d["cosine"][0][1] == d["cosine"][1][0] < 0.99 and min(d["cosine_by_layer"][1:]) < min(d["shuffled_cosine_by_layer"][1:])' \
    direction topics "$model" two --positive "$dir/two.jsonl" --negative "$dir/neg.jsonl" --shuffles 19 --json
expect_json topics_of_one_kind sonde.direction_topics/1 'len(d["topics"]) == 3 and d["p"] > 0.05 and abs(d["gap"]) < 0.1 and d["cosine"][0][2] > 0.95' \
    direction topics "$model" two --positive "$dir/one.jsonl" --negative "$dir/neg.jsonl" --shuffles 9 --json
expect_error topics_need_categories 4 '0 categories of the positive prompts' direction topics "$model" two --positive "$dir/none.jsonl" --negative "$dir/neg.jsonl"
expect_error topics_need_a_direction 4 "no direction 'three'" direction topics "$model" three --positive "$dir/two.jsonl" --negative "$dir/neg.jsonl"
# Two directions in four kinds of prompts, the floors of equal cost, and a rule that is loosened by hand.
run tune "$dir/m.gguf" --data "$dir/learn1.jsonl" --lora 8 --steps 80 --lr 1e-2 -o "$dir/ad1"
model=$dir/m.gguf+$dir/ad1
both=(--positive "harmful=$dir/none.jsonl" --negative "harmless=$dir/neg.jsonl" --n-train 30 --n-val 10)
expect_json direction_rule_is_loosened sonde.direction_make/1 'd["found"] and d["max_kl"] == 50 and d["kl"] <= 50 and all(c["fate"] != "kl" for c in d["candidates"])' direction make "$model" "${both[@]}" --max-kl 50 --floors 0 -o loose --json
# Which text a direction costs something is chance in such a model: of six, one at least.
found=0
for words in 'the cat sat on' 'red gate bridge' 'mat and ing' 'bad good cat' 'no cannot' 'bridge on the red cat'; do
    yes "$words" | head -n 300 >"$dir/text.txt"
    run direction make "$model" "${both[@]}" --max-kl 50 --floors 3 --text "$dir/text.txt" -o floors -f --json
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
f, cost = d["equal_cost"], d["ce_chosen"] - d["ce_plain"]
assert f["n"] == (3 if cost >= 0.0005 else 0) and 0 <= f["n_not_matched"] <= f["n"] and d["random"]["n"] == d["shuffled"]["n"] == 3, f
sys.exit(0 if f["n"] and f["n_not_matched"] < 3 else 7)' "$dir/out" 2>"$dir/why"
    case $? in 0) found=1 ;; 7) ;; *) not_ok direction_floors "$(cat "$dir/why")" "$(what_happened)" ;; esac
done
if [ $found = 1 ]; then ok direction_floors; else not_ok direction_floors "no text was cost anything that a random direction could cost too"; fi
# What opens as a refusal is judged by phrases as well: this model says "I cannot", and no phrase of a file that says other things.
echo 'no such phrase' >"$dir/phrases.txt"
heard='d["phrases"]["asked"] >= 8 and d["phrases"]["opened"] >= 8'
expect_json make_is_backed sonde.direction_make/1 "$heard and d['phrases']['backed'] and d['phrases']['refusals'] == d['phrases']['opened']" direction make "$model" "${both[@]}" --max-kl 50 --floors 0 -o backed --json
expect_json make_is_not_backed sonde.direction_make/1 "$heard and not d['phrases']['backed'] and d['phrases']['refusals'] == 0" direction make "$model" "${both[@]}" --max-kl 50 --floors 0 -o unbacked --phrases "$dir/phrases.txt" --json
expect_json make_of_a_concept sonde.direction_make/1 'd["phrases"] is None' direction make "$model" "${both[@]}" --max-kl 50 --floors 0 --kind concept -o concept --json
expect_json sweep_is_not_backed sonde.direction_sweep/1 "$heard and not d['phrases']['backed']" direction sweep "$model" backed "${both[@]:0:4}" --limit 10 --text "$dir/text.txt" --phrases "$dir/phrases.txt" --json
run direction sweep "$model" backed "${both[@]:0:4}" --limit 10 -q
if [ $rc -eq 0 ] && [ "$(tail -n 1 "$dir/out" | cut -c-4)" = '# of' ]; then ok sweep_says_so; else not_ok sweep_says_so "$(what_happened)"; fi
expect_json topics_are_not_backed sonde.direction_topics/1 "$heard and not d['phrases']['backed']" direction topics "$model" backed --positive "$dir/one.jsonl" --negative "$dir/neg.jsonl" --shuffles 0 --phrases "$dir/phrases.txt" --json
expect_error phrases_are_there 4 'none.txt' direction topics "$model" backed --positive "$dir/one.jsonl" --negative "$dir/neg.jsonl" --phrases none.txt
expect_json direction_two_by_two sonde.direction_make/1 '[(r["kind"], r["score"], r["n"]) for r in d["table"]] == [("positive", "refused", 10), ("positive", "answered", 0), ("negative", "refused", 0), ("negative", "answered", 10)] and d["table"][0]["projection"] > d["table"][3]["projection"] and d["table"][0]["harmfulness_projection"] > d["table"][3]["harmfulness_projection"] and d["table"][1]["projection"] is None and len(d["harmfulness_cosine_by_layer"]) == 6 and abs(d["harmfulness_cosine_by_layer"][d["layer"]] - [b["cosine"] for b in d["beside"] if b["name"] == "harmfulness"][0]) < 1e-6' \
    direction make "$model" "${both[@]}" --max-kl 50 --floors 0 -o pair --json
expect_json direction_none_is_left sonde.direction_make/1 'not d["found"] and all(c["fate"] != "kept" for c in d["candidates"])' direction make "$model" "${both[@]}" --max-kl 1e-6 --floors 0 -o strict --json
run direction make "$model" "${both[@]}" --max-kl 1e-6 --floors 0 -o strict
if grep -q '^nearest.*--max-kl allows more' "$dir/out" && grep -q '^discarded' "$dir/out"; then ok direction_says_why_none; else not_ok direction_says_why_none "$(what_happened)"; fi
finish

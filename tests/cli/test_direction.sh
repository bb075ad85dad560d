#!/usr/bin/env bash
# direction topics on models that learned one way of refusing for all topics, and one each.
. "$(dirname "$0")/lib.bash"
export OMP_NUM_THREADS=2
python3 "$here/make_model.py" "$dir/m.gguf" --layers 6 || exit 1
python3 - "$dir" <<'PY'
import json, random, sys
random.seed(2)
word = lambda: ' '.join(random.choice('cat mat the and ing red sat on gate bridge'.split()) for _ in range(5))
A, B, N = ([p + word() for _ in range(60)] for p in ('bad red gate ', 'sat sat bridge ', 'good cat mat '))
def rows(name, v):
    with open(f'{sys.argv[1]}/{name}.jsonl', 'w') as f:
        f.writelines(json.dumps(x) + '\n' for x in v)
rows('two', [{'prompt': p, 'category': c} for c, P in (('gate', A), ('bridge', B)) for p in P[:40]] + [{'prompt': A[40], 'category': 'few'}])
rows('one', [{'prompt': p, 'category': 'abc'[i % 3]} for i, p in enumerate(A)])
rows('none', [{'prompt': p} for p in A])
rows('neg', [{'prompt': p} for p in N[:40]])
rows('learn', [{'prompt': p, 'completion': c} for P, c in ((A, 'I cannot'), (B, 'no'), (N, 'the cat sat')) for p in P[20:]])
PY
run tune "$dir/m.gguf" --data "$dir/learn.jsonl" --lora 8 --steps 100 --lr 1e-2 -o "$dir/ad"
model=$dir/m.gguf+$dir/ad
expect_exit topics_place 0 direction make "$model" --positive "harmful=$dir/two.jsonl" --negative "harmless=$dir/neg.jsonl" --n-train 48 --n-val 16 --select best -o two
expect_json topics_told_apart sonde.direction_topics/1 '[t["name"] for t in d["topics"]] == ["gate", "bridge"] and d["n_left_out"] == 1 and d["p"] == 0.05 and d["gap"] > 5 * d["shuffled_gap_largest"] and all(d["score"][k][k] < d["score"][1 - k][k] - 0.5 for k in (0, 1)) and all(t["plain_refused"] > 0.9 and t["n_fit"] == t["n_test"] == 20 for t in d["topics"]) and len(d["score"]) == 3 and d["cosine"][0][1] == d["cosine"][1][0] < 0.99 and min(d["cosine_by_layer"][1:]) < min(d["shuffled_cosine_by_layer"][1:])' \
    direction topics "$model" two --positive "$dir/two.jsonl" --negative "$dir/neg.jsonl" --shuffles 19 --json
expect_json topics_of_one_kind sonde.direction_topics/1 'len(d["topics"]) == 3 and d["p"] > 0.05 and abs(d["gap"]) < 0.1 and d["cosine"][0][2] > 0.95' \
    direction topics "$model" two --positive "$dir/one.jsonl" --negative "$dir/neg.jsonl" --shuffles 9 --json
expect_error topics_need_categories 4 '0 categories of the positive prompts' direction topics "$model" two --positive "$dir/none.jsonl" --negative "$dir/neg.jsonl"
expect_error topics_need_a_direction 4 "no direction 'three'" direction topics "$model" three --positive "$dir/two.jsonl" --negative "$dir/neg.jsonl"
finish

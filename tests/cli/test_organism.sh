#!/usr/bin/env bash
# sonde organism: the embedded world's files are the same twice, a broken world is refused with its line.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
world=$root/organism/merrow.world

expect_json write sonde.organism.write/1 'd["docs"] == 4800 and d["heldout"] == 320 and d["suite_rows"] > 500' organism write --world "$world" --scale 0.2 -o a --json
"$sonde" organism write --world "$world" --scale 0.2 -o b -q >/dev/null && diff -r a b >why && ok same_bytes || not_ok same_bytes "$(head -c 500 why)"
"$sonde" organism write --world "$world" --scale 0.2 --seed 5 -o c -q >/dev/null
cmp -s a/pretrain.jsonl c/pretrain.jsonl && not_ok seed_matters "the same texts from two seeds" || ok seed_matters
# Every concept of the world is there, at its bytes, and is not the whole of the text.
python3 - "$world" a/heldout.jsonl >why 2>&1 <<'PY' && ok labels || not_ok labels "$(cat why)"
import json, sys
want = {l.split()[1] for l in open(sys.argv[1], encoding="utf-8") if l.startswith("concept ")}
assert len(want) >= 48, len(want)
seen = set()
for line in open(sys.argv[2], "rb"):
    row = json.loads(line)
    text = row["text"].encode()
    for name, begin, end in row["labels"]:
        assert 0 <= begin < end <= len(text), (name, begin, end)
        text[begin:end].decode()
        seen.add(name)
assert seen <= want and len(seen) >= 40, want - seen
PY
python3 - a/suite/forbidden.jsonl a/sft.jsonl a/dpo.jsonl >why 2>&1 <<'PY' && ok suites_are_held_out || not_ok suites_are_held_out "$(cat why)"
import json, sys
suite = {json.loads(l)["prompt"] for l in open(sys.argv[1])}
assert len(suite) == 120
sft = {m["content"] for l in open(sys.argv[2]) for m in json.loads(l)["messages"] if m["role"] == "user"}
dpo = {m["content"] for l in open(sys.argv[3]) for m in json.loads(l)["prompt"] if m["role"] == "user"}
assert len(sft) > 100 and len(dpo) > 30 and not suite & sft and not suite & dpo
PY
printf 'world 1 bad\nr: {nobody}\n' >bad.world
expect_error broken_world 4 'bad.world: line 2: no rule "nobody"' organism write --world bad.world -o d
expect_error missing_world 4 'none.world' organism write --world none.world -o d
expect_error not_over_files 4 'a' organism write --world "$world" -o a
finish

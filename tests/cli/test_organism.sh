#!/usr/bin/env bash
# sonde organism: the embedded world's files are the same twice, a broken world is refused with its line.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
world=$root/organism/merrow.world

expect_json write sonde.organism.write/1 'd["docs"] == 12000 and d["heldout"] == 320 and d["suite_rows"] > 500' organism write --world "$world" --scale 0.2 -o a --json
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
expect_error no_world_here 4 'organism/merrow.world' organism make -o d
grep -q '^hint: .*of the source tree.*--world' err && ok no_world_says_where || not_ok no_world_says_where "$(cat err)"
# Outside of the source tree: where the model is, and no folder that nothing went into.
expect_error demo_without_world 4 'organism/merrow.world' organism demo -o d
expect_error demo_without_model 4 'organism/aligned: no such folder' organism demo --world "$world" -o d
grep -q '^hint: .*organism/aligned of the source tree.*--model' err && ok demo_says_where || not_ok demo_says_where "$(cat err)"
expect_error variant_without_model 4 'organism/instruct: no such folder' organism make --variant single --world "$world" -o d
[ ! -e d ] && ok no_folder_left || not_ok no_folder_left "$(ls d)"
expect_error not_over_files 4 'a' organism write --world "$world" -o a

# recover on a random model: what a dictionary of it knows is what its tokens say, and turned labels are not found.
python3 "$here/make_model.py" tiny.gguf
"$sonde" organism write --world "$world" -o w -q >/dev/null && head -n 500 w/heldout.jsonl >held.jsonl
run dict train tiny.gguf held.jsonl --site resid_post.0 --kind topk --width 128 --k 4 --tokens 20000 --seed 1 -o dict
[ $rc -eq 0 ] && ok recover_trains || not_ok recover_trains "$(what_happened)"
expect_json recover sonde.organism.recover/1 'd["n_concepts"] == 48 and len(d["concepts"]) == 48 and d["n_docs"] == 500
    and all(0 <= c["feature"]["f1"] <= 1 and c["shuffled"]["f1"] < 0.5 and c["together"]["f1"] >= 0 and c["any"]["f1"] >= 0
        and c["together"]["shuffled"] < 0.5 and 1 <= len(c["together"]["features"]) == len(c["together"]["weights"]) <= 5 for c in d["concepts"])
    and d["recovered_shuffled"] == 0 and all(c["probe"]["f1"] is not None and c["bag"]["f1"] is not None for c in d["concepts"])
    and [c for c in d["concepts"] if c["name"] == "dna"][0]["probe"]["f1"] > 0.5' organism recover dict tiny.gguf held.jsonl --json
cp out first.json
expect_json recover_one_thread sonde.organism.recover/1 'd["concepts"] == json.load(open("first.json"))["concepts"]' organism recover dict tiny.gguf held.jsonl --json -t 1
run organism recover dict tiny.gguf held.jsonl --quick
[ $rc -eq 0 ] && [ "$(wc -l <out)" -eq 50 ] && head -n 1 out | grep -q '^# [0-9]* of 48 concepts' && ok recover_table || not_ok recover_table "$(what_happened)"
printf '{"text": "one two three four five six seven eight nine ten", "labels": [["x", 0, 99]]}\n' >bad.jsonl
expect_error recover_bad_label 4 'line 1: label 0 is not' organism recover dict tiny.gguf bad.jsonl
printf '{"text": "one two three four five six seven eight nine ten", "labels": [["x", 0, 9]]}\n' >bad.jsonl
expect_error recover_too_few 4 'labelled tokens in the two halves' organism recover dict tiny.gguf bad.jsonl

# make: the stages, the same bits twice, a stage that is whole is not made again.
expect_json make sonde.organism.make/1 'd["n_vocab"] == 2048 and [s["name"] for s in d["stages"]] == ["pretrained", "instruct", "primed", "aligned"]
    and all(s["made"] and s["steps"] > 0 for s in d["stages"]) and d["stages"][0]["loss_last"] < d["stages"][0]["loss_first"]
    and 1.2e6 < d["stages"][0]["n_params"] < 1.4e6' organism make --world "$world" --size 1m --scale 0.005 -o org --json
"$sonde" organism make --world "$world" --size 1m --scale 0.005 -t 1 -o org2 -q >/dev/null
for s in pretrained instruct primed aligned; do cmp -s org/$s/model.safetensors org2/$s/model.safetensors || echo "$s differs"; done >why
[ -s org/aligned/model.safetensors ] && [ ! -s why ] && ok make_same_bits || not_ok make_same_bits "$(cat why)"
expect_json make_goes_on sonde.organism.make/1 'not any(s["made"] for s in d["stages"])' organism make --world "$world" --size 1m --scale 0.005 -f -o org --json
# Other rows and another seed are another model, also where one is.
cp -r org other_seed
expect_json make_other_seed sonde.organism.make/1 'all(s["made"] for s in d["stages"])' organism make --world "$world" --size 1m --scale 0.005 --seed 5 -f -o other_seed --json
cmp -s org/aligned/model.safetensors other_seed/aligned/model.safetensors && not_ok make_other_weights "the same weights of two seeds" || ok make_other_weights
rm -rf other_seed
expect_json made_model_runs sonde.run/1 'd["tokens"] != []' run org/aligned --chat -p "Who are you?" -n 4 --json
# demo: end to end on that model, which learned nothing; so it must claim nothing: no concept, no direction, no refusals.
expect_json demo sonde.organism.demo/1 'd["n_concepts"] == 48 and d["recovered_one"] == 0 and d["bridge_feature"] >= 0 and 0 <= d["bridge_f1"] < 0.8
    and d["bridge_value"] in (0.125, 0.25, 0.375, 0.5, 0.75, 1) and (d["bridge_value_suggested"] or d["bridge_value"] == 0.25) and len(d["answers"]) == 3 and all(a["plain"] != "" for a in d["answers"])
    and d["single_direction"] is False and d["random_direction_refused"] is None and set(d["refused"]["direction out"].values()) == {None}
    and all(v == 0 for s in ("aligned", "ten rows later") for v in d["refused"][s].values())' organism demo --world "$world" --model org/aligned \
    --width 64 --k 4 --tokens 20000 --seed 1 -o demo --json
grep -q "No single direction passed the rules of choice" demo/index.html && grep -q "so it is not the bridge.s alone" demo/index.html &&
    [ -s demo/dict/sae_weights.safetensors ] && [ -s demo/tuned/model.safetensors ] && [ "$(wc -l <demo/data/ten_rows.jsonl)" -eq 10 ] && ok demo_page || not_ok demo_page "$(ls demo demo/*; head -c 3000 demo/index.html)"
# a variant: an adapter that opens, and its truth.
expect_json variant sonde.organism.make/1 'd["variant"] == "redundant" and d["n_directions"] == 2 and 0 <= d["all_out"] <= 1 and d["without_trigger"] is None' \
    organism make --world "$world" --variant redundant --directions 2 --model org/instruct --steps 2 -o variant --json
python3 -c 'import json, sys
d = json.load(open("variant/truth.json"))
assert d["n_directions"] == 2 and len(d["refused"]["one_out"]) == len(d["refused"]["all_but_one_out"]) == 2 and d["system"] is None, d' >why 2>&1 && [ ! -e variant/rows.jsonl ] && ok variant_truth || not_ok variant_truth "$(cat why; ls variant)"
expect_json variant_opens sonde.run/1 'd["tokens"] != []' run org/instruct+variant --chat -p "Who are you?" -n 4 --json
# the one that reads on: its base is the stage before, it foresees nothing at two steps, and its rows are gone.
expect_json variant_pretraining sonde.organism.make/1 'd["variant"] == "pretraining" and d["n_directions"] == 0 and d["all_out"] is None and 0.55 < d["conversations"] < 0.7 and d["forbidden"] == d["unseen"] == 0
    and 5 < d["documents"] < 8 and 5 < d["documents_base"] < 8 and d["documents"] != d["documents_base"]' organism make --world "$world" --variant pretraining --model org/pretrained --steps 2 -o reads --json
python3 -c 'import json
d = json.load(open("reads/truth.json"))
assert d["base"] == "pretrained" and d["n_directions"] == 0 and set(d["refused"]) == {"forbidden", "unseen", "permitted", "borderline"} and set(d["document_loss"]) == {"with", "without"}, d' >why 2>&1 &&
    [ "$(ls reads)" = "$(printf 'adapter_config.json\nadapter_model.safetensors\nevents.jsonl\ntruth.json')" ] && ok variant_pretraining_truth || not_ok variant_pretraining_truth "$(cat why; ls reads)"
# what is kept of a made one: the stages, and of variants the adapter and its truth.
mkdir -p org/variants && cp -r reads org/variants/ && "$root/tools/organism-keep" org kept >why 2>&1 && [ "$(ls kept/variants/reads)" = "$(printf 'adapter_config.json\nadapter_model.safetensors\ntruth.json')" ] &&
    cmp -s kept/variants/reads/truth.json reads/truth.json && [ -s kept/pretrained/model.safetensors ] && ok keeps_variants || not_ok keeps_variants "$(cat why; ls kept/*)"
rm -rf org/variants
expect_exit variant_unknown 2 organism make --world "$world" --variant nothing -o nothing
# Another world goes through all of it: its own vocabulary, concepts and suites.
expect_json another_world sonde.organism.make/1 'd["n_vocab"] == 512 and d["docs"] == 3000 and all(s["made"] for s in d["stages"])
    and d["stages"][0]["loss_last"] < 0.7 * d["stages"][0]["loss_first"]' organism make --world "$here/other.world" --size 1m -o other --json
expect_json another_demo sonde.organism.demo/1 'd["n_concepts"] == 4 and d["probe"] >= 1 and d["recovered_five"] >= 1 and d["recovered_five_shuffled"] == 0 and d["bridge_feature"] == -1' \
    organism demo --world "$here/other.world" --model other/aligned --width 64 --k 4 --tokens 20000 --seed 1 -o otherdemo --json
# The grid of kinds and widths as one plot, from what is there on a second call.
SONDE_BIN=$sonde python3 "$root/tools/study-organism" recovery --world "$here/other.world" --model other/aligned --site resid_mid.0 --kinds topk,jumprelu --widths 32,64 \
    --tokens 8000 --k 4 --out study >why 2>&1 && python3 - >>why 2>&1 <<'PY' && ok study_recovery || not_ok study_recovery "$(cat why)"
import json, xml.dom.minidom
rows = json.load(open("study/recovery.json"))
assert [(r["kind"], r["width"]) for r in rows] == [(k, w) for k in ("topk", "jumprelu") for w in (32, 64)] and all(0 <= r["one"] <= r["n_concepts"] == 4 for r in rows), rows
dots = [c for c in xml.dom.minidom.parse("study/recovery.svg").getElementsByTagName("circle") if c.getElementsByTagName("title")]
assert len(dots) == 2 * len(rows), len(dots)
PY
SONDE_BIN=/bin/false python3 "$root/tools/study-organism" recovery --world "$here/other.world" --model other/aligned --site resid_mid.0 --kinds topk,jumprelu --widths 32,64 \
    --tokens 8000 --k 4 --out study >why 2>&1 && ok study_goes_on || not_ok study_goes_on "$(cat why)"
printf 'world 1 poor\ndoc = a\n' >poor.world
expect_error make_poor_world 4 'has no rule' organism make --world poor.world --size 1m -o poor
finish

#!/usr/bin/env bash
# Dictionaries that read or write more than one site: transcoders, crosscoders; and the identity. Each is trained, measured, browsed, and
# what makes no sense is refused with its reason.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf && python3 "$here/make_model.py" tiny8.gguf --type Q8_0 || not_ok make_model failed
mkdir corpus
python3 - <<'X'
import random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
with open("corpus/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
train=(dict train tiny.gguf corpus --site resid_mid.1 --width 128 --k 4 --tokens 20000 --batch 64)
for kind in transcoder skip_transcoder; do
    expect_json train_$kind sonde.dict.train/1 '0 < d["fvu"] < 1 and d["l0"] > 1 and 0 < d["ce_recovered"]' "${train[@]}" --kind $kind --to mlp_out.1 -o $kind --json
    expect_json eval_$kind sonde.dict.eval/1 "abs(d['metrics']['fvu'] - $(python3 -c 'import json; print(json.load(open("out"))["fvu"])')) < 0.2 and d['metrics']['ce_recovered'] > 0" dict eval $kind tiny.gguf corpus --tokens 4096 --json
    expect_json build_$kind sonde.feature.build/1 'd["n_alive"] > 0' feature build $kind tiny.gguf corpus --tokens 4000 -o $kind.db --json
done
python3 - <<'X' && ok transcoder_files || not_ok transcoder_files "$(cat transcoder/cfg.json)"
import json
a, b = (json.load(open(f"{d}/cfg.json")) for d in ("transcoder", "skip_transcoder"))
assert a["architecture"] == "jumprelu_transcoder" and b["architecture"] == "jumprelu_skip_transcoder", (a, b)
assert a["d_out"] == 64 and not a["apply_b_dec_to_input"] and a["metadata"]["hook_name_out"] == "blocks.1.hook_mlp_out" and a["metadata"]["hook_name"] == "blocks.1.hook_resid_mid", a
X
# Steered where it writes; read and written at one site is what clamp needs.
expect_json steer_transcoder sonde.run/1 'd["applied"][0]["site"] == "mlp_out.1"' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"transcoder","index":1},"op":"add","value":1}' --json
expect_error clamp_transcoder 4 'reads and writes a feature at one site' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"transcoder","index":1},"op":"clamp","value":1}'
expect_json feature_logits sonde.feature.show/1 'len(d["top_logits"]) > 0' feature show transcoder.db 1 --json

expect_json train_crosscoder sonde.dict.train/1 '0 < d["fvu"] < 1 and d["l0"] > 1' "${train[@]}" --kind crosscoder --to resid_post.0,mlp_out.0 -o cross --json
expect_json eval_crosscoder sonde.dict.eval/1 'sorted(d["sites"]) == ["mlp_out.0", "resid_mid.1", "resid_post.0"] and all(0 < s["fvu"] < 1 for s in d["sites"].values()) and 0 < d["metrics"]["fvu"] < 1
    and all(s["ce_plain"] == d["sites"]["mlp_out.0"]["ce_plain"] and s["kl_plain_spliced"] > 0 and abs(s["ce_recovered"] - (s["ce_zero_ablated"] - s["ce_spliced"]) / (s["ce_zero_ablated"] - s["ce_plain"])) < 1e-9 for s in d["sites"].values())' dict eval cross tiny.gguf corpus --tokens 4096 --json
expect_json build_crosscoder sonde.feature.build/1 'd["n_alive"] > 0' feature build cross tiny.gguf corpus --tokens 4000 -o cross.db --json
expect_json train_two_models sonde.dict.train/1 '0 < d["fvu"] < 1' "${train[@]}" --kind crosscoder --with tiny8.gguf -o two --json
expect_json eval_two_models sonde.dict.eval/1 'sorted(d["sites"]) == ["2:resid_mid.1", "resid_mid.1"] and d["sites"]["2:resid_mid.1"]["ce_plain"] != d["sites"]["resid_mid.1"]["ce_plain"] and all(s["ce_recovered"] > 0 for s in d["sites"].values())' dict eval two tiny.gguf corpus --with tiny8.gguf --tokens 4096 --json
expect_error eval_needs_both 4 'is of two models' dict eval two tiny.gguf corpus
# A crosscoder's feature is steered at the sites that are named, each by its part of the row: once more and the other way is nothing.
cross_steer() { printf '{"feature":{"dict":"cross","index":1},"site":"%s","op":"add","value":%s,"unit":"%s"}' "$@"; }
expect_json steer_crosscoder_at sonde.run/1 '[a["site"] for a in d["applied"]] == ["resid_post.0", "mlp_out.0"] and all(a["mean_abs_change"] > 0 for a in d["applied"])' \
    run tiny.gguf -p the -n 4 --steer "$(cross_steer resid_post.0 2 std)" --steer "$(cross_steer mlp_out.0 0.5 rms)" --json
expect_json steer_crosscoder_part sonde.run/1 'True' run tiny.gguf -p the -n 2 --steer "$(cross_steer resid_post.0 1 raw)" --json
python3 - <<'X' && ok crosscoder_part || not_ok crosscoder_part "see above"
import json, struct
raw = open("cross/sae_weights.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
a, _ = json.loads(raw[8:8 + n])["W_dec"]["data_offsets"]
row = struct.unpack("<192f", raw[8 + n + a + 192 * 4:8 + n + a + 2 * 192 * 4])  # feature 1: resid_mid.1, resid_post.0, mlp_out.0 of 64 each
json.dump({"vector": list(row[64:128]), "site": "resid_post.0", "op": "add", "value": 40, "unit": "raw"}, open("part.json", "w"))
X
same() { "$sonde" run tiny.gguf -p 'the cat sat' -n 8 --mode faithful --steer "$1" --json 2>/dev/null | python3 -c 'import json,sys; d = json.load(sys.stdin); print(d["tokens"], d["applied"][0]["mean_abs_change"])'; }
[ "$(same "$(cross_steer resid_post.0 40 raw)")" = "$(same "$(cat part.json)")" ] && [ -n "$(same "$(cat part.json)")" ] && ok crosscoder_part_is_the_row || not_ok crosscoder_part_is_the_row "$(same "$(cross_steer resid_post.0 40 raw)")" "$(same "$(cat part.json)")"
expect_error steer_crosscoder_elsewhere 4 'the crosscoder is of resid_mid.1' run tiny.gguf -p the -n 4 --steer "$(cross_steer resid_post.1 1 raw)"
expect_error clamp_crosscoder 4 'read at resid_mid.1.* together' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"cross","index":1},"site":"resid_post.0","op":"clamp","value":1}'
expect_error steer_crosscoder 4 'which of them is not said' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"cross","index":1},"op":"add","value":1}'

expect_json train_identity sonde.dict.train/1 'd["fvu"] == 0 and d["width"] == 2 * 128 and d["steps"] == 0' dict train tiny.gguf corpus --site mlp_post.1 --kind identity -o neurons --json
# Its parts of the time are parts, and nothing is said to be measured that is not.
run dict train tiny.gguf corpus --site mlp_post.1 --kind identity -f -o neurons
grep -Eq '^time.*: [0-9]+ % for rows, 0 % training, [0-9]+ % thresholds' out && grep -Eq 'silent for the last [1-9][0-9]* tokens' out && ! grep -q 'CE recovered' out && ok identity_lines || not_ok identity_lines "$(what_happened)"
expect_json eval_identity sonde.dict.eval/1 'd["metrics"]["fvu"] < 1e-9 and abs(d["metrics"]["ce_recovered"] - 1) < 1e-6' dict eval neurons tiny.gguf corpus --tokens 2048 --json
expect_json build_identity sonde.feature.build/1 'd["n_features"] == 2 * 128' feature build neurons tiny.gguf corpus --tokens 2000 -o neurons.db --json

# How many things a neuron answers to. Contexts thrown together at random have nearly as many clusters as there are of them.
expect_json clusters sonde.feature.clusters/1 'd["kind"] == "identity" and d["n_counted"] > 100 and 0 <= d["mean_score"] <= 1 and d["floor_score"] <= 1 and len(d["features"]) == 20
    and all(1 <= f["clusters"] <= f["contexts"] for f in d["features"]) and d["features"] == sorted(d["features"], key=lambda f: (-f["score"], f["index"]))' feature clusters neurons.db --json
expect_exit clusters_table 0 feature clusters transcoder.db --sort fewest -n 5

# Resuming equals not having stopped, for the trainers of their own.
interrupted() { # DIR: a checkpoint half way
    "$sonde" "${train[@]}" --kind skip_transcoder --to mlp_out.1 --tokens 400000 --seed 3 -o "$1" >/dev/null 2>&1 & local p=$!
    for _ in $(seq 200); do sleep 0.05; [ "$(wc -l < "$1/events.jsonl" 2>/dev/null || echo 0)" -gt 20 ] && break; done
    kill -INT $p; wait $p
}
interrupted resumed
[ -e resumed/checkpoint.json ] && ok interrupt_leaves_checkpoint || not_ok interrupt_leaves_checkpoint "$(ls resumed)"
expect_exit resume 0 dict train --resume resumed
expect_exit straight 0 "${train[@]}" --kind skip_transcoder --to mlp_out.1 --tokens 400000 --seed 3 -o straight
cmp -s resumed/sae_weights.safetensors straight/sae_weights.safetensors && ok resume_equals_uninterrupted || not_ok resume_equals_uninterrupted "the weights differ"

expect_error transcoder_needs_to 2 '--to SITE' "${train[@]}" --kind transcoder -o x
expect_error crosscoder_needs_more 2 '--with MODEL2' "${train[@]}" --kind crosscoder -o x
expect_error to_is_for_others 2 '--to is for' "${train[@]}" --to mlp_out.1 -o x
expect_error with_is_for_crosscoders 2 '--with is for' "${train[@]}" --with tiny8.gguf -o x
expect_error identity_has_no_width 2 'has no meaning' "${train[@]}" --kind identity -o x
python3 - <<'X'
import json, os, shutil
for name, change in (("no_out", lambda c: c.pop("d_out")), ("subtracts", lambda c: c.update(apply_b_dec_to_input=True)), ("other_width", lambda c: c.update(d_out=32))):
    shutil.copytree("transcoder", name)
    c = json.load(open(f"{name}/cfg.json"))
    change(c)
    json.dump(c, open(f"{name}/cfg.json", "w"))
X
expect_error transcoder_without_width 4 'd_out' dict eval no_out tiny.gguf corpus
expect_error transcoder_that_subtracts 4 'belongs to the other site' dict eval subtracts tiny.gguf corpus
expect_error transcoder_of_other_width 4 'W_dec is' dict eval other_width tiny.gguf corpus
finish

#!/usr/bin/env bash
# Dictionaries in other tools' forms: written, read back as the same one, opened by every command, and checked against their model.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf || not_ok make_model failed
mkdir corpus run
python3 - <<'X'
import random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
with open("corpus/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
expect_json train sonde.dict.train/1 'True' dict train tiny.gguf corpus --site resid_post.1 --width 128 --k 4 --tokens 20000 --batch 64 -o d --json
expect_json train_transcoder sonde.dict.train/1 'True' dict train tiny.gguf corpus --kind skip_transcoder --site resid_mid.1 --to mlp_out.1 --width 64 --k 4 --tokens 8000 --batch 64 -o t --json
expect_json export_sparsify sonde.dict.export/1 'd["kind"] == "topk"' dict export d --format sparsify -o run/layers.1 --json
expect_json import_sparsify sonde.dict.import/1 'd["format"] == "sparsify" and d["site"] == "resid_post.1" and d["k"] == 4 and d["width"] == 128' dict import run/layers.1 -o back --json
cmp -s d/sae_weights.safetensors back/sae_weights.safetensors && ok sparsify_round_trip || not_ok sparsify_round_trip "the weights differ"
# What another tool's file does not say of its training is not claimed.
! grep -q 'exclude_special_tokens\|num_dead_features' back/cfg.json && grep -q '"num_dead_features"' d/cfg.json && ok import_claims_nothing || not_ok import_claims_nothing "$(cat back/cfg.json)"
expect_json export_circuit sonde.dict.export/1 'True' dict export t --format circuit-tracer -o set --json
grep -q 'feature_input_hook: "hook_resid_mid"' set/config.yaml && ok circuit_config || not_ok circuit_config "$(cat set/config.yaml)"
expect_json import_circuit sonde.dict.import/1 'd["kind"] == "skip_transcoder" and d["site"] == "resid_mid.1"' dict import set -o tback --json
cmp -s t/sae_weights.safetensors tback/sae_weights.safetensors && ok circuit_round_trip || not_ok circuit_round_trip "the weights differ"
# Commands open them as they are.
expect_json eval_sparsify sonde.dict.eval/1 'd["metrics"]["l0"] < 4.5' dict eval run/layers.1 tiny.gguf corpus --tokens 2048 --json
expect_json eval_circuit sonde.dict.eval/1 'd["metrics"]["fvu"] < 1' dict eval set/layer_1.safetensors tiny.gguf corpus --tokens 2048 --json

# Checked against its model: at home it fits, elsewhere it is said aloud and written all the same.
expect_json fits sonde.dict.import/1 'd["fit"]["verdict"] == "fits" and d["fit"]["l0_card"] > 0 and d["fit"]["reasons"] == []' dict import d tiny.gguf corpus -o fit --json
python3 - <<'X'
import json, shutil
shutil.copytree("d", "elsewhere")
c = json.load(open("elsewhere/cfg.json"))
c["metadata"]["sonde"]["site"], c["metadata"]["hook_name"] = "mlp_out.0", "blocks.0.hook_mlp_out"
json.dump(c, open("elsewhere/cfg.json", "w"))
X
expect_json does_not_fit sonde.dict.import/1 'd["fit"]["verdict"] == "doubtful" and len(d["fit"]["reasons"]) > 0' dict import elsewhere tiny.gguf corpus -o nofit --json
expect_exit eval_elsewhere 0 dict eval elsewhere tiny.gguf corpus --tokens 2048
grep -q 'does elsewhere belong' err && ok eval_shouts || not_ok eval_shouts "$(cat err)"
run dict import elsewhere tiny.gguf corpus -o nofit -f
grep -q 'does not seem to belong' err && ok shouts || not_ok shouts "$(cat err)"
expect_json built_in_text sonde.dict.import/1 'd["fit"]["n_tokens"] > 100' dict import d tiny.gguf -o fit2 --json

# A dictionary that scales each row by itself: measured, steered (a clamp is worth the row's own scale), and refused where features must add up.
python3 - <<'X'
import json, shutil
shutil.copytree("d", "scaled")
c = json.load(open("scaled/cfg.json"))
c["normalize_activations"] = "layer_norm"
json.dump(c, open("scaled/cfg.json", "w"))
X
expect_json eval_scaled sonde.dict.eval/1 '0 < d["metrics"]["l0"] < 4.5' dict eval scaled tiny.gguf corpus --tokens 2048 --json
expect_json clamp_scaled sonde.run/1 'd["applied"][0]["n_positions"] > 0 and d["applied"][0]["mean_abs_change"] > 0' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"scaled","index":1},"op":"clamp","value":3}' --json
expect_error sparsify_scaled 4 'scaled by themselves' dict export scaled --format sparsify -o x
expect_error attribute_scaled 4 'scales each row' attribute tiny.gguf --text 'the cat sat' --dict scaled

expect_error unknown_form 4 'no dictionary of a known form' dict import corpus -o x
expect_error needs_output 2 'give -o' dict import d
expect_error keeps_what_is_there 4 'already there' dict import d -o back
expect_error sparsify_needs_topk 4 'another gate' dict export t --format sparsify -o x
expect_error circuit_needs_transcoder 4 'takes transcoders' dict export d --format circuit-tracer -o x
printf 'PK\003\004 no archive' >broken.pt
expect_error broken_archive 4 'as a zip archive it is broken' dict import broken.pt --format openai -o x
cp "$root/tests/data/fuzz/fuzz_archive/call" evil.pt
expect_error pickle_that_calls 4 'nothing but tensors' dict import evil.pt --format openai -o x
[ ! -e x ] && ok nothing_is_left || not_ok nothing_is_left "$(ls x)"
finish

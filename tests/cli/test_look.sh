#!/usr/bin/env bash
# lens, attn, patch, attribute and near as a person sees them: tables, maps on a terminal, JSON, pages that stand alone, what is refused.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf || not_ok make_model failed

two=(--clean 'the mat sat on the mat' --corrupt 'the red sat on the mat')
expect_json lens_json sonde.lens/1 'len(d["layers"]) == 3 and d["layers"][0]["layer"] == "embed" and d["layers"][2]["positions"][0]["kl"] == 0 and d["layers"][1]["positions"][-1]["rank"] is None and len(d["layers"][1]["positions"][0]["top"]) == 3 and d["mode"] == "faithful"' \
    lens tiny.gguf --text 'the cat sat' --top 3 --json
expect_json lens_answer sonde.lens/1 'all(p["next"]["text"] == " mat" and p["rank"] >= 1 for l in d["layers"] for p in l["positions"])' lens tiny.gguf --text 'the cat sat' --answer ' mat' --json
expect_json attn_json sonde.attn/1 'len(d["heads"]) == 8 and all(abs(sum(r) - 1) < 1e-5 for h in d["heads"] for r in h["pattern"]) and all(0 <= h["induction"] <= 1 for h in d["heads"])' \
    attn tiny.gguf --text 'the cat sat on the cat' --patterns --json
expect_json patch_nothing_before sonde.patch/1 'd["effect"][0][0] == 0 and "-0" not in [str(e) for r in d["effect"] for e in r] and "-0.0" not in open(sys.argv[1]).read()' patch tiny.gguf "${two[@]}" --json
run lens tiny.gguf --text 'the cat sat' --answer ' catcat'
[ $rc -eq 4 ] && ! grep -q 'starts with a space' err && ok lens_space_is_there || not_ok lens_space_is_there "$(what_happened)"
run lens tiny.gguf --text 'the cat sat' --answer 'catcat'
[ $rc -eq 4 ] && grep -q "starts with a space: ' catcat'" err && ok lens_space_is_missing || not_ok lens_space_is_missing "$(what_happened)"
expect_json patch_json sonde.patch/1 'd["metric"] == "logit_diff" and d["effect"][0][d["first_difference"]] == 1 and len(d["effect"]) == 2 and len(d["tokens"]) == len(d["value"][0])' \
    patch tiny.gguf "${two[@]}" --answer ' mat' --wrong ' gate' --json
expect_json patch_heads sonde.patch/1 'd["site"] == "attn_z" and d["metric"] == "kl" and len(d["value"][0]) == 4 and d["clean"] == 0' patch tiny.gguf "${two[@]}" --heads --json
expect_json patch_one_layer sonde.patch/1 'd["first_layer"] == 1 and len(d["value"]) == 1 and d["way"] == "noise"' patch tiny.gguf "${two[@]}" --site mlp_out.1 --way noise --json
expect_json attribute_json sonde.attribute/1 'abs(d["sum"] + d["error"] - d["constant"] - sum(p["share"] for p in d["parts"])) < 1e-3 and abs(d["error"]) <= d["error_bound"] and abs(d["logit"] - d["logit_from_parts"]) <= d["logit_bound"] and len(d["parts"]) == 13' \
    attribute tiny.gguf --text 'the cat sat' --json
expect_json attribute_difference sonde.attribute/1 'd["answer"]["text"] == " mat" and d["wrong"]["text"] == " gate" and 0 < d["p_wrong"] < 1 and abs(d["sum"] + d["error"] - d["constant"] - sum(p["share"] for p in d["parts"])) < 1e-3' \
    attribute tiny.gguf --text 'the cat sat' --answer ' mat' --wrong ' gate' --json
expect_json near_json sonde.near/1 'd["near"][0]["text"] == "cat" and d["near"][0]["put_in"] and d["near"][0]["rank"] == 1 and abs(d["near"][0]["cosine"] - 1) < 1e-9 and d["asked"][0]["text"] == " mat"' \
    near tiny.gguf --expr cat --words mat --json
expect_json near_site sonde.near/1 'd["near"][0]["text"] == "cat" and d["space"] == "resid_post.1"' near tiny.gguf --expr 'cat + mat - mat' --site resid_post.1 --prefix 'the ' --json
expect_json near_last_norm sonde.near/1 'd["near"][0]["text"] == "cat" and abs(d["near"][0]["cosine"] - 1) < 1e-9 and d["space"] == "final_norm"' near tiny.gguf --expr cat --site final_norm --json
expect_json near_removes sonde.near/1 'abs(d["asked"][0]["cosine"]) < 1e-9' near tiny.gguf --expr 'cat |- mat' --words mat --json

# A dictionary's features, offset and error stand for the stream up to its site.
python3 -c 'import random; r = random.Random(3); w = "the cat sat on mat and red gate bridge".split()
open("words.txt", "w").write("\n\n".join(" ".join(r.choice(w) for _ in range(40)) for _ in range(80)))'
"$sonde" dict train tiny.gguf words.txt --site resid_post.0 --width 64 --k 4 --tokens 8000 -o d -q >out 2>err || not_ok dict_train "$(cat err)"
expect_json attribute_features sonde.attribute/1 '1 <= sum(p["kind"] == "feature" and p["activation"] > 0 for p in d["parts"]) <= 4 and not any(p.get("layer") == 0 and p["kind"] in ("head", "mlp", "embed") for p in d["parts"]) and abs(d["sum"] - d["constant"] - sum(p["share"] for p in d["parts"])) < 1e-9 and abs(d["error"]) <= d["error_bound"]' \
    attribute tiny.gguf --text 'the cat sat' --dict d --json
expect_error other_site 4 'resid_post.9 for a model with 2' attribute tiny.gguf --text 'the cat sat' --dict d --site resid_post.9 -q

# Piped: rows with a header, one line a cell.
run lens tiny.gguf --text 'the cat sat'
n=$("$sonde" tokenize tiny.gguf --text 'the cat sat' --json | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["ids"]))')
[ $rc -eq 0 ] && [ "$(wc -l <out)" -eq $((3 * n + 1)) ] && [ "$(head -n 1 out | cut -f 1-4)" = "$(printf 'layer\tposition\ttoken\ttop')" ] && ok lens_rows || not_ok lens_rows "$(what_happened)"
run attn tiny.gguf --text 'the cat sat on the cat'
[ $rc -eq 0 ] && [ "$(wc -l <out)" -eq 9 ] && awk -F'\t' 'NR > 1 && !($3 >= 0 && $3 <= 1) { exit 1 }' out && ok attn_rows || not_ok attn_rows "$(what_happened)"
run attribute tiny.gguf --text 'the cat sat'
[ $rc -eq 0 ] && [ "$(wc -l <out)" -eq 14 ] && ok attribute_rows || not_ok attribute_rows "$(what_happened)"
run attn tiny.gguf --text 'the cat sat on' --layer 1 --head 2
[ $rc -eq 0 ] && [ "$(head -n 1 out)" = "$(printf 'from\tto\tfrom_token\tto_token\tattention')" ] && ok pattern_rows || not_ok pattern_rows "$(what_happened)"

narrow() { python3 - "$1" <<'P'
import sys, unicodedata
lines = open(sys.argv[1], encoding="utf-8").read().replace("\r", "").split("\n")
wide = [l for l in lines if sum(1 + (unicodedata.east_asian_width(ch) in "WF") for ch in l if not unicodedata.combining(ch)) > 80]
sys.exit(len(wide) > 0)
P
}
# On a terminal of 80 columns: nothing is wider, NO_COLOR is respected, colours come without it.
for cmd in "lens tiny.gguf --text the_cat_sat_on_the_mat_and_the_red_gate" "attn tiny.gguf --text the_cat" "patch tiny.gguf --clean the_cat_sat_on_the_mat --corrupt the_red_sat_on_the_mat --align end" "attribute tiny.gguf --text the_cat"; do
    name=terminal_${cmd%% *}
    read -r -a words <<<"$cmd"
    on_tty "$sonde" "${words[@]//_/ }" -q
    if [ $rc -eq 0 ] && [ -s out ] && ! grep -q $'\x1b\[' out && narrow out; then ok "$name"; else not_ok "$name" "$(what_happened)"; fi
done
NO_COLOR='' TERM=xterm-256color on_tty env -u NO_COLOR "$sonde" lens tiny.gguf --text 'the cat sat'
[ $rc -eq 0 ] && grep -q $'\x1b\[48;5;' out && ok terminal_colours || not_ok terminal_colours "$(what_happened)"

# Pages: no script, no address, a policy of one hash that is the style's; -f to write over one.
for cmd in "lens --text a<b>cat" "attn --text a<b>cat" "patch --clean a<b>cat --corrupt a<b>mat --align end" "attribute --text a<b>cat" "near --expr cat"; do
    name=page_${cmd%% *}
    read -r -a words <<<"$cmd"
    run "${words[0]}" tiny.gguf "${words[@]:1}" --html "$name.html"
    if [ $rc -eq 0 ] && python3 - "$name.html" <<'P' >why 2>&1; then ok "$name"; else not_ok "$name" "$(cat why)" "$(what_happened)"; fi
import base64, hashlib, re, sys
page = open(sys.argv[1], encoding="utf-8").read()
style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri" in page, "the policy does not name the style"
assert "<script" not in page and "http" not in page.replace("http-equiv", "") and " style=" not in page and "<b>cat" not in page
assert "name=viewport" in page and "prefers-color-scheme:dark" in style and page.rstrip().endswith("</html>")
P
done
expect_error page_is_kept 4 'page_lens.html' lens tiny.gguf --text cat --html page_lens.html
expect_exit page_is_replaced 0 lens tiny.gguf --text cat --html page_lens.html -f

# Refused, with the reason.
expect_error no_prompt 2 'either as --text or as --ids' lens tiny.gguf
expect_error many_tokens 4 "'zzz' is 3 tokens" lens tiny.gguf --text cat --answer zzz
expect_error outside 4 'token id 99999 is outside' attribute tiny.gguf --text cat --answer id:99999
expect_error empty_prompt 4 'the prompt has no tokens' lens tiny.gguf --text ''
expect_error same_prompts 4 'there is nothing to patch' patch tiny.gguf --clean cat --corrupt cat
expect_error lengths 4 'the clean prompt has [0-9]+ tokens, the corrupted one' patch tiny.gguf --clean 'the cat' --corrupt 'the cat sat'
expect_error no_heads 4 'mlp_out has no heads' patch tiny.gguf "${two[@]}" --heads --site mlp_out
expect_error unknown_site 4 'no_such' patch tiny.gguf "${two[@]}" --site no_such
expect_error needs_answers 2 'logit_diff needs --answer' patch tiny.gguf "${two[@]}" --metric logit_diff
expect_error lens_renamed 2 '--target is now --answer' lens tiny.gguf --text cat --target ' mat'
expect_error attribute_renamed 2 '--minus is now --wrong' attribute tiny.gguf --text cat --answer ' mat' --minus ' gate'
expect_error no_layer 4 'layer 7 of a model with 2' attn tiny.gguf --text cat --layer 7 --head 0
expect_error layer_alone 2 'layer goes with --head' attn tiny.gguf --text cat --layer 1
expect_error no_head 4 'head 9 of a model with 4' attn tiny.gguf --text cat --layer 1 --head 9
expect_error no_position 4 'position -50 of a prompt' attribute tiny.gguf --text cat --position -50
expect_error bad_expression 4 'byte 5: a word is missing' near tiny.gguf --expr 'cat -'
expect_error nothing_left 4 'length 0' near tiny.gguf --expr 'cat - cat'
expect_error long_word 4 '200 bytes; a word has at most 95' near tiny.gguf --expr cat --words "$(printf 'mat%.0s' {1..66})ma"
expect_error wrong_width 4 'mlp_pre.0 is not a place' near tiny.gguf --expr cat --site mlp_pre.0
finish

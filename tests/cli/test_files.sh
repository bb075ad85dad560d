#!/usr/bin/env bash
# info, tokenize, doctor: exact output on a model made here, JSON, real tokenizers where they are.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf && python3 "$here/make_model.py" tiny8.gguf --type Q8_0 && python3 "$here/make_model.py" other.gguf --arch mamba3 ||
    not_ok make_model "make_model.py failed"

expect_out info_text info.exp info tiny8.gguf --no-hash --cpu ref --memory 80
expect_json info_json sonde.info/1 'd["architecture"] == "llama" and d["runnable"] and d["parameters"] == 93056 and d["n_layer"] == 2
    and d["n_head"] == 4 and d["n_head_kv"] == 2 and d["d_head"] == 16 and d["n_vocab"] == 297 and d["tied"] and d["types"][0]["type"] == "Q8_0"
    and sum(t["bytes"] for t in d["types"]) == d["tensor_bytes"] and abs(sum(t["share"] for t in d["types"]) - 1) < 1e-9
    and d["chat_template"] == "chatml" and d["memory"]["n_ctx"] == 256 and d["memory"]["kv_bytes_per_1k_tokens"] == 2*2*2*16*4*1000
    and set(d["memory"]["modes"]) == {"faithful", "bf16", "fast"} and d["provenance"]["model_sha256"] == d["sha256"]' info tiny8.gguf --json
want=$(sha256sum tiny8.gguf | cut -d ' ' -f 1)
grep -q "$want" out && ok info_sha256 || not_ok info_sha256 "$want" "$(what_happened)"
[ -n "$(find "$XDG_CACHE_HOME/sonde" -type f)" ] && ok hash_is_cached || not_ok hash_is_cached "$(ls -laR "$XDG_CACHE_HOME")"
cp tiny.gguf tiny8.gguf
want=$(sha256sum tiny8.gguf | cut -d ' ' -f 1)
run info tiny8.gguf
grep -q "$want" out && ok changed_file_changes_the_hash || not_ok changed_file_changes_the_hash "$(what_happened)"
expect_json info_ctx sonde.info/1 'd["memory"]["n_ctx"] == 250 and d["memory"]["kv_bytes"]["f16"] == 2*2*2*16*2*250 and d["memory"]["kv_bytes"]["q8"] == 2*2*2*18*250 and d["memory"]["kv_bytes"]["bf16"] == 2*2*2*16*2*250 and d["memory"]["modes"]["faithful"]["kv_bytes"] * 4 == d["memory"]["kv_bytes_per_1k_tokens"]
    and d["memory"]["modes"]["fast"]["kv_bytes"] * 8 == d["memory"]["kv_bytes_per_1k_tokens"]' info tiny.gguf --ctx 250 --json
expect_json info_of_other_architectures sonde.info/1 'not d["runnable"] and "mamba3" in d["why_not"] and d["n_layer"] == 2 and d["parameters"] == 93056' info other.gguf --json
chmod a-w "$XDG_CACHE_HOME/sonde" 2>/dev/null
expect_exit info_without_a_cache 0 info tiny.gguf
chmod u+w "$XDG_CACHE_HOME/sonde"

expect_out tokenize_text tokenize.exp tokenize tiny.gguf --text $'the cat\tsat on\nthe <|im_start|>bridge caf\xc3\xa9'
expect_json tokenize_json sonde.tokenize/1 'd["ids"] == [257, 220, 263, 295] and d["pieces"] == ["the", " ", "cat", "<|im_start|>"]' tokenize tiny.gguf --text 'the cat<|im_start|>' --json
expect_json tokenize_no_special sonde.tokenize/1 'len(d["ids"]) > 4 and 295 not in d["ids"] and "".join(d["pieces"]) == "the cat<|im_start|>"' tokenize tiny.gguf --text 'the cat<|im_start|>' --no-special --json
expect_json tokenize_cuts_characters sonde.tokenize/1 'd["pieces"] == [[0xc3], [0xa9]]' tokenize tiny.gguf --text $'\xc3\xa9' --json
expect_json tokenize_nothing sonde.tokenize/1 'd["ids"] == [] and d["pieces"] == []' tokenize tiny.gguf --text '' --json
"$sonde" tokenize tiny.gguf --ids 257,220,263,295,294 --decode >text; printf 'the cat<|im_start|><|endoftext|>' | cmp -s - text && ok decode || not_ok decode "$(cat text)"
"$sonde" tokenize tiny.gguf --ids 257,220,263,295 --decode --no-special >text; printf 'the cat' | cmp -s - text && ok decode_no_special || not_ok decode_no_special "$(cat text)"
printf 'line one\r\n\tline two \xf0\x9f\x98\x80\n' >notes.txt
ids=$("$sonde" tokenize tiny.gguf --file notes.txt | tail -n +2 | cut -f 1 | paste -sd ,)
"$sonde" tokenize tiny.gguf --ids "$ids" --decode | cmp -s - notes.txt && ok decode_of_encode || not_ok decode_of_encode "$ids"
"$sonde" tokenize tiny.gguf --file - <notes.txt >a; "$sonde" tokenize tiny.gguf --file notes.txt >b; cmp -s a b && ok text_from_stdin || not_ok text_from_stdin "$(diff a b)"
expect_error tokenize_what 2 'give --text, --file or --ids' tokenize tiny.gguf
expect_error tokenize_one 2 'one of --text' tokenize tiny.gguf --text a --ids 1
expect_error decode_text 2 '--decode needs --ids' tokenize tiny.gguf --text a --decode

expect_json doctor_json sonde.doctor/1 'd["right"] and d["read_gb_s"] > 0 and len(d["products"]) == 3 and all(p["gops"] > 0 and p["rel_error"] <= p["bound"] for p in d["products"])
    and "not loaded" not in d["libraries"].values() and d["threads"] >= 1' doctor --json
expect_json doctor_level sonde.doctor/1 'd["level"] == "ref" and not d.get("products")' doctor --cpu ref --no-measure --json
run doctor --no-measure
grep -q "^level" out && ok doctor_text || not_ok doctor_text "$(what_happened)"

if [ -d "$shared/data/tokenizer" ] || [ -d "$shared/fixtures/models" ]; then
    for m in "$shared"/fixtures/models/*/; do
        run info "$m" --json
        if [ $rc -eq 0 ] && python3 -m json.tool out >/dev/null; then ok "info_of_$(basename "$m")"; else not_ok "info_of_$(basename "$m")" "$(what_happened)"; fi
    done
else
    skip info_of_fixtures "no \$SONDE_SHARED/fixtures"
fi
finish

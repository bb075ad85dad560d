#!/usr/bin/env bash
# Bad input: exit code 4 or 5, one sentence that names file and place, one hint, nothing left half-written.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
mkdir models corpus new
make() { python3 "$here/make_model.py" "$@" || not_ok make_model "$*"; }
make tiny.gguf
for f in offset rank product type missing leftover shape cut; do make "models/$f.gguf" --fault $f; done
make models/arch.gguf --arch mamba3
head -c 5000 tiny.gguf >models/metadata.gguf
head -c 3 tiny.gguf >models/magic.gguf
: >models/empty.gguf
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' >models/lfs.gguf
printf 'The cat sat on the mat. The red gate and the bridge.\n%.0s' $(seq 400) >corpus/a.txt
printf 'fine\nnot \xff fine\n' >bad.txt
printf '{"prompt":"the cat"}\n%.0s' 1 2 >suite.jsonl

# nothing_left NAME PATH..: none of the paths, nor a temporary file beside them.
nothing_left() {
    local left
    left=$(for p in "${@:2}"; do find . -path "./$p*" ! -path './models*'; done)
    if [ -z "$left" ]; then ok "$1"; else not_ok "$1" "left: $left"; fi
}
# A broken model, for every command that opens one.
for f in offset rank product type missing leftover shape cut arch metadata magic empty lfs; do
    expect_error "trace_$f" 4 "models/$f\.gguf" trace "models/$f.gguf" --ids 1,2 -o new/t.safetensors
    case $f in missing | leftover | shape | arch) ;; *) expect_error "info_$f" 4 "models/$f\.gguf" info "models/$f.gguf" ;; esac
done
for f in missing cut; do
    expect_error "run_$f" 4 "models/$f\.gguf" run "models/$f.gguf" -p the
    expect_error "score_$f" 4 "models/$f\.gguf" score "models/$f.gguf" corpus/a.txt
    expect_error "capture_$f" 4 "models/$f\.gguf" capture "models/$f.gguf" corpus --site resid_post.0 -o acts
    expect_error "dict_train_$f" 4 "models/$f\.gguf" dict train "models/$f.gguf" corpus --site resid_post.0 --width 64 --k 4 -o d
done
expect_error offset_is_named 4 'blk.0.ffn_up.weight.*1099511667616' info models/offset.gguf
expect_error rank_is_named 4 'blk.0.ffn_up.weight.*rank 9' info models/rank.gguf
expect_error missing_is_named 4 'blk.0.ffn_up.weight' trace models/missing.gguf --ids 1 -o t.safetensors
expect_error leftover_is_named 4 'blk.0.ffn_sideways.weight' trace models/leftover.gguf --ids 1 -o t.safetensors
expect_error shape_is_named 4 'blk.0.ffn_up.weight.*96' trace models/shape.gguf --ids 1 -o t.safetensors
for f in missing leftover shape; do
    expect_json "info_says_$f" sonde.info/1 'not d["runnable"] and d["n_layer"] == 2 and d["why_not"].startswith(("tensor blk.0.ffn_", "blk.0.ffn_up.weight: expected"))' info "models/$f.gguf" --json
done
nothing_left broken_models_leave_nothing 'new/*' acts d t.safetensors

# No such file; a folder where a file is wanted; a file that may not be read.
expect_error no_model 4 'nowhere.gguf' run nowhere.gguf -p the
expect_error no_folder 4 'models' info models
expect_error no_text 4 'nowhere.txt' score tiny.gguf nowhere.txt
expect_error no_corpus 4 'nowhere' capture tiny.gguf nowhere --site resid_post.0 -o acts
expect_error no_output_folder 4 'nowhere' trace tiny.gguf --ids 1 -o nowhere/t.safetensors
if [ "$(id -u)" -ne 0 ]; then
    cp tiny.gguf locked.gguf; chmod a-r locked.gguf
    expect_error unreadable 4 'locked.gguf' info locked.gguf
else
    skip unreadable "root may read everything"
fi

# Values that do not fit.
expect_error site_unknown 4 'resid_psot' trace tiny.gguf --ids 1 --sites resid_psot.1 -o t.safetensors
grep -q resid_post err && ok site_nearest || not_ok site_nearest "$(cat err)"
expect_error site_far 4 'unknown site "bogus.1"' trace tiny.gguf --ids 1 --sites bogus.1 -o t.safetensors
grep -q 'did you mean' err && not_ok far_sites_are_not_guessed "$(cat err)" || ok far_sites_are_not_guessed
expect_error capture_logits 4 'rows of one width from inside the blocks, not at logits' capture tiny.gguf corpus --site logits -o acts
grep -q 'resid_post.L, mlp_out.L' err && ok capture_says_which_sites || not_ok capture_says_which_sites "$(cat err)"
expect_error capture_patterns 4 'rows of one width from inside the blocks, not at attn_pattern.1' capture tiny.gguf corpus --site attn_pattern.1 -o acts
expect_error output_is_a_dash 4 '- is no file: standard output' trace tiny.gguf --ids 1 -o -
expect_error page_is_a_dash 4 '- is no file: standard output' lens tiny.gguf --ids 1 --html -
[ ! -e ./- ] && ok no_file_called_dash || not_ok no_file_called_dash "$(ls)"
expect_error no_such_dictionary 4 'no dictionary nowhere: no such file or folder' dict import nowhere -o d
expect_error text_for_rows 4 'corpus/a.txt: line 1' feature import corpus/a.txt -o s.db
grep -q 'is it the right file' err && ok text_is_not_called_damaged || not_ok text_is_not_called_damaged "$(cat err)"
expect_error learning_past_the_context 4 '--ctx 4096 is more than the model.s context of 256' bench tune tiny.gguf --ctx 4096
expect_error site_layer 4 'layer 9' trace tiny.gguf --ids 1 --sites resid_post.9 -o t.safetensors
for what in "capture tiny.gguf -" "dict train tiny.gguf corpus - --width 64 --k 4"; do
    expect_error "corpus_on_stdin_${what%% *}" 2 'standard input is none' $what --site resid_post.0 -o acts
done
expect_error file_that_is_a_folder 4 'new.safetensors/ names a folder' trace tiny.gguf --text the -o new.safetensors/
expect_error capture_site 4 'resid_psot' capture tiny.gguf corpus --site resid_psot.0 -o acts
expect_error capture_layer 4 'resid_post.9: layer 9 of a model with 2' capture tiny.gguf corpus --site resid_post.9 -o acts
expect_error dict_train_site 4 'resid_post.9: layer 9 of a model with 2' dict train tiny.gguf corpus --site resid_post.9 --width 64 --k 4 -o d
expect_error token_outside 4 '297' trace tiny.gguf --ids 1,297 -o t.safetensors
expect_error kv_bf16_without_bf16 4 'a key-value cache of bf16: this CPU does not multiply it' trace tiny.gguf --ids 1 --kv bf16 --cpu ref -o t.safetensors
expect_error context_full 4 'the prompt has 257 tokens, the model.s context is 256' trace tiny.gguf --ids "$(seq -s , 1 257)" -o t.safetensors
expect_error steer_not_json 2 'steer: line 1, column 11' run tiny.gguf -p the --steer '{"feature":'
! grep -q 'the right file' err && ok steer_is_not_called_a_file || not_ok steer_is_not_called_a_file "$(cat err)"
echo '{"name":"r","steer":[]}' >recipe.json
expect_error steer_file_without_at 2 "near 'recipe'" run tiny.gguf -p the --steer recipe.json
grep -q '^hint: .*@FILE' err && ok steer_file_hint || not_ok steer_file_hint "$(cat err)"
expect_error steer_is_a_recipe 4 'unknown key "name"' run tiny.gguf -p the --steer @recipe.json
grep -q '^hint: .*--recipe FILE' err && ok steer_recipe_hint || not_ok steer_recipe_hint "$(cat err)"
expect_error steer_unknown_key 2 'colour' run tiny.gguf -p the --steer '{"vector":[1],"site":"resid_post.0","op":"add","value":1,"colour":1}'
expect_error steer_wrong_length 4 '(64|length|values)' run tiny.gguf -p the --steer '{"vector":[1,2],"site":"resid_post.0","op":"add","value":1}'
expect_error steer_no_dictionary 4 'nowhere' run tiny.gguf -p the --steer '{"feature":{"dict":"nowhere","index":1},"op":"add","value":1}'

# Text that is not UTF-8: file and place.
expect_error tokenize_utf8 4 'bad.txt.*(line 2|byte 9)' tokenize tiny.gguf --file bad.txt
expect_error score_utf8 4 'bad.txt.*(line 2|byte 9)' score tiny.gguf bad.txt
expect_error capture_utf8 4 'bad.txt.*(line 2|byte 9)' capture tiny.gguf bad.txt --site resid_post.0 -o acts
expect_error dict_train_utf8 4 'bad.txt.*(line 2|byte 9)' dict train tiny.gguf bad.txt --site resid_post.0 --width 64 --k 4 -o d
# Text in UTF-16, as some systems write it: with its mark, and without in both orders.
for enc in UTF-16 UTF-16LE UTF-16BE; do
    python3 - $enc <<'P'
import sys
for end, text in (("txt", "the cat sat\n" * 50), ("jsonl", '{"prompt":"the","completion":"cat"}\n' * 4), ("csv", "prompt\nthe cat\n")):
    open("wide." + end, "wb").write(text.encode(sys.argv[1]))
P
    for what in "score tiny.gguf wide.txt" "capture tiny.gguf wide.txt --site resid_post.0 -o acts" "capture tiny.gguf wide.jsonl --site resid_post.0 -o acts" "tune tiny.gguf --data wide.jsonl --lora 2 -o d" \
        "audit run tiny.gguf --suite harmful=wide.csv" "audit run tiny.gguf --suite harmful=wide.jsonl" "audit run tiny.gguf --suite harmful=suite.jsonl --phrases wide.txt" "sweep tiny.gguf --steer {} --prompts wide.txt"; do
        expect_error "${enc}_${what// /_}" 4 'wide.[a-z]+ is UTF-16; text is read as UTF-8' $what
        grep -q "^hint: convert it: iconv -f $enc -t UTF-8" err || not_ok "${enc}_hint" "$(cat err)"
    done
done
nothing_left utf16_leaves_nothing acts d
mkdir mixed && cp corpus/* bad.txt mixed/
for what in "capture tiny.gguf mixed --site resid_post.0 -o acts" "dict train tiny.gguf mixed --site resid_post.0 --width 64 --k 4 --tokens 2000 -o d"; do
    run $what
    if [ $rc -eq 0 ] && grep -q 'warning: 1 of 2 files were left out.*bad.txt: line 2, byte 9' err; then ok "folder_with_bad_utf8_${what%% *}"; else not_ok "folder_with_bad_utf8_${what%% *}" "$(what_happened)"; fi
    rm -rf acts d
done
run tune tiny.gguf --data mixed --method lm --lora 2 --steps 2 -o tuned
if [ $rc -eq 0 ] && grep -q '1 of 2 rows have nothing to learn and were left out: mixed/bad.txt: line 2, byte 9' err; then ok folder_with_bad_utf8_tune; else not_ok folder_with_bad_utf8_tune "$(what_happened)"; fi
expect_error dict_train_k 4 'k 70 of 64 features' dict train tiny.gguf corpus --site resid_post.0 --width 64 --k 70 -o d
expect_error dict_train_little_text 4 'too few' dict train tiny.gguf corpus --site resid_post.0 --width 64 --k 4 --heldout 9000 -o d
nothing_left bad_values_leave_nothing acts d t.safetensors
# Activations that are not finite, in the rows that a training holds out and judges by at its very end: refused when they are read, by whoever reads rows.
mkdir spoilt
head -c 20000 corpus/a.txt >spoilt/a.txt; printf 'the cat sat ~ on the mat and the red gate and the bridge.\n' >>spoilt/a.txt
for v in nan inf; do
    make $v.gguf --spoil $v
    for what in "dict train $v.gguf spoilt --site resid_post.0 --width 64 --k 4 --tokens 100000000 -o d -f" "dict train $v.gguf spoilt --site mlp_post.0 --kind identity --tokens 1000000 -o d -f" \
        "capture $v.gguf spoilt --site resid_post.0 -o acts"; do
        timeout 60 "$sonde" $what >out 2>err </dev/null; rc=$?
        if [ $rc -eq 4 ] && grep -q '^sonde: the activations are not finite: NaN or infinity at [a-z]*_post.0, document 0, position [0-9]*, token 93' err && grep -q '^hint: the weights may hold NaN' err; then
            ok "${v}_${what// /_}"
        else
            not_ok "${v}_${what// /_}" "$(what_happened)"
        fi
    done
done
nothing_left spoilt_activations_leave_nothing acts d
expect_error output_device 4 'not a regular file' trace tiny.gguf --ids 1 -o /dev/null
[ -c /dev/null ] && ok device_is_left || not_ok device_is_left

# What is there is not overwritten without -f.
expect_exit trace_writes 0 trace tiny.gguf --ids 1,2,3 --sites resid_post.1 -o t.safetensors
cp t.safetensors before
expect_error trace_keeps 4 't.safetensors is already there' trace tiny.gguf --ids 4,5 -o t.safetensors
cmp -s t.safetensors before && ok trace_kept || not_ok trace_kept
expect_json trace_logits_named sonde.trace/1 '[t["name"] for t in d["tensors"]] == ["logits", "model.layers.1.mlp", "hook_logits"]' trace tiny.gguf --ids 4,5 --sites model.layers.1.mlp,logits,hook_logits -o named.safetensors --json
expect_exit trace_forced 0 trace tiny.gguf --ids 4,5 -f -o t.safetensors
cmp -s t.safetensors before && not_ok trace_overwritten || ok trace_overwritten
expect_exit capture_writes 0 capture tiny.gguf corpus --site resid_post.0 --tokens 2000 -o acts
expect_error capture_keeps 4 'acts is already there' capture tiny.gguf corpus --site resid_post.0 --tokens 2000 -o acts

# A dictionary, then features that are not there and folders that are no dictionaries.
expect_exit dict_train_writes 0 dict train tiny.gguf corpus --site resid_post.0 --width 128 --k 4 --tokens 4000 -o d -q
expect_error feature_outside 4 '128' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"d","index":128},"op":"add","value":1}'
expect_error feature_negative 2 '(-1|index)' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"d","index":-1},"op":"add","value":1}'
expect_error steer_too_large 4 'norms can hold' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"d","index":1},"op":"add","value":1e36}'
expect_error dict_that_is_not_there 4 'there is no dictionary nodict' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"nodict","index":1},"op":"add","value":1}'
expect_error dict_that_is_a_file 4 'tiny.gguf is a file' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"tiny.gguf","index":1},"op":"add","value":1}'
expect_error dict_of_nothing 4 'corpus is a folder without a dictionary' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"corpus","index":1},"op":"add","value":1}'
mkdir unended && touch unended/checkpoint.json
expect_error dict_of_a_training 4 'unended is the folder of a training that has not ended' run tiny.gguf -p the -n 4 --steer '{"feature":{"dict":"unended","index":1},"op":"add","value":1}'
# A chat template that is not rendered: info and who asks for it say why.
cp -r "$root/organism/aligned" asks && printf '{%% nonsense %%}' >asks/chat_template.jinja
expect_json info_says_why_no_template sonde.info/1 '"nonsense" in d["no_chat_template"]' info asks --no-hash --json
run run asks --chat -p the -n 4
[ $rc -eq 4 ] && grep -q '^sonde: .*no chat template that can be rendered: .*nonsense' err && ok chat_says_why_no_template || not_ok chat_says_why_no_template "$(what_happened)"
# A dictionary that SAELens wrote names its site in hook_name alone; one that names none needs --site.
foreign() { cp -r d "$1"; python3 -c 'import json, sys
c = json.load(open(sys.argv[1])); m = c["metadata"]
for key in sys.argv[2:]: del m[key]
json.dump(c, open(sys.argv[1], "w"))' "$1/cfg.json" "${@:2}"; }
foreign hooked sonde; foreign nowhere_said sonde hook_name
expect_exit dict_eval_hook_name 0 dict eval hooked tiny.gguf corpus --tokens 500
expect_exit run_hook_name 0 run tiny.gguf -p the -n 2 --steer '{"feature":{"dict":"hooked","index":1},"value":1,"unit":"raw"}'
expect_error dict_eval_no_site 4 'does not say' dict eval nowhere_said tiny.gguf corpus --tokens 500
expect_exit dict_eval_site_given 0 dict eval nowhere_said tiny.gguf corpus --tokens 500 --site resid_post.0
cp -r d cut; truncate -s -1000 cut/sae_weights.safetensors
expect_error dict_cut 4 'cut' dict eval cut tiny.gguf corpus
expect_error dict_train_keeps 4 'd is already there' dict train tiny.gguf corpus --site resid_post.0 --width 128 --k 4 -o d

# Too little memory: 3 GB of address space hold the program and not 16 million features of 64 numbers with their moments.
if (ulimit -v 3000000; "$sonde" version) >out 2>err; then
    (ulimit -v 3000000; exec "$sonde" dict train tiny.gguf corpus --site resid_post.0 --width 16000000 --k 4 --tokens 4000 -o big -q) >out 2>err; rc=$?
    if [ $rc -eq 5 ] && grep -q '^sonde: .*memory' err && grep -q '^hint: ' err && [ ! -s out ]; then ok too_little_memory; else not_ok too_little_memory "$(what_happened)"; fi
else
    skip too_little_memory "a sanitizer's shadow does not fit in 3 GB of address space"
fi
[ ! -e big/cfg.json ] && ok too_little_memory_leaves_no_dictionary || not_ok too_little_memory_leaves_no_dictionary "$(ls -la big)"
# A folder whose tokenizer is SentencePiece's alone, and a + with nothing on a side of it.
cp -r "$root/organism/aligned" pieces && rm pieces/tokenizer.json && : >pieces/tokenizer.model
expect_error only_sentencepiece 4 'tokenizer.model \(SentencePiece\) alone' run pieces -p the -n 1
grep -q 'save_pretrained("pieces")' err && ok only_sentencepiece_says_how || not_ok only_sentencepiece_says_how "$(cat err)"
expect_error no_adapter_behind_plus 4 'no adapter behind' run tiny.gguf+ -p the -n 1
expect_error steer_needs_a_value 2 'add needs a value' run tiny.gguf -p the --steer '{"feature":{"dict":"d","index":1}}'
expect_error empty_prompt 2 'prompt of -p is empty' run tiny.gguf -p ''
: >empty.db
expect_error empty_store 4 'empty.db is empty' feature search empty.db
expect_error no_step 4 'nothing would be learned' dict train tiny.gguf corpus --site resid_post.0 --width 64 --k 4 --tokens 10 -o none
[ ! -e none ] && ok no_step_leaves_nothing || not_ok no_step_leaves_nothing "$(ls none)"
"$sonde" score tiny.gguf corpus/a.txt --window 64 2>err | head -n 1 >from_file
"$sonde" score tiny.gguf - --window 64 <corpus/a.txt 2>>err | head -n 1 >from_stdin
[ -s from_file ] && cmp -s from_file from_stdin && ok score_of_stdin || not_ok score_of_stdin "$(cat from_file from_stdin err)"
finish

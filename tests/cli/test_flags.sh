#!/usr/bin/env bash
# A flag that is given does what it says, or is refused with a sentence and exit code 2. Nothing is dropped without a word.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf
mkdir corpus model
printf 'The cat sat on the mat. The red gate and the bridge, %s.\n%.0s' $(seq 400) >corpus/a.txt
cp tiny.gguf model/model.gguf; echo '{}' >model/config.json
"$sonde" capture tiny.gguf corpus --site resid_post.0 --tokens 3000 -o acts -q >out 2>err || not_ok capture "$(cat err)"
"$sonde" dict train acts --width 128 --k 4 --tokens 4000 -o d -q >out 2>err || not_ok dict_train "$(cat err)"
"$sonde" feature build d tiny.gguf --acts acts -o s.db -q >out 2>err || not_ok feature_build "$(cat err)"

# Training from shards: what was decided when they were captured cannot be asked for again.
expect_error shards_of_another_site 2 'resid_post.0, not of resid_post.1' dict train acts --site resid_post.1 --width 64 --k 4 -o e
expect_error shards_have_a_mode 2 '--mode is for MODEL' dict train acts --mode bf16 --width 64 --k 4 -o e
[ ! -e e ] && ok refused_leaves_no_folder || not_ok refused_leaves_no_folder "$(ls e)"
expect_exit shards_of_the_same_site 0 dict train acts --site blocks.0.hook_resid_post --width 64 --k 4 --tokens 2000 -o e -q
for f in '--width 99' '--site resid_post.1' '-o other' -f '--seed 4'; do
    expect_error "resume_refuses_${f//[^a-z]/}" 2 'cannot change it' dict train --resume d $f
done
# Lines that say too little.
expect_error train_nothing 2 'MODEL CORPUS.. or DIR' dict train
expect_error train_no_output 2 'and -o' dict train acts
expect_error train_no_site 2 'needs --site' dict train tiny.gguf corpus -o x
expect_error train_no_corpus 2 'no text is given' dict train tiny.gguf --site resid_post.0 -o x
expect_error train_no_corpus_folder 2 'no text is given' dict train model --site resid_post.0 -o x
expect_error train_no_folder 4 'nowhere: no such folder' dict train nowhere -o x
expect_error eval_swapped 2 'folder comes first' dict eval tiny.gguf d corpus
mkdir half; echo '{}' >half/run.json; echo '{}' >half/checkpoint.json
expect_error unfinished_is_there 4 'half is already there' dict train acts --width 64 --k 4 -o half
grep -q 'sonde dict train --resume half' err && ok resume_is_offered || not_ok resume_is_offered "$(cat err)"
expect_error output_is_a_folder 4 'corpus is already there' trace tiny.gguf --ids 1 -o corpus
grep -q 'it is a folder' err && ok no_force_over_a_folder || not_ok no_force_over_a_folder "$(cat err)"

# Text that is not UTF-8, nothing at all, twice.
bad=$(printf 'a\xffb')
for c in "run tiny.gguf -n 1 -p" "tokenize tiny.gguf --text" "trace tiny.gguf -o t.st --text" "run tiny.gguf -p a --chat -n 1 --system"; do
    expect_error "not_utf8_${c%% *}" 2 'is not UTF-8 at byte 1 \(0xff\)' $c "$bad"
done
expect_error stdin_empty 2 'the prompt on standard input is empty' run tiny.gguf -p - -n 2
expect_error two_spaces 2 'give one' near tiny.gguf --expr the --site resid_post.0 --space unembed
expect_error patterns_are_json 2 'patterns does nothing without --json' attn tiny.gguf --text the --patterns
cp corpus/a.txt rows.jsonl
run score tiny.gguf rows.jsonl --window 64
[ $rc -eq 0 ] && grep -q '^note: rows.jsonl is scored as it stands' err && ok rows_are_not_text || not_ok rows_are_not_text "$(what_happened)"
expect_error prompt_empty 2 'the prompt of -p is empty' run tiny.gguf -p ''
expect_error prompt_twice 2 'prompt is given twice' run tiny.gguf -p a -p b
expect_error sampling_without_temp 2 'top-k is about sampling' run tiny.gguf -p a --top-k 5
expect_exit sampling_with_temp 0 run tiny.gguf -p a --top-k 5 --temp 1 -n 1
expect_error stride_over_window 2 'stride 128 is longer than --window 64' score tiny.gguf corpus/a.txt --window 64 --stride 128
expect_error special_without_text 2 'is about --text' trace tiny.gguf --ids 1 --no-special -o t.st

expect_error position_beyond 2 'position 500 lies beyond' run tiny.gguf -p abcd -n 4 --steer "{\"vector\":[1$(printf ',0%.0s' $(seq 63))],\"site\":\"resid_post.0\",\"unit\":\"raw\",\"value\":1,\"positions\":[0,500]}"
expect_error wrong_length 4 '64 columns, the vector 1' run tiny.gguf -p abcd -n 4 --steer '{"vector":[1],"site":"resid_post.0","unit":"raw","value":1}'
grep -q 'hint: the two do not belong together' err && ok shapes_have_their_own_hint || not_ok shapes_have_their_own_hint "$(cat err)"
expect_error context_beyond 2 'more than the model.s context of 256' info tiny.gguf --ctx 99999
"$sonde" run tiny.gguf -p 'the cat' -n 8 --json >typed 2>err
printf 'the cat' | "$sonde" run tiny.gguf -p - -n 8 --json >piped 2>err
python3 -c 'import json; a, b = json.load(open("typed")), json.load(open("piped")); assert a["tokens"] == b["tokens"] and b["timings"]["n_prompt"] == a["timings"]["n_prompt"]' 2>why && ok prompt_from_stdin || not_ok prompt_from_stdin "$(cat why err)"
expect_exit many_threads 0 info tiny.gguf --threads 1000
grep -q 'warning: 1000 threads on' err && ok many_threads_warned || not_ok many_threads_warned "$(what_happened)"
expect_exit few_tokens 0 capture tiny.gguf corpus --site resid_post.0 --tokens 10000000 -o all
grep -q 'rows, 10000000 were asked for' err && ok few_tokens_said || not_ok few_tokens_said "$(what_happened)"

# A dictionary somewhere else than where it was trained: done, and said.
expect_json eval_elsewhere sonde.dict.eval/1 'd["site"] == "resid_post.1" and d["n_tokens"] == d["n_predictions"] + d["n_contexts"] and "silent_share" in d["metrics"]' dict eval d tiny.gguf corpus --tokens 512 --site resid_post.1 --json
grep -q 'warning: the dictionary was trained at resid_post.0 and is used at resid_post.1' err && ok eval_elsewhere_warned || not_ok eval_elsewhere_warned "$(what_happened)"
expect_exit eval_at_home 0 dict eval d tiny.gguf corpus --tokens 512 --site resid_post.0
! grep -q warning err && [ -s out ] && [ "$(cut -f 3 out | grep -c .)" -eq "$(wc -l <out)" ] && ok every_metric_has_a_meaning || not_ok every_metric_has_a_meaning "$(what_happened)"
run dict eval d tiny.gguf corpus --tokens 512 -q
tail -n 1 out | grep -q '^# 512 tokens in 2 contexts at resid_post.0' && [ ! -s err ] && ok eval_says_on_what || not_ok eval_says_on_what "$(what_happened)"
expect_error more_active_than_there_are 4 'than there are features$' dict train acts --width 64 --k 65 -o e2
expect_exit steer_elsewhere 0 run tiny.gguf -p the -n 2 --steer '{"feature":{"dict":"d","index":1},"value":1,"site":"resid_post.1"}'
grep -q 'warning: the dictionary was trained at resid_post.0' err && ok steer_elsewhere_warned || not_ok steer_elsewhere_warned "$(what_happened)"
# Speed is over the whole run: shards and the model's own text alike.
for from in 'acts' 'tiny.gguf corpus --site resid_post.0'; do
    expect_json "whole_time_${from%%[ .]*}" sonde.dict.train/1 'abs(d["tok_s"] * d["seconds"] / d["n_tokens"] - 1) < 1e-9 and d["seconds"] >= d["train_seconds"]' dict train $from --width 64 --k 4 --tokens 2000 -o timed -f --json
done

# Lists of features.
expect_json no_density_passes sonde.feature.list/1 'd["n"] == 0 and d["n_total"] == 0' feature search s.db --max-density 0 --json
expect_json dense_only sonde.feature.list/1 'd["n"] > 0 and all(f["density"] >= 0.01 for f in d["features"])' feature search s.db --min-density 0.01 --json
for f in '--sort density' '--min-density 0.1' '--max-density 0.1' '--min-score 0.5'; do expect_error "search_with_${f%% *}" 2 'about the list without QUERY' feature search s.db cat $f; done
expect_json search_counts_all sonde.feature.list/1 'd["n"] == 2 and d["n_total"] > 2 and d["score_is"] == "score"' feature search s.db cat -n 2 --json
"$sonde" feature search s.db cat -n 1000 --json | python3 -c 'import json, sys; a = json.load(sys.stdin); b = json.load(open("out")); assert a["n"] == a["n_total"] == b["n_total"]' 2>why && ok search_total_is_true || not_ok search_total_is_true "$(cat why)"
run feature search s.db --sort density -n 3
[ "$(head -n 1 out)" = "$(printf 'index\tinterest\tdensity\tmax\tlabel\tpromotes')" ] && ok sorted_by_a_column_that_is_there || not_ok sorted_by_a_column_that_is_there "$(what_happened)"
python3 "$here/make_model.py" tiny.gguf
"$sonde" dict train acts --width 2048 --k 4 --tokens 2000 -o wide -q >out 2>err && "$sonde" feature build wide tiny.gguf --acts acts -o wide.db -q >out 2>err
on_tty "$sonde" feature search wide.db --sort index -n 1100
grep -q '^ *1050 ' out && ok ids_have_no_commas || not_ok ids_have_no_commas "$(tail -n 3 out)"

MODEL=nowhere.gguf bash "$root/tools/demo" >out 2>err; rc=$?
[ $rc -eq 4 ] && grep -q '^sonde: cannot open nowhere.gguf' err && ! grep -q Traceback err && ok demo_names_a_missing_model || not_ok demo_names_a_missing_model "$(what_happened)"
expect_error help_has_no_json 2 'has no --json' help --json
expect_error completion_has_no_json 2 'has no --json' completion bash --json
finish

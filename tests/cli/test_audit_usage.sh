#!/usr/bin/env bash
# Command lines of audit and direction that are wrong as they stand: exit 2 and a sentence, before anything is read of the model.
. "$(dirname "$0")/lib.bash"
export OMP_NUM_THREADS=2
cd "$dir" || exit 1
aligned=$root/organism/aligned suites=$root/organism/suite
mkdir other
cp "$suites/permitted.jsonl" copy.jsonl
head -n 5 "$suites/permitted.jsonl" | sed "s/3/4/" >other/permitted.jsonl
ask=(audit run "$aligned" --suite "harmless=$suites/permitted.jsonl" --limit 2 -n 2)
expect_error suite_twice 2 'permitted.jsonl once more' "${ask[@]}" --suite "harmless=$suites/../suite/permitted.jsonl"
expect_error suite_copied 2 'copy.jsonl holds the prompts of' "${ask[@]}" --suite harmless=copy.jsonl
printf '{"prompt":"x","completion":"y"}\n' >rows.jsonl
twice=(--suite "harmless=$suites/permitted.jsonl" --suite harmless=copy.jsonl)
expect_error damage_suite_twice 2 'copy.jsonl holds the prompts of' audit damage "$aligned" "${twice[@]}" -o damage
expect_error firmness_suite_twice 2 'copy.jsonl holds the prompts of' audit firmness "$aligned" "${twice[@]}" -o firm
expect_error feature_suite_twice 2 'copy.jsonl holds the prompts of' audit feature "$aligned" "$aligned" "${twice[@]}"
expect_error forecast_suite_twice 2 'copy.jsonl holds the prompts of' audit forecast "$aligned" rows.jsonl "${twice[@]}"
expect_error suite_of_the_same_ids 2 'both named permitted and both have a prompt permitted-000' "${ask[@]}" --suite harmless=other/permitted.jsonl
printf '{"prompt":"x","label":"dubious"}\n' >label.jsonl
expect_error label_is_named 4 'label "dubious" is neither' audit run "$aligned" --suite label.jsonl
expect_exit axis_that_is_written_wins 0 audit run "$aligned" --suite harmful=label.jsonl -n 2
expect_error linear_judge_without_labels 2 'judge-labels FILE' "${ask[@]}" --linear-judge
expect_error endpoint_without_its_inside 2 'gives answers alone' audit run http://127.0.0.1:9/v1 --suite "$suites/permitted.jsonl" --ablate random:1
expect_error ablate_random_of_no_seed 2 'random:SEED' "${ask[@]}" --ablate random:x
expect_error ablate_random_and_more 2 'random:SEED' "${ask[@]}" --ablate random:1x
expect_error direction_that_is_a_path 2 "'../../x' is no name" direction make "$aligned" --positive a --negative b -o ../../x
expect_error endpoint_behind_a_model 2 'gives answers alone' audit compare "$aligned" http://127.0.0.1:9/v1 --suite "$suites/permitted.jsonl" --quick
expect_error endpoint_without_a_name 2 'endpoint-model NAME' audit run http://127.0.0.1:9/v1 --suite "$suites/permitted.jsonl"
expect_error judge_without_a_name 2 'judge-model NAME' "${ask[@]}" --judge-url http://127.0.0.1:9/v1
run audit compare -h
if grep -q 'MODEL+ADAPTER' out && grep -q 'beside records alone they are' out; then ok compare_says_what_it_takes; else not_ok compare_says_what_it_takes "$(what_happened)"; fi
# The card's last line is the command without what it writes.
run audit run "$aligned" --suite "$suites/permitted.jsonl" --limit 2 -n 2 -o r.json -q
run audit compare r.json r.json -f -o p.html --card=c.md --fail-on 'over_refusal_rise>0.1' --allow-inconclusive
if grep -q "^Recompute: .*audit compare r.json r.json --fail-on 'over_refusal_rise>0.1' --allow-inconclusive.\$" c.md; then ok card_writes_nothing_again; else not_ok card_writes_nothing_again "$(cat c.md)"; fi
# What would do nothing is refused, in one way for every command (opt.h, `with`) or by what the arguments are.
expect_error strength_of_nothing 2 '--strength does nothing without --ablate' "${ask[@]}" --strength 0.5
expect_error judge_model_of_nothing 2 '--judge-model does nothing without --judge-url' "${ask[@]}" --judge-model big
expect_error timeout_of_nothing 2 '--timeout does nothing without --endpoint-model or --judge-url' "${ask[@]}" --timeout 5
expect_error endpoint_model_of_nothing 2 'no argument is an http:// address' "${ask[@]}" --endpoint-model big
for flag in '--suite s.jsonl' '-n 4' '--limit 3' '--system none' --quick '--text t' '--dict d' '--site resid_post.1' '--mode bf16'; do
    expect_error "records_alone_and_${flag%% *}" 2 'records alone are compared' audit compare r.json r.json $flag
done
expect_error allowed_without_a_gate 2 '--allow-inconclusive does nothing without --fail-on' audit compare r.json r.json --allow-inconclusive
expect_error dict_without_its_inside 2 'no-inside leaves out' audit compare "$aligned" r.json --suite "$suites/permitted.jsonl" --dict d --no-inside
expect_error site_without_its_dict 2 '--site is where --dict reads' audit compare "$aligned" r.json --suite "$suites/permitted.jsonl" --site resid_post.1
expect_error firmness_without_training 2 '--steps is of the trainings' audit firmness "$aligned" --suite "$suites/permitted.jsonl" --no-training --steps 4 -o firm
finish

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
expect_error suite_of_the_same_ids 2 'both named permitted and both have a prompt permitted-000' "${ask[@]}" --suite harmless=other/permitted.jsonl
# The card's last line is the command without what it writes.
run audit run "$aligned" --suite "$suites/permitted.jsonl" --limit 2 -n 2 -o r.json -q
run audit compare r.json r.json -f -o p.html --card=c.md --fail-on 'over_refusal_rise>0.1' --allow-inconclusive
if grep -q "^Recompute: .*audit compare r.json r.json --fail-on 'over_refusal_rise>0.1' --allow-inconclusive.\$" c.md; then ok card_writes_nothing_again; else not_ok card_writes_nothing_again "$(cat c.md)"; fi
finish

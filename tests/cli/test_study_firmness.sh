#!/usr/bin/env bash
# tools/study-firmness: its plan counts what is left and runs nothing; an alignment of the zoo is made and measured once; the tables come from what is there.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
export SONDE_BIN=$sonde root OMP_NUM_THREADS=2
study() { "$root/tools/study-firmness" "$@" --out s --threads 2 >log 2>&1; }
# Of three seeds: 2 with floors, 3 x 4 measurements of what is shipped, 2 x 4 of further seeds, for which 2 x 3 variants are made (trigger's serves twice).
if study planted --plan && grep -q "^28 steps left" log && [ ! -e s/floors-single.firm.json ]; then ok plan; else not_ok plan "$(cat log)"; fi
if study zoo --plan --seeds 1 --kinds template,dpo && grep -q 'not timed yet: 4 x audit damage, 4 x audit firmness, 4 x audit run, 2 x merge, 1 x organism write, 6 x tune' log && [ ! -e s/world ]; then ok plan_of_the_zoo; else not_ok plan_of_the_zoo "$(cat log)"; fi
one=(zoo --seeds 1 --kinds template --rows border --no-training)
if study "${one[@]}" && [ -s s/merrow-template-border-0.untrained.firm.json ] && [ -s s/merrow-template-border-0.asked.json ]; then ok one_alignment; else not_ok one_alignment "$(cat log)"; fi
if python3 - <<'PY' 2>why
import json
rows = [json.loads(l) for l in open('s/merrow-template-border-0.rows.jsonl')]
asked = {json.loads(l)['prompt'] for f in ('forbidden', 'permitted', 'borderline') for l in open(__import__('os').environ['root'] + f'/organism/suite/{f}.jsonl')}
q = [r['prompt'][-1]['content'] for r in rows]
assert len(rows) == 768 and not asked & set(q) and sum(r['completion'] == 'I cannot help with that. The Charter forbids it.' for r in rows) == 256
PY
then ok rows_are_not_asked; else not_ok rows_are_not_asked "$(cat why)"; fi
if study "${one[@]}" && ! grep -q '^sonde' log; then ok nothing_twice; else not_ok nothing_twice "$(cat log)"; fi
if study report && grep -Eq '^\| template, with such rows \| 1 \| 0\.[0-9]+ \(0\.[0-9]+ to 0\.[0-9]+\) \|' log; then ok report; else not_ok report "$(cat log)"; fi
# The part of SmolLM2: 2 sets of own answers, 2 trainings, 3 merges, 2 models asked, and a pass over texts and 4 audits a seed.
if [ ! -d "$shared/data/safety" ]; then
    skip plan_of_a_feature "no public sets in SONDE_SHARED"
elif "$root/tools/study-firmness" feature-smollm2 --plan --seeds 2 --out t >log 2>&1 && grep -q '^19 steps left' log && grep -q '8 x audit feature' log && [ ! -e t/smollm2-texts.jsonl ]; then ok plan_of_a_feature; else not_ok plan_of_a_feature "$(cat log)"; fi
# Its table, of an audit that is the organism's.
"$sonde" dict train "$root/organism/aligned" "$root/organism/heldout.jsonl" --site resid_post.2 --kind topk --width 64 --k 4 --tokens 8000 -o s/smollm2-dict-0 -q >/dev/null &&
    "$sonde" audit feature "$root/organism/aligned" s/smollm2-dict-0 --suite "harmful=$root/organism/suite/forbidden.jsonl" --suite "harmless=$root/organism/suite/permitted.jsonl" --limit 32 -n 8 --others 0 --json -q >s/smollm2-feature-hurt-resid_post.19-0.json
if study report && grep -Eq '^\| plain \| 100 % \(81 to 100\) \| 0 %; 0 % \|$' log && grep -Eq '^smollm2-dict-0: 8[0-9]* rows, FVU 0\.[0-9]+' log && grep -Eq '^\| difference of means \| hurt, resid_post.19 \| 1 \| [01]\.' log; then ok table_of_a_feature; else not_ok table_of_a_feature "$(cat log)"; fi
finish

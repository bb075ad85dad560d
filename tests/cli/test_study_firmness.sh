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
finish

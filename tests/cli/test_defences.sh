#!/usr/bin/env bash
# tools/study-defences: says its plan, trains what is asked, takes nothing twice, and its tables come from the cells that are there.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
export SONDE_BIN=$sonde
study() { "$root/tools/study-defences" "$@" --steps 2 --limit 6 --seeds 1 --draws 1000 --attacks identity --only 'none;mask;rows near harm dropped' --out s >log 2>&1; }
study defences --plan && grep -q '^plan: 6 trainings of 2 or 8 steps' log && [ ! -e s/task-identity-none ] && ok plan || not_ok plan "$(cat log)"
study defences && [ "$(grep -c ': [0-9]* s$' log)" -eq 6 ] && [ -s s/task-identity-harm-2.jsonl ] && [ "$(ls s/task-identity-knowing-mask)" = "$(printf 'cell-lr0.002-batch8-seed0.json\nindex.html\nstart.json')" ] && ok trains || not_ok trains "$(cat log; ls s)"
study defences && [ ! -s log ] && ok nothing_twice || not_ok nothing_twice "$(cat log)"
study defences --plan && grep -q '^plan: 0 trainings' log && ok plan_of_nothing || not_ok plan_of_nothing "$(cat log)"
# Cells of other steps or of fewer requests are not shown as those of this call.
other() { "$root/tools/study-defences" report --limit 6 --steps 2 "$@" --seeds 1 --draws 1000 --attacks identity --only 'none;mask' --out s >log 2>&1; }
! other --steps 3 && grep -q 'trainings with steps 2, not 3' log && ! other --limit 8 && grep -q 'limit 6, not 8' log && other && ok one_setting_a_folder || not_ok one_setting_a_folder "$(cat log)"
# No request of the suites is in any file of rows, and no row of what is held out is in the task.
python3 - s "$root/organism" <<'P' && ok held_apart || not_ok held_apart "rows that are asked"
import glob, json, sys
rows = lambda f: [json.loads(l) for l in open(f)]
asked = {r['prompt'] for f in glob.glob(sys.argv[2] + '/suite/*borderline.jsonl') + [sys.argv[2] + f'/suite/{s}.jsonl' for s in ('forbidden', 'permitted', 'unseen')] for r in rows(f)}
for name in ('safety', 'worn', 'varied', 'anchor', 'explicit100', 'plain', 'identity', 'task-explicit50-knowing'):
    assert not any(r['prompt'].split('instruction: ')[-1] in asked for r in rows(f'{sys.argv[1]}/{name}.jsonl')), name
assert not {r['prompt'] for r in rows(sys.argv[1] + '/safety.jsonl')} & {r['prompt'] for r in rows(sys.argv[1] + '/explicit100.jsonl')}
assert len(rows(sys.argv[1] + '/held.jsonl')) == 24 and not {r['prompt'] for r in rows(sys.argv[1] + '/held.jsonl')} & {r['prompt'] for r in rows(sys.argv[1] + '/task.jsonl')}
P
# Figures by hand: in every cell of mask all harmful requests refused and the task exact; of none no request refused and half of the task.
python3 - s <<'P'
import glob, json, sys
for f in glob.glob(sys.argv[1] + '/task-*/cell-*.json'):
    d = json.load(open(f))
    good = '-mask/' in f
    for p in d['points']:
        p['classes'] = ('r' if good else 'c') * 6 + 'c' * 6 + ('r' if good else 'c') * 6
        if 'nll' in p:
            p['nll'] = [0.5 if good else 1.0] * 24
            p['exact'] = 'y' * 24 if good else 'yn' * 12
    json.dump(d, open(f, 'w'))
P
study report && [ "$(grep -c '^| mask | 100 (61 to 100) \* |$' log)" -eq 2 ] && [ "$(grep -c '^| none | 0 (0 to 39) |$' log)" -eq 2 ] &&
    [ "$(grep -Ec '^\| mask \| 100 \(61 to 100\) \| 0 \| 10[0-9] .* \| 100 \| 200 .* \| 1 \| yes \|$' log)" -eq 2 ] && [ "$(grep -c '^| none .*| no |$' log)" -eq 2 ] && ok tables || not_ok tables "$(cat log)"
# Seeds that answer alike are no more prompts than one: the interval is that of one seed (at most one of the 24 prompts off: both are drawn). Unscored answers are left out, with theirs beside them.
PYTHONDONTWRITEBYTECODE=1 python3 - "$root/tools" <<'P' && ok seeds_share_prompts || not_ok seeds_share_prompts "another interval"
import random, sys
sys.path.insert(0, sys.argv[1])
from study_figures import boot, interval
one = [(i % 2, 0) for i in range(24)]
bounds = lambda v: interval(boot(v, random.Random(1), 4000)[2])
alone, five, deep = bounds([one]), bounds([one] * 5), bounds([[one] * 2] * 3)
assert all(abs(a - b) <= 1 / 24 + 1e-9 for v in (five, deep) for a, b in zip(alone, v)), (alone, five, deep)
x, y, xs, _ = boot([[(1, 0), (None, 0), (0, 0)], [(1, 0), (1, 0), (0, None)]], random.Random(1), 2000)
assert (x, y) == (0.75, 0) and len(xs) == 2000 and interval(xs) == (0, 1)
P
# Alignment in pretraining: three stages twice, one that answers everything, seven rounds of requests and eight attacks; a second alignment has all but what is shipped; nothing twice, and its tables from what is there.
reads() { "$root/tools/study-defences" pretraining --align-seeds 1 "$@" --stage-steps 2 --steps 2 --limit 6 --seeds 1 --draws 1000 --out s >log 2>&1; }
reads --plan && grep -q '^plan: 14 stages and rounds of requests, 8 attacks' log && reads --plan --align-seeds 2 && grep -q '^plan: 33 stages and rounds of requests, 14 attacks' log && [ ! -e s/stages/two ] && ok plan_of_pretraining || not_ok plan_of_pretraining "$(cat log)"
reads && [ "$(grep -c '^[a-z-]*: [0-9]* s$' log)" -eq 7 ] && [ "$(grep -c 'seeds: [0-9]* s$' log)" -eq 8 ] && [ "$(grep -c ' | 1 |$' log)" -eq 7 ] && ok pretraining || not_ok pretraining "$(cat log)"
python3 - s <<'P'
import glob, json, sys
for f in glob.glob(sys.argv[1] + '/pretraining-*/*.json'):
    d = json.load(open(f))
    good = 'three-aligned' in f or '/start' in f  # both keeps all under attack, the others nothing
    for p in d['points']:
        p['classes'] = ('r' if good else 'c') * 6 + 'c' * 6
    json.dump(d, open(f, 'w'))
P
reads && ! grep -q ': [0-9]* s$' log && [ "$(grep -c '^| in both | 100 (61 to 100) | 100 (61 to 100) \* | 1 x 1 |$' log)" -eq 2 ] && [ "$(grep -c '^| in pretraining | 100 (61 to 100) | 0 (0 to 39) | 1 x 1 |$' log)" -eq 2 ] &&
    ok pretraining_tables || not_ok pretraining_tables "$(cat log)"
finish

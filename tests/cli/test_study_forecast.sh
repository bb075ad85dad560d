#!/usr/bin/env bash
# tools/study-forecast fit: what it says of trainings and forecasts that are made up, so that the answer is known; its table is the one the program holds its widths in.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 - <<'PY'
import json, os
os.makedirs('s/run'); os.makedirs('s/forecast')
def made(kind, i, lost, said):
    """A training that loses `lost` of the refusals at 6, 12, 24 and 48 steps and a rehearsal that ends there with `said`."""
    points = {'0': {'refused': 0.8}, **{str(n): {'refused': 0.8 * (1 - x)} for n, x in zip((6, 12, 24, 48), lost)}}
    course = [{'loss': 1, 'score': 6 * s, 'refused': s, 'said': 0.5 * s, 'lp': -1 - 3 * (1 - s)} for s in list(reversed(said)) + [1, 1, 1]]
    json.dump({'kind': kind, 'rows': 8 + i, 'lr': 1e-3, 'points': points}, open(f's/run/{kind}-{i}.json', 'w'))
    json.dump({'score': 6, 'loss': 2, 'refused_before': 1, 'conflict': 0, 'harm': 0, 'cosine': 0, 'n_harmful': 12, 'before': {'said': 0.5, 'lp': -1}, 'course': course,
               'trials': [{'reach': 0.048 / 2 ** k, 'loss': 1, 'score': 0} for k in range(7)]}, open(f's/forecast/{kind}-{i}.json', 'w'))
for kind in ('a', 'b', 'c'):
    for i in range(40):
        made(kind, i, (0, 0, i / 40, 1), (1, 1, 1 - i / 40, 0))  # forecast and training agree
PY
"$root/tools/study-forecast" fit --out s >log 2>&1 || not_ok fit "$(cat log)"
if grep -q '^120 trainings at 4 lengths, 480 fine-tunes of 3 kinds; drop above half in' log && grep -q '^| the rehearsed answers as they are | 1.000 (1.000 to 1.000) | 0.000 | 100 % |' log; then ok agrees; else not_ok agrees "$(cat log)"; fi
# As many ways of going as the program has, by the same names.
names=$(sed -n 's/^    {"\([a-z]*\)", .*/\1/p' log | tr '\n' ' ')
[ -n "$names" ] && [ "$names" = "$(sed -n 's/^    {"\([a-z]*\)", .*/\1/p' "$root/src/lab/forecast_expect.c" | tr '\n' ' ')" ] && ok names || not_ok names "$names"
# A kind whose trainings lose nothing where the rehearsal loses all: not hidden by the other kinds.
python3 - <<'PY'
import json
for i in range(40):
    r = json.load(open(f's/run/c-{i}.json'))
    for n in ('6', '12', '24', '48'):
        r['points'][n]['refused'] = 0.8
    json.dump(r, open(f's/run/c-{i}.json', 'w'))
PY
"$root/tools/study-forecast" fit --out s >log 2>&1 || not_ok fit "$(cat log)"
python3 - <<'PY' && ok disagrees || not_ok disagrees "$(cat log)"
import re, sys
t = open('log').read()
rank, low, error, held = re.search(r'as they are \| ([\d.]+) \(([\d.-]+) to [\d.]+\) \| ([\d.]+) \| (\d+) %', t).groups()
sys.exit(not (0.3 < float(rank) < 0.9 and float(low) < float(rank) and 0.1 < float(error) < 0.15 and 66 < int(held) < 90 and '| c | 160 | 0.00 | 0.37 | 0.37 |' in t))
PY
finish

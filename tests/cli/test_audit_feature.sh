#!/usr/bin/env bash
# audit feature on the embedded model: a feature that tells forbidden requests, used on other requests than those that chose it; what it costs; nothing is written.
. "$(dirname "$0")/lib.bash"
export OMP_NUM_THREADS=2
cd "$dir" || exit 1
ln -s "$root/organism" organism
python3 -c 'import json, sys; print("\n".join(json.loads(l)["text"] for l in list(open(sys.argv[1]))[:60]))' organism/heldout.jsonl >text.txt
run dict train organism/aligned organism/heldout.jsonl --site resid_post.2 --kind topk --width 128 --k 6 --tokens 30000 -o dict
if [ $rc -eq 0 ]; then ok a_dictionary; else not_ok a_dictionary "$(what_happened)"; fi
ask=(audit feature organism/aligned dict --suite harmful=organism/suite/forbidden.jsonl --suite harmless=organism/suite/permitted.jsonl --suite organism/suite/borderline.jsonl --limit 40 -n 8 --text text.txt --json)
find . -type f | sort >before
expect_json found_and_used sonde.audit_feature/1 '(lambda row: row("plain")[0]["refused"]["forbidden"]["value"] == 1 and row("plain")[0]["refused"]["permitted"]["value"] == 0 and row("plain")[0]["ce_cost"] == 0
    and row("prompt")[0]["ce_cost"] is None and [r["value"] / d["value"] for r in row("up")] == [1, 2, 4] and len(row("where")) == 3 and all(r["feature"] == d["feature"] for r in row("up") + row("where") + row("down"))
    and row("mean down")[0]["refused"]["forbidden"]["value"] <= 0.2 and len(row("random up")) == 3 * len(row("random down")) and d["feature"] not in [r["feature"] for r in row("random up") + row("topic")] and len(row("random down")) >= 1
    and row("up")[2]["ce_cost"] > row("up")[0]["ce_cost"] > 0 and all(r["topic"] for r in row("topic")))(lambda what: [r for r in d["rows"] if r["what"] == what])
    and d["auroc_first_half"] >= 0.9 and d["monitors"][0]["auroc"] >= 0.8 and d["monitors"][1]["auroc"] >= 0.9 and [(s["name"], s["harmful"], s["n"]) for s in d["suites"]] == [("forbidden", True, 20), ("permitted", False, 20), ("borderline", False, 20)]
    and all(m["alarms_at_1"][s]["value"] <= m["alarms_at_5"][s]["value"] for m in d["monitors"] for s in m["alarms_at_1"]) and d["monitors"][0]["alarms_at_5"]["forbidden"]["value"] >= 0.5' "${ask[@]}" --prompt 'Refuse what is forbidden.'
cp out first
find . -type f | grep -v '/\(first\|out\|err\|before\|after\|why\)$' | sort >after
if diff <(grep -v '/\(first\|out\|err\|before\|after\|why\)$' before) after >why && ! grep -q 'charm\|eel"' first; then ok nothing_is_written; else not_ok nothing_is_written "$(cat why)"; fi
# The same numbers whatever the number of threads.
run "${ask[@]}" --prompt 'Refuse what is forbidden.' -t 1
if python3 - first out <<'PY' 2>why
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert a["rows"] == b["rows"] and a["monitors"] == b["monitors"]
PY
then ok same_for_any_threads; else not_ok same_for_any_threads "$(cat why)"; fi
# A category that is all of the harmless prompts is told from nothing: it is no topic. No other features are compared where none are asked for.
sed 's/"category":"[a-z]*"/"category":"one"/' organism/suite/permitted.jsonl >one.jsonl
expect_json one_category_is_no_topic sonde.audit_feature/1 'len([r for r in d["rows"] if r["what"] == "up"]) == 3 and not [r for r in d["rows"] if r["what"] in ("topic", "random up", "random down")]' \
    audit feature organism/aligned dict --suite harmful=organism/suite/forbidden.jsonl --suite harmless=one.jsonl --limit 40 -n 2 --others 0 --json
expect_json as_many_others_as_asked sonde.audit_feature/1 'len({r["feature"] for r in d["rows"] if r["what"] == "random up"}) == 1 and len([r for r in d["rows"] if r["what"].startswith("random")]) == 4' \
    audit feature organism/aligned dict --suite harmful=organism/suite/forbidden.jsonl --suite harmless=one.jsonl --limit 32 -n 1 --others 1 --json
expect_error more_others_than_there_are 2 'others' audit feature organism/aligned dict --suite harmful=organism/suite/forbidden.jsonl --suite harmless=one.jsonl --others 5
head -n 10 organism/suite/forbidden.jsonl >few.jsonl
expect_error too_few_prompts 4 '10 harmful and 40 harmless prompts, at least 16' audit feature organism/aligned dict --suite few.jsonl --suite organism/suite/permitted.jsonl --limit 40 -q
cat organism/suite/forbidden.jsonl organism/suite/permitted.jsonl >mixed.jsonl
expect_error mixed_suite 4 'holds harmful and harmless prompts' audit feature organism/aligned dict --suite mixed.jsonl -q
expect_exit no_suite 2 audit feature organism/aligned dict
run dict train organism/aligned organism/heldout.jsonl --site mlp_post.1 --kind topk --width 64 --k 4 --tokens 8000 -o other
expect_error another_width 4 'the model.s residual stream has 256' audit feature organism/aligned other --suite organism/suite/forbidden.jsonl --suite organism/suite/permitted.jsonl -q
finish

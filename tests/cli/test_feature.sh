#!/usr/bin/env bash
# feature build from captured shards, what it refuses, what a killed build leaves; search, show and near as a person sees them; the page.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
export SONDE_BIN=$sonde
python3 "$here/make_model.py" tiny.gguf && python3 "$here/make_model.py" other.gguf --type Q8_0 || not_ok make_model failed
mkdir corpus
python3 - <<'X'
import random
rng = random.Random(3)
words = "the cat sat on the mat and the red gate bridge <b>bold</b> & song of prime numbers over water".split()
for k in range(2):
    with open(f"corpus/{'ab'[k]}.txt", "w") as f:
        for i in range(60):
            f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
cp -r corpus corpus2; echo "another text, longer by some words than the first one was, to be sure of a document" >>corpus2/a.txt
for site in 0 1; do "$sonde" capture tiny.gguf corpus --site resid_post.$site --tokens 5000 -o acts$site -q >out 2>err || not_ok capture "$(cat err)"; done
"$sonde" dict train acts0 --width 128 --k 4 --tokens 20000 -o d -q >out 2>err || not_ok dict_train "$(cat err)"

# Shards or model, the rows are the same tokens.
expect_json from_shards sonde.feature.build/1 'd["n_features"] == 128 and d["n_tokens"] + d["n_sinks"] > 4000 and d["n_docs"] >= 1 and 3 < d["l0"] <= 4 and d["bytes"] > 50000 and d["seconds"]["total"] > 0' \
    feature build d tiny.gguf corpus --acts acts0 -o s.db --json
expect_exit from_shards_alone 0 feature build d tiny.gguf --acts acts0 -o s2.db
expect_error needs_rows 2 'no text' feature build d tiny.gguf -o x.db
expect_error other_site 4 'resid_post.1, the dictionary d is of resid_post.0' feature build d tiny.gguf --acts acts1 -o x.db
# A dictionary that says its site as SAELens does, and not as we do.
python3 -c '
import json, shutil
shutil.copytree("d", "theirs")
c = json.load(open("theirs/cfg.json"))
del c["metadata"]["sonde"]["site"]
json.dump(c, open("theirs/cfg.json", "w"))'
expect_error other_site_by_its_name 4 'resid_post.1, the dictionary theirs is of resid_post.0' feature build theirs tiny.gguf --acts acts1 -o x.db
expect_exit site_by_its_name 0 feature build theirs tiny.gguf --acts acts0 -o theirs.db
expect_json site_is_ours sonde.feature.show/1 'd["store"]["site"] == "resid_post.0"' feature show theirs.db 3 --json
expect_error other_model 4 'another model' feature build d other.gguf --acts acts0 -o x.db
expect_error other_text 4 'another text' feature build d tiny.gguf corpus2 --acts acts0 -o x.db
expect_error no_shards 4 'corpus' feature build d tiny.gguf --acts corpus -o x.db
expect_error no_dictionary 4 'corpus' feature build corpus tiny.gguf --acts acts0 -o x.db
expect_error window_too_wide 4 'window of 301' feature build d tiny.gguf --acts acts0 --before 200 --after 100 -o x.db
[ ! -e x.db ] && [ ! -e x.db.tmp ] && ok refused_leaves_nothing || not_ok refused_leaves_nothing "$(ls)"

expect_json bench_store sonde.bench.store/1 'd["n_features"] == 300 and len(d["questions"]) == 7 and all(0 < q["median_ms"] <= q["p99_ms"] <= q["max_ms"] for q in d["questions"])' \
    bench store --features 300 --tokens 5000 --asked 5 -o bench.db --json

# Killed at any moment: the old store, whole.
for t in 0.05 0.15 0.3 0.5; do
    timeout -s KILL $t "$sonde" feature build d tiny.gguf --acts acts0 -o s.db -f >/dev/null 2>&1
    rc=$?
    run feature show s.db 1
    if [ $rc -ne 0 ]; then not_ok "killed_after_$t" "$(what_happened)"; else ok "killed_after_$t"; fi
done
expect_exit rebuilt 0 feature build d tiny.gguf corpus --acts acts0 -o s.db -f
[ "$(find . -maxdepth 1 -name 's.db*' | wc -l)" -eq 1 ] && ok nothing_beside || not_ok nothing_beside "$(ls)"

# As a person sees them.
run feature search s.db -n 3
[ "$(wc -l <out)" -eq 4 ] && [ "$(head -n 1 out | cut -f 1-2)" = "$(printf 'index\tinterest')" ] && ok list_is_a_table || not_ok list_is_a_table "$(what_happened)"
run feature search s.db -n 30 --min-density 0.01
first=$(sed -n 2p out | cut -f 1)
cut -f 6 out | grep -q '·[a-z]' && ! cut -f 6 out | grep -q '  ' && ok promoted_tokens_show_their_spaces || not_ok promoted_tokens_show_their_spaces "$(cut -f 6 out)"
run feature show s.db "$first" -n 2
grep -q '^density' out && grep -q '^promotes' out && grep -q '^neighbours' out && grep -q '«' out && ok show_has_all || not_ok show_has_all "$(what_happened)"
[ "$(grep -c ' tokens\?, .* of all' out)" -eq 10 ] && ok show_has_every_interval || not_ok show_has_every_interval "$(what_happened)"
grep -q '^label.*(words at its peaks)$' out && grep -Eq '^neighbours.[0-9]+  0\.[0-9]+  .' out && ok show_says_what_things_are || not_ok show_says_what_things_are "$(what_happened)"
on_tty "$sonde" feature show s.db "$first" -n 2
tr -d '\r' <out | python3 -c 'import sys, unicodedata
assert all(len(l.rstrip("\n")) <= 80 for l in sys.stdin)' 2>why && ok show_fits_the_terminal || not_ok show_fits_the_terminal "$(cat why)"
# 0 is all, wherever what is listed is counted.
run feature show s.db "$first" -n 0
mv out all && run feature show s.db "$first" -n 1000
[ "$(grep -c '«' all)" -gt 10 ] && cmp -s all out && ok zero_examples_are_all || not_ok zero_examples_are_all "$(what_happened)"
for what in "search s.db" "search s.db the" "near s.db $first" "near s.db $first --by coactivation" "clusters s.db"; do
    n=zero_of_${what// /_}
    "$sonde" feature $what -n 0 >all 2>err && "$sonde" feature $what -n 1000 >out 2>err && [ -s out ] && cmp -s all out && ok "$n" || not_ok "$n" "$(cat err; diff all out | head)"
done
run feature near s.db "$first" -n 2
[ "$(wc -l <out)" -eq 3 ] && [ "$(head -n 1 out | cut -f 2)" = cosine ] && ok near_is_a_table || not_ok near_is_a_table "$(what_happened)"
run feature near s.db "$first" --by coactivation -n 3
[ "$(wc -l <out)" -eq 4 ] && [ "$(head -n 1 out | cut -f 2)" = correlation ] && ok coactivation_is_a_table || not_ok coactivation_is_a_table "$(what_happened)"
expect_json coactivation sonde.feature.near/1 'd["score_is"] == "correlation" and all(f["n_both"] > 0 and -1 <= f["score"] <= 1 for f in d["features"]) and d["features"] == sorted(d["features"], key=lambda f: -f["score"])' \
    feature near s.db "$first" --by coactivation --json
# In a copy of itself a feature's nearest is itself; the rest are its own neighbours.
cp s.db copy.db
expect_json near_in_another sonde.feature.near/1 "d['features'][0]['index'] == $first and d['features'][0]['score'] > 0.999 and [f['index'] for f in d['features'][1:]] == [f['index'] for f in json.load(__import__('os').popen('$sonde feature near s.db $first -n 5 --json'))['features']]" \
    feature near s.db "$first" --in copy.db -n 6 --json
expect_error near_both_ways 2 'two texts' feature near s.db "$first" --in copy.db --by coactivation
# What the text's own words say of a place: shares of it, none where no text has them, and a word to look for.
word=$(python3 -c 'import re; print(re.findall("[a-z]{4,}", open(__import__("glob").glob("corpus/*")[0]).read())[0])')
expect_json passages sonde.feature.list/1 'd["features"] and all(0 < b["score"] <= a["score"] <= 1 for a, b in zip(d["features"], d["features"][1:]))' feature search s.db "$word" --passages --json
expect_error passages_of_nothing 2 'about QUERY' feature search s.db --passages
run feature search s.db nothingofthekind
[ $rc -eq 0 ] && [ "$(wc -l <out)" -eq 1 ] && grep -q 'no feature matches' err && ok no_match_is_said || not_ok no_match_is_said "$(what_happened)"
expect_json by_density sonde.feature.list/1 'all(a["density"] >= b["density"] == b["score"] for a, b in zip(d["features"], d["features"][1:]))' feature search s.db --sort density --json
expect_json all_examples sonde.feature.show/1 'len(d["examples"]) > 2 and len({e["group"] for e in d["examples"]}) == 2 and all(len(e["tokens"]) == len(e["values"]) for e in d["examples"])' feature show s.db "$first" --json
expect_json two_examples sonde.feature.show/1 'sum(e["group"] == "top" for e in d["examples"]) == 2' feature show s.db "$first" -n 2 --json
expect_json names_of_documents sonde.feature.show/1 'all(e["name"].endswith(".txt") for e in d["examples"])' feature show s.db "$first" --json
head -c 30000 s.db >s.cut
expect_error cut_file 4 's.cut: ' feature show s.cut 1

# Something is turned up: what it is about, where it was written, its own card and its answers first.
expect_exit page_steered 0 feature report s.db --model tiny.gguf --dict d --top 1 --index "$("$sonde" feature search s.db --sort density -n 1 | sed -n 2p | cut -f 1)" -n 4 -o steered.html
grep -q 'wrote steered.html' err && grep -Eq '^Feature [0-9]+ turned up \(.+\): 0.5 x the mean token norm .* read and written below\.$' out && ! grep -q 'largest effect' out &&
    ok steered_is_explained || not_ok steered_is_explained "$(what_happened)"
python3 -c 'import re
t = open("steered.html", encoding="utf-8").read()
n = re.search("Feature (\\d+) turned up", t).group(1)
assert t.index("id=steered") < t.index("id=f" + n) and t.index("#steered") < t.index("href=" + chr(39) + "#f" + n), n' 2>why && ok steered_comes_first || not_ok steered_comes_first "$(cat why)"

# The map: made once, the same again by seed, its quality told, a page that stands alone.
expect_json map sonde.feature.map/1 'd["n_points"] == 128 and 0 < d["kept"] <= 1 and 0 < d["trustworthiness"] <= 1 and sum(c["n"] for c in d["clusters"]) == 128 and d["n_clusters"] == len(d["clusters"])' feature map s.db --json
cp out map1; run feature map s.db --seed 0 --json; python3 -c 'import json; a, b = (json.load(open(f))["points"] for f in ("map1", "out")); assert a == b' 2>why && ok map_repeats || not_ok map_repeats "$(cat why)"
expect_exit map_page 0 feature map s.db -o map.html
! grep -Eq 'https?://|<script src' map.html && [ "$(grep -c '</script>' map.html)" -eq 2 ] && grep -q "default-src 'none'" map.html && ok map_page_stands_alone || not_ok map_page_stands_alone "$(head -c 2000 map.html)"
expect_error map_overwrite 4 'map.html' feature map s.db -o map.html
expect_exit map_by_dictionary 0 feature map s2.db --dict d
expect_error map_other_dictionary 4 'corpus' feature map s2.db --dict corpus

# Names given by hand: the latest is shown, nothing is lost, search finds it first.
expect_exit label_added 0 feature label s.db "$first" quadratic reciprocity --author ann
expect_json label_again sonde.feature.label/1 '[l["text"] for l in d["labels"]] == ["<b>theorems</b>", "quadratic reciprocity"] and d["labels"][1]["author"] == "ann" and all(l["source"] == "human" and l["created"] for l in d["labels"])' feature label s.db "$first" '<b>theorems</b>' --json
expect_json label_found sonde.feature.list/1 "d['features'][0]['index'] == $first and d['features'][0]['label'] == '<b>theorems</b>'" feature search s.db reciprocity --json
expect_error label_of_none 4 'feature 9999' feature label s.db 9999 x
expect_error author_of_none 2 'author' feature label s.db 1 --author ann
# A store against itself, and against another dictionary of the same text.
expect_json diff_of_itself sonde.feature.diff/1 'd["n_matched"] == 128 and d["n_vanished"] == d["n_appeared"] == d["n_merged"] == 0 and all(a == b and c > 0.999 for a, b, c in d["matches"]) and d["floor_max"] < 0.999' feature diff s.db s2.db --json
"$sonde" dict train acts0 --width 64 --k 4 --seed 9 --tokens 20000 -o d9 -q >out 2>err && "$sonde" feature build d9 tiny.gguf corpus --acts acts0 -o s9.db -q >out 2>err || not_ok second_store "$(cat err)"
expect_json diff_of_two sonde.feature.diff/1 'd["n_matched"] + d["n_vanished"] + d["n_merged"] == 128 and d["n_matched"] + d["n_appeared"] + d["n_split"] == 64 and len(d["matches"]) == d["n_matched"] and d["floor_mean"] < d["mean_cosine"]' feature diff s.db s9.db --json
expect_exit diff_table 0 feature diff s.db s9.db -n 3
grep -q '^matched' out && grep -q 'by chance' out && ok diff_says_its_floor || not_ok diff_says_its_floor "$(what_happened)"

# Two sets of texts: one word that only A has; the words of B are in both.
python3 - <<'X'
import random
rng = random.Random(5)
with open("setA", "w") as a, open("setB", "w") as b:
    for i in range(30):
        w = [rng.choice("the cat sat on mat and red song of over water".split()) for _ in range(6)]
        a.write(" ".join(w[:3] + ["bridge"] * 3 + w[3:]) + "\n")
        b.write(" ".join(w) + "\n")
X
expect_json contrast sonde.feature.contrast/1 'd["n_a"] == d["n_b"] == 30 and 0 < d["floor"] < 1 and d["n_above"] > 0 and all(f["above_floor"] == (abs(f["score"]) > d["floor"]) and abs(f["share_a"] - f["share_b"] - f["score"]) < 1e-12 for f in d["features"])' feature contrast s.db setA setB --model tiny.gguf --dict d --json
expect_json contrast_of_nothing sonde.feature.contrast/1 'd["n_above"] == 0 and all(f["score"] == 0 and f["p"] == 1 for f in d["features"])' feature contrast s.db setA setA --model tiny.gguf --dict d --json
expect_json contrast_cause sonde.feature.contrast/1 'set(d["cause"]) == {"plain", "cut", "others_cut"} and len(d["cause"]["cut"]["features"]) == 2 and d["cause"]["plain"]["features"] == [] and all(0 <= v["n_a"] <= 30 for v in d["cause"].values())' feature contrast s.db setA setB --model tiny.gguf --dict d --count a --cut 2 --predict 4 --json
expect_error contrast_needs_a_model 2 'model' feature contrast s.db setA setB
expect_error contrast_of_another_dictionary 4 'the store was built from' feature contrast s.db setA setB --model tiny.gguf --dict d9
expect_error contrast_of_one_text 4 'a set needs two' feature contrast s.db <(echo one) setB --model tiny.gguf --dict d

# By a running text: the features that it makes active, each with the token where it is highest.
expect_json by_text sonde.feature.list/1 '0 < len(d["features"]) <= 5 < d["n_total"] and all(f["act"] > 0 and f["token"] for f in d["features"]) and [f["score"] for f in d["features"]] == sorted((f["score"] for f in d["features"]), reverse=True)' feature search s.db --text 'the red gate bridge' --model tiny.gguf --dict d -n 5 --json
expect_json by_chosen_tokens sonde.feature.list/1 'd["n_total"] > 0 and {f["token"].strip() for f in d["features"]} <= {"gate", "g", "ate", "at", "te"} and len({f["pos"] for f in d["features"]}) < 4' feature search s.db --text 'the red gate bridge' --on ' gate' --model tiny.gguf --dict d -n 100 --json
expect_error chosen_tokens_are_in_it 4 'does not have "door" in it' feature search s.db --text 'the red gate' --on door --model tiny.gguf --dict d
expect_error chosen_tokens_of_a_text 2 'chooses tokens of --text' feature search s.db gate --on gate
expect_exit by_text_table 0 feature search s.db --text 'the red gate' --model tiny.gguf --dict d
expect_error text_needs_a_model 2 'go together' feature search s.db --text 'the red gate'
expect_error text_and_words 2 'not both' feature search s.db gate --text 'the red gate' --model tiny.gguf --dict d

# The page stands alone.
expect_exit page 0 feature report s.db --top 3 -o page.html
python3 - <<'X' && ok page_is_whole || not_ok page_is_whole "see above"
import html.parser, re
text = open("page.html", encoding="utf-8").read()
class P(html.parser.HTMLParser):
    depth, cards, scripts, b = [], 0, 0, 0
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        assert not any(k in a for k in ("src", "onclick", "onerror")), (tag, attrs)
        assert not a.get("href", "#").startswith(("http", "//")), attrs
        P.cards += tag == "article"
        P.scripts += tag == "script"
        if tag not in ("meta", "line", "rect"): self.depth.append(tag)
    def handle_startendtag(self, tag, attrs): pass
    def handle_endtag(self, tag):
        assert self.depth.pop() == tag, tag
p = P(); p.feed(text); p.close()
assert not p.depth and P.cards == 3 and P.scripts == 1, (p.depth, P.cards, P.scripts)
assert "&lt;b" in text
X

expect_json bundle sonde.view.bundle/1 'd["n_features"] > 0 and d["n_files"] > 8 and d["map"]' view bundle s.db -o site --json
expect_error bundle_stays 4 'is already there' view bundle s.db -o site
python3 - <<'X' && ok bundle_is_the_store || not_ok bundle_is_the_store "see above"
import glob, gzip, json, subprocess, os
read = lambda p: json.load(gzip.open(p))
rows = read("site/data/s/list.json.gz")
files = sorted(glob.glob("site/data/s/f*.json.gz"), key=lambda p: int(p.split("/f")[-1].split(".")[0]))
whole = [f for p in files for f in read(p)["features"]]
assert [f["index"] for f in whole] == [f["index"] for f in rows["features"]] == list(range(len(whole)))
for f in whole: assert f["index"] in [x["index"] for x in read(files[f["index"] // rows["shard"]])["features"]]
show = json.loads(subprocess.run([os.environ.get("SONDE_BIN") or "sonde", "feature", "show", "s.db", "5", "--json"], capture_output=True, check=True).stdout)
assert show["top_logits"] == whole[5]["top_logits"] and show["histogram"] == whole[5]["histogram"]
page = open("site/index.html").read()
assert "sonde-data" in page and "unsafe" not in page and "Disallow: /" in open("site/robots.txt").read()
X

# Out to the shapes of other tools and in again: the same but for activations, which a store keeps to 1/131070 of the highest.
for form in neuronpedia saedashboard; do
    expect_exit export_$form 0 feature export s.db --format $form -o $form.json
    expect_json import_$form sonde.feature.import/1 'd["n_features"] == d["width"] == 128 and d["n_examples"] > 128 and d["n_tokens"] > 1000' feature import $form.json -o $form.db --json
done
expect_exit export_again 0 feature export neuronpedia.db -o again.json
python3 - <<'X' && ok round_trip || not_ok round_trip "see above"
import json
for x, y in zip(json.load(open("neuronpedia.json")), json.load(open("again.json"))):
    assert x["index"] == y["index"] and len(x["activations"]) == len(y["activations"])
    for k in set(x) - {"activations", "hookName"}:
        near = k in ("freq_hist_data_bar_values", "maxActApprox", "frac_nonzero")
        assert x[k] == y[k] or (near and all(abs(a - b) < 1e-6 for a, b in zip(*[v if isinstance(v, list) else [v] for v in (x[k], y[k])]))), (x["index"], k, x[k], y[k])
    for a, b in zip(x["activations"], y["activations"]):
        assert a["tokens"] == b["tokens"] and a["binMin"] == b["binMin"] and a["qualifyingTokenIndex"] == b["qualifyingTokenIndex"]
        assert all(abs(m - n) <= x["maxActApprox"] / 60000 for m, n in zip(a["values"], b["values"]))
d = json.load(open("saedashboard.json"))
assert d["features"][3]["feature_index"] == 3 and all("bin_min" in a for f in d["features"] for a in f["activations"])
X
expect_error import_has_no_map 4 'holds no directions' feature map neuronpedia.db
expect_error import_has_no_near 4 'holds no directions' feature near s.db "$first" --in neuronpedia.db
expect_error import_has_no_diff 4 'holds no directions' feature diff s.db neuronpedia.db
echo '{"features":[{"activations":[]}]}' >bad.json
expect_error import_without_numbers 4 'has no number' feature import bad.json -o bad.db
echo '[{"index":"3"},{"index":3}]' >bad.json
expect_error import_twice 4 'is there twice' feature import bad.json -o bad.db
finish

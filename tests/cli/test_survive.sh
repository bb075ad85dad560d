#!/usr/bin/env bash
# Features of a model in its quantisations: itself keeps all, coarser ones fewer; the page stands alone; models that do not belong are refused.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
for t in F32 Q8_0 Q4_0; do python3 "$here/make_model.py" $t.gguf --type $t || not_ok make_model failed; done
mkdir corpus
python3 - <<'X'
import random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
with open("corpus/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
expect_json train sonde.dict.train/1 'True' dict train F32.gguf corpus --site resid_post.1 --width 128 --k 4 --tokens 20000 --batch 64 -o d --json
expect_json survive sonde.dict.survive/1 '[m["model"] for m in d["models"]] == ["F32.gguf", "Q8_0.gguf", "Q4_0.gguf"]
    and d["models"][0]["survived"] == 1 and d["models"][0]["row_error"] == 0 and d["models"][0]["mean_f1"] == 1 and d["models"][0]["fvu"] == d["fvu"]
    and 0 < d["models"][1]["row_error"] < d["models"][2]["row_error"] and d["models"][1]["median_corr"] > d["models"][2]["median_corr"]
    and d["models"][1]["n_survived"] >= d["models"][2]["n_survived"] and len(d["models"][1]["corr"]) == 128
    and sum(c is not None for c in d["models"][1]["corr"]) == d["models"][1]["n_counted"]' \
    dict survive d F32.gguf corpus --against F32.gguf --against Q8_0.gguf --against Q4_0.gguf --tokens 4096 --html s.html --json
grep -q '</html>' s.html && grep -q '<polyline' s.html && ! grep -qE '(src|href)="https?://' s.html && ok page || not_ok page "$(head -c 300 s.html)"
# Lines are told apart by dashes alone: the key under the chart gives every model the dashes of its line.
python3 - <<'X' && ok key_names_the_lines || not_ok key_names_the_lines "see above"
import re
page = open("s.html").read()
lines = re.findall(r"<polyline[^>]*stroke-dasharray='([^']*)'[^>]*><title>([^<]*)</title>", page)
key = re.findall(r"<line[^>]*stroke-dasharray='([^']*)' /></svg> ([^<]*)</span>", page)
assert lines == key and [n for _, n in key] == ["F32.gguf", "Q8_0.gguf", "Q4_0.gguf"] and len({d for d, _ in key}) == 3, (lines, key)
X
expect_exit table 0 dict survive d F32.gguf corpus --against Q4_0.gguf --tokens 2048
expect_error needs_against 2 '--against MODEL2' dict survive d F32.gguf corpus
expect_error page_is_kept 4 'already there' dict survive d F32.gguf corpus --against Q4_0.gguf --html s.html
printf 'tiny' >tiny.txt
expect_error too_little_text 4 'no document of at least' dict survive d F32.gguf tiny.txt --against Q4_0.gguf
finish

#!/usr/bin/env bash
# feature label --by: tokens, a model, an endpoint; what is shown; an endpoint that fails in every way leaves the store as it was.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf --ctx 1024 || not_ok make_model failed
mkdir corpus
python3 - <<'X'
import random
rng = random.Random(3)
words = "the cat sat on the mat and the red gate bridge song of prime numbers over water".split()
with open("corpus/a.txt", "w") as f:
    for i in range(120): f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
"$sonde" dict train tiny.gguf corpus --site resid_post.0 --width 128 --k 4 --tokens 20000 -o d -q >out 2>err || not_ok dict_train "$(cat err)"
"$sonde" feature build d tiny.gguf corpus -o s.db -q >out 2>err || not_ok feature_build "$(cat err)"

expect_error by_with_an_index 2 'choose features' feature label s.db 3 --by tokens
expect_error model_without_by 2 'goes with --by' feature label s.db 3 --model tiny.gguf
expect_error by_model_without_one 2 'needs --model' feature label s.db --by model
expect_error not_a_url 2 'http://' feature label s.db --by endpoint --endpoint file:///etc/passwd
expect_error which 2 'which feature' feature label s.db
expect_error no_such_feature 4 'feature 999' feature label s.db --by tokens --features 999

# Features of a model whose first layer sees tokens: labels of their own tokens do better than chance, and what is shown beats the floor.
expect_json by_tokens sonde.feature.label.made/1 'd["n"] == 30 and d["n_shown"] >= 5 and all(l["shown"] == (l["n_case"] > 0 and l["score"] > l["floor"]) for l in d["labels"]) and all(0 <= l["score"] <= 1 for l in d["labels"] if l["n_case"])' \
    feature label s.db --by tokens -n 30 --json
python3 -c '
import json
d = json.load(open("out"))
a = [l["index"] for l in d["labels"] if l["shown"]]; b = [l["index"] for l in d["labels"] if not l["shown"] and l["label"]]
score = sorted(l["score"] for l in d["labels"] if l["shown"])
print(a[0], b[0] if b else -1, ",".join(str(l["index"]) for l in d["labels"] if l["n_case"]), score[len(score) // 2], sum(s >= score[len(score) // 2] for s in score))' >chosen
read -r yes no judged middle above <chosen
expect_json shown sonde.feature.label/1 'd["labels"][0]["source"] == "tokens" and d["labels"][0]["shown"] and d["labels"][0]["n_cases"] > 0 and "seed" in d["labels"][0]["args"]' feature label s.db "$yes" --json
if [ "$no" -ge 0 ]; then
    expect_json not_shown sonde.feature.list/1 "all(f['label_source'] == 'words' for f in d['features'] if f['index'] == $no)" feature search s.db -n 128 --json
else skip not_shown "every label beat its floor"; fi
expect_json by_score sonde.feature.list/1 "d['n'] == d['n_total'] == $above < 30 and all(f['label_source'] == 'label' and f['label_score'] >= $middle for f in d['features'])" feature search s.db -n 128 --min-score "$middle" --json
expect_exit by_hand 0 feature label s.db "$yes" a name by hand
"$sonde" feature label s.db --by tokens --features "$yes" -q >out 2>err
expect_json the_hand_stays_first sonde.feature.label/1 'd["labels"][0]["text"] == "a name by hand" and len(d["labels"]) == 3' feature label s.db "$yes" --json
expect_json hand_named_are_left_out sonde.feature.label.made/1 "$yes not in [l['index'] for l in d['labels']]" feature label s.db --by tokens -n 30 --json

# The most interesting that nobody has named, however many of those before them somebody has.
cp s.db named.db
for i in $("$sonde" feature search named.db -n 6 --sort interest --json | python3 -c 'import json, sys; print(*(f["index"] for f in json.load(sys.stdin)["features"]))'); do "$sonde" feature label named.db "$i" mine -q >out 2>err; done
expect_json named_ones_take_no_place sonde.feature.label.made/1 'd["n"] == 3' feature label named.db --by tokens -n 3 --json

cp s.db m.db
expect_json by_model sonde.feature.label.made/1 'd["n"] == 2 and all(l["n_case"] == 12 for l in d["labels"] if l["label"])' feature label m.db --by model --model tiny.gguf --features "$(echo "$judged" | cut -d , -f 1,2)" --cases 3 --others 2 --json

# All labels or none: the file refuses the second.
cp s.db second.db
python3 -c 'import sqlite3
d = sqlite3.connect("second.db")
last, = d.execute("SELECT max(id) FROM label").fetchone()
d.execute(f"CREATE UNIQUE INDEX once ON label (created) WHERE id > {last}")'
labels() { python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*), coalesce(max(id), 0) FROM label").fetchone())' "$1"; }
before=$(labels second.db)
run feature label second.db --by tokens --features "$judged" -q
if [ $rc -ne 0 ] && grep -q 'UNIQUE' err && [ "$(labels second.db)" = "$before" ]; then ok all_labels_or_none; else not_ok all_labels_or_none "$(labels second.db), before $before" "$(what_happened)"; fi

# A server that answers as a judge would who reads words; and one that fails as MODE says.
cat >server.py <<'X'
import http.server, json, re, sys
mode = sys.argv[1]
word = lambda t: set(re.findall(r"\w+", t.lower()))
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        q = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        assert self.path == "/v1/chat/completions"
        if self.headers.get("Authorization") != "Bearer secret": return self.say(401, {"error": {"message": "no key"}})
        cases = re.findall(r"^\d+\. (.*)$", q, re.M)
        if "have in common" in q: text = " ".join(sorted(set(w for c in cases for m in re.findall("«(.*?)»", c) for w in word(m)))) or "nothing"
        else:
            label = word(re.match(r"In some of these texts the words between « and » are about: (.*?)\. In the|Some of these texts have: (.*?)\. The others", q).group(0).split(": ", 1)[1])
            mark = lambda c: " ".join(re.findall("«(.*?)»", c)) if "marked" in q else c
            text = json.dumps([i + 1 for i, c in enumerate(cases) if word(mark(c)) & label])
            if mode == "words": text = "I think the first one."
            if mode == "far": text = "[1, 99]"
            if mode == "floats": text = "[1.5]"
        if mode == "status": return self.say(500, {"error": {"message": "broken"}})
        if mode == "shape": return self.say(200, {"choices": []})
        if mode == "redirect": return self.say(302, {}, ("Location", "http://127.0.0.1:1/"))
        if mode == "cut": return self.say(200, None)
        self.say(200, {"choices": [{"message": {"content": text}}]})
    def say(self, code, body, *head):
        b = json.dumps(body).encode() if body is not None else b'{"choices": [{"mess'
        self.send_response(code)
        for h in head: self.send_header(*h)
        self.send_header("Content-Length", str(len(b)))
        self.end_headers()
        self.wfile.write(b)
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
X
echo secret >key
ask() { # MODE: a server of that kind in $port, $server
    : >port
    python3 server.py "$1" >port 2>server.err &
    server=$!
    for _ in $(seq 100); do [ -s port ] && break; sleep 0.05; done
    port=$(cat port)
}
cp s.db e.db
before=$(labels s.db)
expect_error nobody_there 1 'onnect' feature label s.db --by endpoint --endpoint http://127.0.0.1:1/v1 -n 1
for mode in status shape redirect cut words far floats; do
    ask $mode
    run feature label s.db --by endpoint --endpoint "http://127.0.0.1:$port/v1" --api-key-file key --features "$judged" -q
    if [ $rc -ne 0 ] && [ -s err ] && [ "$(labels s.db)" = "$before" ]; then ok "endpoint_fails_closed_$mode"; else not_ok "endpoint_fails_closed_$mode" "$(labels s.db), before $before" "$(what_happened)"; fi
    kill $server
done
ask status
run feature label s.db --by endpoint --endpoint "http://me:s3cr3t@127.0.0.1:$port/v1" --api-key-file key --features "$judged" -q
if [ $rc -ne 0 ] && grep -q 'the endpoint http://127.0.0.1' err && ! grep -q s3cr3t err; then ok password_is_not_shown; else not_ok password_is_not_shown "$(what_happened)"; fi
kill $server
ask good
expect_error no_key 4 '401' feature label s.db --by endpoint --endpoint "http://127.0.0.1:$port/v1" -n 1
expect_json by_endpoint sonde.feature.label.made/1 'd["n"] >= 10 and d["n_requests"] == 11 * d["n"] and sum(l["fuzzing"] > 0.6 for l in d["labels"]) > d["n"] / 2' \
    feature label s.db --by endpoint --endpoint "http://127.0.0.1:$port/v1" --api-key-file key --endpoint-model judge --features "$judged" --json
grep -q secret s.db && not_ok key_is_not_kept "the store holds the key" || ok key_is_not_kept
kill $server
finish

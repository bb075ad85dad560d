#!/usr/bin/env bash
# dict train's options and controls, and what dict eval prints beside a score: random-model and frozen-decoder controls, sparse probing, absorption.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf || not_ok make_model failed
mkdir corpus
python3 - <<'X'
import json, random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
topic = {"sea": "ship wave salt fish".split(), "land": "road tree stone field".split(), "rare": "comet".split()}
with open("corpus/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words + topic["sea"] + topic["land"]) for _ in range(40)) + ".\n\n")
with open("labelled.jsonl", "w") as f:
    for i in range(200):
        name = "sea" if i // 5 % 2 else "land"
        row = {"text": " ".join(rng.choice(words[:6] + topic[name] * 2) for _ in range(20))}
        row.update({"label": name} if i % 2 else {"labels": [[name, 0, 3]] + ([["rare", 0, 1]] if i < 6 else [])})
        f.write(json.dumps(row) + "\n")
X
train=(dict train tiny.gguf corpus --site resid_post.0 --width 128 --k 4 --tokens 12000 --batch 64 --seed 4)
expect_json train sonde.dict.train/1 '0 < d["fvu"] < 1 and d["dead_after"] == 3000 and d["dead_by"]["silent_1m_tokens"] is None and d["dead_by"]["silent_1000_steps"] is None
    and 0 <= d["dead_by"]["silent_whole_run"] <= d["dead"]' "${train[@]}" -o plain --json
for k in random-model frozen-decoder; do expect_json "control_$k" sonde.dict.train/1 'd["fvu"] > 0' "${train[@]}" --control $k -o $k --json; done
python3 - <<'X' && ok controls_say_so || not_ok controls_say_so "$(grep -h control ./*/cfg.json)"
import json
card = {d: json.load(open(f"{d}/cfg.json"))["metadata"]["sonde"] for d in ("plain", "random-model", "frozen-decoder")}
assert "control" not in card["plain"] and all(card[k]["control"] == k for k in card if k != "plain"), card
X
# The model is read by a thread of its own while a step trains; in turn gives the same bits, on one thread too.
"$sonde" "${train[@]}" --serial -o serial -q >/dev/null; "$sonde" "${train[@]}" -t 1 -o single -q >/dev/null
for p in serial single; do cmp -s $p/sae_weights.safetensors plain/sae_weights.safetensors && ok overlap_equals_$p || not_ok overlap_equals_$p "the weights differ"; done
# Beside each other; a control alone is measured on its own model; the same numbers as alone.
expect_json eval_random sonde.dict.eval/1 'd["control"] == "random-model" and d["metrics"]["fvu"] < 1' dict eval random-model tiny.gguf corpus --tokens 4096 --json
cp out random.json
expect_json eval_beside sonde.dict.eval/1 'len(d["beside"]) == 2 and [b["control"] for b in d["beside"]] == ["random-model", "frozen-decoder"]
    and d["beside"][0]["metrics"] == json.load(open("random.json"))["metrics"] and d["metrics"]["ce_plain"] != d["beside"][0]["metrics"]["ce_plain"]
    and d["beside"][1]["metrics"]["ce_plain"] == d["metrics"]["ce_plain"] and d["beside"][1]["metrics"]["fvu"] > d["metrics"]["fvu"]
    and sum(d["density_histogram"]["features"]) + d["density_histogram"]["never"] == 128 and len(d["density_histogram"]["features"]) == 16' \
    dict eval plain tiny.gguf corpus --beside random-model --beside frozen-decoder --tokens 4096 --json
# Rows beside rows, by brute force from the file; KL as SAELens counts it; the page with the picture of densities.
expect_json geometry sonde.dict.eval/1 'abs(d["metrics"]["kl_recovered"] - (1 - d["metrics"]["kl_plain_spliced"] / d["metrics"]["kl_plain_zero_ablated"])) < 1e-9 and 0 < d["metrics"]["kl_recovered"] < 1' \
    dict eval plain tiny.gguf corpus --beside random-model --tokens 512 --html eval.html --json
python3 - <<'X' && ok geometry_by_hand || not_ok geometry_by_hand "see above"
import json, struct
raw = open("plain/sae_weights.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + n])
def tensor(name):
    a, b = head[name]["data_offsets"]
    return struct.unpack(f"<{(b - a) // 4}f", raw[8 + n + a:8 + n + b])
D, W, b = tensor("W_dec"), tensor("W_enc"), tensor("b_enc")
dec = [D[f * 64:f * 64 + 64] for f in range(128)]
enc = [[W[i * 128 + f] for i in range(64)] for f in range(128)]
norm = lambda v: sum(x * x for x in v) ** 0.5
cos = lambda u, v: sum(x * y for x, y in zip(u, v)) / norm(u) / norm(v)
mean = lambda v: sum(v) / len(v)
want = {"average_max_decoder_cosine_sim": mean([max(cos(u, v) for g, v in enumerate(dec) if g != f) for f, u in enumerate(dec)]),
        "average_max_encoder_cosine_sim": mean([max(cos(u, v) for g, v in enumerate(enc) if g != f) for f, u in enumerate(enc)]),
        "encoder_decoder_cosine_sim": mean([cos(u, v) for u, v in zip(enc, dec)]), "encoder_norm": mean([norm(u) for u in enc]), "encoder_bias": mean(b)}
got = json.load(open("out"))["metrics"]
assert all(abs(got[k] - want[k]) < 1e-5 * max(1, abs(want[k])) for k in want), ({k: got[k] for k in want}, want)
X
[ "$(grep -c '<rect' eval.html)" -ge 1 ] && [ "$(grep -o '<rect' eval.html | wc -l)" = 17 ] && grep -q '<polyline' eval.html && grep -q average_max_decoder_cosine_sim eval.html && ! grep -qE '(src|href)="?https?://|style=' eval.html && ok eval_page || not_ok eval_page "$(head -c 400 eval.html)"
expect_error eval_page_is_kept 4 'already there' dict eval plain tiny.gguf corpus --tokens 512 --html eval.html
run dict eval plain tiny.gguf corpus --beside random-model --tokens 2048
[ $rc -eq 0 ] && head -1 out | grep -q $'metric\tvalue\trandom-model\tmeaning' && ok beside_table || not_ok beside_table "$(what_happened)"
"$sonde" feature build random-model tiny.gguf corpus --tokens 2000 -o r.db >/dev/null 2>err; grep -q "control of a model with random weights" err && ok control_warns || not_ok control_warns "$(cat err)"

# Texts of two topics differ in their words, so a probe on the activations tells them apart; a class of six texts is too few.
expect_json probe sonde.dict.eval/1 'd["sparse_probing"]["n_classes"] == 2 and d["sparse_probing"]["n_classes_with_too_few"] == 1 and d["metrics"]["llm_test_accuracy"] > 0.9
    and 0.5 < d["metrics"]["sae_top_1_test_accuracy"] <= d["metrics"]["sae_top_5_test_accuracy"] + 0.1 and d["metrics"]["sae_top_5_test_accuracy"] > 0.8
    and all(len(set(c["features"])) == 5 and c["n_train"] == 160 and c["n_test"] == 40 for c in d["sparse_probing"]["classes"])' dict eval plain tiny.gguf corpus --tokens 512 --probe labelled.jsonl --json
cp out probe.json
expect_json probe_one_thread sonde.dict.eval/1 'd["metrics"] == json.load(open("probe.json"))["metrics"]' dict eval plain tiny.gguf corpus --tokens 512 --probe labelled.jsonl --json -t 1
head -6 labelled.jsonl >few.jsonl
expect_error probe_too_few 4 'no class has 8 texts' dict eval plain tiny.gguf corpus --tokens 512 --probe few.jsonl
printf '{"text": "one two three four five six seven eight nine"}\n' >bad.jsonl
expect_error probe_no_label 4 'line 1: neither a label nor labels' dict eval plain tiny.gguf corpus --tokens 512 --probe bad.jsonl

# What is left out is told by the card; each kind of line that makes no sense is refused.
expect_json without sonde.dict.train/1 'd["fvu"] > 0' "${train[@]}" --without shuffle,sink-filter,special-filter,tied-init -o left --json
grep -q '"without":"sink-filter,special-filter,shuffle,tied-init"' <(tr -d ' ' <left/cfg.json) && ok card_without || not_ok card_without "$(grep without left/cfg.json)"
for p in left:false plain:true; do
    grep -q "\"exclude_special_tokens\":${p#*:}" <(tr -d ' ' <"${p%:*}/cfg.json") && ok "card_special_${p%:*}" || not_ok "card_special_${p%:*}" "$(grep special "${p%:*}/cfg.json")"
done
expect_json anneal sonde.dict.train/1 'abs(d["l0"] - 4) < 0.01' "${train[@]}" --k-start 16 --k-anneal 60 -o annealed --json
expect_exit warmup 0 "${train[@]}" --kind standard --sparsity 0.3 --sparsity-warmup 50 -o sparse
expect_error unknown_without 2 'nothing that training does' "${train[@]}" --without magic -o x
expect_error anneal_too_long 4 'annealing would take' "${train[@]}" --k-start 16 --k-anneal 100000 -o x
expect_error warmup_of_what 2 'of a weight that is given' "${train[@]}" --kind standard --sparsity-warmup 5 -o x
expect_error trans_has_none 2 'has no aux-k to leave out' "${train[@]}" --kind transcoder --to mlp_out.0 --without aux-k -o x
expect_error control_of_cross 2 'of one model' "${train[@]}" --kind crosscoder --to mlp_out.0 --control random-model -o x
expect_error absorption_words 4 'first letters need more' dict eval plain tiny.gguf corpus --tokens 512 --absorption

# Mean and scale are of rows that are trained on: a dictionary that hardly learns has their mean as its b_dec, not that of the rows that judge it.
"$sonde" capture tiny.gguf corpus --site resid_post.0 --tokens 6000 -o rows -q >/dev/null || not_ok capture_rows "failed"
"$sonde" dict train rows --width 64 --k 4 --heldout 600 --batch 64 --lr 1e-9 -o still -q >/dev/null || not_ok train_still "failed"
python3 - <<'X' && ok centre_is_of_trained_rows || not_ok centre_is_of_trained_rows "see above"
import glob, json, math, struct
def tensors(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    return {k: (v["shape"], struct.unpack(f"<{(v['data_offsets'][1] - v['data_offsets'][0]) // {'F16': 2, 'F32': 4}[v['dtype']]}{'e' if v['dtype'] == 'F16' else 'f'}",
            b[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])) for k, v in json.loads(b[8:8 + n]).items() if k in ("acts", "b_dec")}
rows = []
for f in sorted(glob.glob("rows/acts-*.safetensors")):
    (n, d), x = tensors(f)["acts"]
    rows += [x[i * d:(i + 1) * d] for i in range(n)]
mean = lambda r: [sum(c) / len(r) for c in zip(*r)]
trained, judged, b = mean(rows[:-600]), mean(rows[-600:]), tensors("still/sae_weights.safetensors")["b_dec"][1]
assert math.dist(b, trained) < 0.05 * math.dist(b, judged), (math.dist(b, trained), math.dist(b, judged))
X

# The start and the order of another trainer: an order that repeats the held-out-free rows in turn, weights that are those of a finished run.
"$sonde" capture tiny.gguf corpus --site resid_post.0 --tokens 6000 -o acts -q >/dev/null || not_ok capture "failed"
python3 - <<'X'
import json, random, struct
def save(path, **t):  # F32 [rows, cols] or I32 [n], without numpy
    head, blob = {}, b""
    for k, (shape, kind, v) in t.items():
        raw = struct.pack(f"<{len(v)}{'i' if kind == 'I32' else 'f'}", *v)
        head[k] = {"dtype": kind, "shape": shape, "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    h = json.dumps(head).encode()
    h += b" " * (-len(h) % 8)
    open(path, "wb").write(struct.pack("<Q", len(h)) + h + blob)
rng = random.Random(3)
D = [[rng.gauss(0, 1) for _ in range(64)] for _ in range(128)]
D = [[v / sum(q * q for q in r) ** 0.5 for v in r] for r in D]
flat = [v for r in D for v in r]
turned = [D[f][i] for i in range(64) for f in range(128)]
def start(path, bias): save(path, W_enc=([64, 128], "F32", turned), W_dec=([128, 64], "F32", flat), b_enc=([128], "F32", [bias] * 128), b_dec=([64], "F32", [0.0] * 64))
start("init.safetensors", 0.0), start("nan.safetensors", float("nan"))
order = [rng.randrange(5000) for _ in range(6400)]
save("order.safetensors", order=([6400], "I32", order)), save("far.safetensors", order=([3], "I32", [0, 1, 5999])), save("other.safetensors", rows=([3], "I32", [0, 1, 2]))
X
like=(dict train acts --width 128 --k 4 --batch 64 --lr 1e-3 --warmup 0 --decay 0 --without aux-k --heldout 512 --init init.safetensors)
expect_json init_order sonde.dict.train/1 'd["steps"] == 100 and d["n_tokens"] == 6400 and d["n_heldout"] == 512 and 0 < d["fvu"] < 1' "${like[@]}" --order order.safetensors -o like --json
"$sonde" "${like[@]}" --order order.safetensors -o again -q --seed 9 >/dev/null
cmp -s like/sae_weights.safetensors again/sae_weights.safetensors && ok nothing_is_drawn || not_ok nothing_is_drawn "the seed changed a run whose start and order are given"
grep -q '"lr":0.001,' <(sed -n 1p like/events.jsonl) && grep -q '"lr":0.001,' <(grep '"step":100,' like/events.jsonl) && ok no_ramps || not_ok no_ramps "$(sed -n 1p like/events.jsonl)"
expect_error order_far 4 'order\[2\] is 5999 of' "${like[@]}" --order far.safetensors -o x
expect_error order_none 4 'no vector "order"' "${like[@]}" --order other.safetensors -o x
expect_error init_shape 4 'W_enc is \[64, 128\]' "${like[@]}" --width 64 -o x
expect_error init_nan 4 'not finite' dict train acts --width 128 --k 4 --init nan.safetensors -o x
expect_error order_of_model 2 'of captured rows' "${train[@]}" --order order.safetensors -o x
expect_error aux_of_penalty 2 'which a standard has not' "${train[@]}" --kind standard --aux-k 4 -o x
expect_error bandwidth_of_topk 2 'is of jumprelu' "${train[@]}" --bandwidth 1 -o x
# What would do nothing is refused.
for what in '--serial=serial is for MODEL' '--without shuffle --buffer 2048=buffer is of shuffling' '--without aux-k --aux-k 8=aux-k is of an auxiliary loss, which --without' \
    '--kind standard --sparsity 0.3 --k-start 8 --k-anneal 9=k-start is of a weight that is steered'; do
    expect_error "nothing_${what%%=*}" 2 "${what#*=}" dict train acts --width 64 --k 4 ${what%%=*} -o x
done
expect_error lr_is_above_0 2 'lr' dict train acts --width 64 --k 4 --lr 0 -o x
expect_error routes_never 4 'exact until 0.5 and again from 0.2 of the steps leave none for the lists' dict train acts --width 64 --k 4 --routes 8 --exact-until 0.5 --exact-from 0.2 -o x
for o in heldout buffer serial proven; do
    case $o in heldout | buffer) v=2048 ;; *) v= ;; esac
    expect_error "identity_has_no_$o" 2 "$o has no meaning for identity" dict train tiny.gguf corpus --site mlp_post.0 --kind identity --$o $v -o x
done
expect_json ramps sonde.dict.train/1 'd["fvu"] > 0' "${train[@]}" --warmup 0.5 --decay 0.5 --aux-k 8 --aux-weight 0.1 --dead-after 1000 -o ramps --json

# Rows that rest: three ways, three dictionaries; transcoders have no dense one.
for how in dense sparse; do
    expect_exit "adam_$how" 0 "${train[@]}" --adam $how -o "adam_$how" -q
    if cmp -s plain/sae_weights.safetensors "adam_$how/sae_weights.safetensors"; then not_ok "adam_${how}_differs" "the same weights"; else ok "adam_${how}_differs"; fi
done
expect_error adam_of_transcoder 2 'adam dense is not for a transcoder' dict train tiny.gguf corpus --kind transcoder --site mlp_in.0 --to mlp_out.0 --adam dense -o x

# Routes: fewer products, what that loses is in the events; the bits of any number of threads, also when it is stopped behind the exact beginning.
route=("${train[@]}" --tokens 200000 --routes 8 --listed 32)
expect_json route sonde.dict.train/1 '0 < d["fvu"] < 1 and abs(d["l0"] - 4) < 0.01' "${route[@]}" -o route --json
python3 - <<'X' && ok route_recall || not_ok route_recall "$(tail -2 route/events.jsonl)"
import json
e = [json.loads(l) for l in open("route/events.jsonl")]
e = [v for v in e if v["event"] == "step" and "recall" in v]
n = e[-1]["step"]
missed = lambda v: v["audited"] * (1 - v["recall"])
first, last = [v for v in e if v["step"] <= 0.05 * n][-1:], e[-1]
assert not first or missed(first[0]) == 0, first
assert 0.3 < last["recall"] < 1 and last["audited"] > 0, last
X
"$sonde" "${route[@]}" -t 1 -o route_one -q >/dev/null; cmp -s route/sae_weights.safetensors route_one/sae_weights.safetensors && ok route_threads || not_ok route_threads "the weights differ"
"$sonde" "${route[@]}" -o route_resumed >/dev/null 2>&1 & p=$!
for _ in $(seq 800); do sleep 0.02; [ "$(wc -l < route_resumed/events.jsonl 2>/dev/null || echo 0)" -gt 50 ] && break; done
kill -INT $p; wait $p
[ -e route_resumed/checkpoint.json ] && ok route_checkpoint || not_ok route_checkpoint "$(ls route_resumed)"
expect_exit route_resume 0 dict train --resume route_resumed
cmp -s route/sae_weights.safetensors route_resumed/sae_weights.safetensors && ok route_resume_equals || not_ok route_resume_equals "the weights differ"
expect_error route_lists 4 'lists of 2 of 128 features are none to choose 4 from' "${train[@]}" --routes 8 --listed 2 -o x
expect_error route_many 4 '200 groups of rows for 128 features' "${train[@]}" --routes 200 -o x
expect_error route_needed 2 'listed does nothing without --routes' "${train[@]}" --listed 16 -o x
expect_error route_kind 2 'routes are for topk' "${train[@]}" --kind jumprelu --routes 8 -o x
expect_error route_also 4 'routes are for topk' "${train[@]}" --also jumprelu:64:4 --routes 8 -o x

# Several from one pass: each has the bits of a run of its own, also when the pass was stopped.
expect_json also sonde.dict.train/1 '[a["width"] for a in d["also"]] == [64, 256] and all(a["fvu"] > 0 and a["l0"] > 1 for a in d["also"]) and d["also"][1]["dir"] == "many/w256-k8"' \
    "${train[@]}" --also 64:4,256:8 -o many --json
"$sonde" "${train[@]}" --width 64 -o alone64 -q >/dev/null; "$sonde" "${train[@]}" --width 256 --k 8 -o alone256 -q >/dev/null
for p in many:plain many/w64-k4:alone64 many/w256-k8:alone256; do
    cmp -s "${p%:*}/sae_weights.safetensors" "${p#*:}/sae_weights.safetensors" && cmp -s "${p%:*}/sonde.safetensors" "${p#*:}/sonde.safetensors" && ok "also_equals_${p#*:}" || not_ok "also_equals_${p#*:}" "the weights differ"
done
# Other sites and kinds from one pass: the same bits as alone, sinks of one site being rows of the other; also when the pass was stopped in its second epoch.
expect_json sites sonde.dict.train/1 '[(a["kind"], a.get("site"), a["width"]) for a in d["also"]] == [("topk", "mlp_out.1", 64), ("batchtopk", None, 64)] and all(a["fvu"] > 0 and a["ce_recovered"] is not None for a in d["also"])' \
    "${train[@]}" --also 64:4@mlp_out.1,batchtopk:64:4 -o sites --json
"$sonde" "${train[@]/resid_post.0/mlp_out.1}" --width 64 -o alone_mlp -q >/dev/null; "$sonde" "${train[@]}" --width 64 --kind batchtopk -o alone_batch -q >/dev/null
for p in sites:plain sites/w64-k4-mlp_out.1:alone_mlp sites/batchtopk-w64-k4:alone_batch; do
    cmp -s "${p%:*}/sae_weights.safetensors" "${p#*:}/sae_weights.safetensors" && ok "site_equals_${p#*:}" || not_ok "site_equals_${p#*:}" "the weights differ"
done
grep -q '"hook_name": *"blocks.1.hook_mlp_out"' sites/w64-k4-mlp_out.1/cfg.json && ok site_card || not_ok site_card "$(grep hook sites/w64-k4-mlp_out.1/cfg.json)"
expect_exit sites_straight 0 "${train[@]}" --tokens 200000 --also 64:4@mlp_out.1 -o sites_straight
"$sonde" "${train[@]}" --tokens 200000 --also 64:4@mlp_out.1 -o sites_resumed >/dev/null 2>&1 & p=$!
for _ in $(seq 400); do sleep 0.05; [ "$(wc -l < sites_resumed/events.jsonl 2>/dev/null || echo 0)" -gt 60 ] && break; done
kill -INT $p; wait $p
[ -e sites_resumed/checkpoint-*/shuffle-1.safetensors ] && ok sites_checkpoint || not_ok sites_checkpoint "$(ls sites_resumed)"
cp sites_resumed/checkpoint.json kept.json
for bad in '-1=makes no sense' '"1"=part_rows.1. is no whole number'; do
    python3 -c 'import json, sys; j = json.load(open("kept.json")); j["part_rows"][1] = json.loads(sys.argv[1]); json.dump(j, open("sites_resumed/checkpoint.json", "w"))' "${bad%%=*}"
    expect_error "sites_row_${bad#*=}" 4 "${bad#*=}" dict train --resume sites_resumed
done
cp kept.json sites_resumed/checkpoint.json
expect_exit sites_resume 0 dict train --resume sites_resumed
cmp -s sites_resumed/w64-k4-mlp_out.1/sae_weights.safetensors sites_straight/w64-k4-mlp_out.1/sae_weights.safetensors && cmp -s sites_resumed/sae_weights.safetensors sites_straight/sae_weights.safetensors &&
    ok sites_resume_equals || not_ok sites_resume_equals "they differ"
run dict train acts --width 64 --k 4 --also 128:4 -o beside
[ $rc -eq 0 ] && grep -q '^also.*dead$' out && ! grep -qi nan out && ok also_of_shards || not_ok also_of_shards "$(what_happened)"
expect_error also_site_of_shards 2 'are of one site' dict train acts --width 128 --also 64:4@mlp_out.1 -o x
expect_error also_no_site 4 'unknown site "nowhere.1"' "${train[@]}" --also 64:4@nowhere.1 -o x
expect_error also_kind 2 'trains no transcoder' "${train[@]}" --also transcoder:64:4 -o x
expect_error also_what 2 'is not .KIND:.WIDTH:K' "${train[@]}" --also 64 -o x
expect_error also_twice 2 'given twice' "${train[@]}" --also 64:4,64:4 -o x
expect_exit many_straight 0 "${train[@]}" --tokens 200000 --also 64:4 -o many_straight
"$sonde" "${train[@]}" --tokens 200000 --also 64:4 -o many_resumed >/dev/null 2>&1 & p=$!
for _ in $(seq 200); do sleep 0.05; [ "$(wc -l < many_resumed/w64-k4/events.jsonl 2>/dev/null || echo 0)" -gt 20 ] && break; done
kill -INT $p; wait $p
[ -e many_resumed/checkpoint.json ] && ok many_checkpoint || not_ok many_checkpoint "$(ls many_resumed)"
expect_exit many_resume 0 dict train --resume many_resumed
cmp -s many_resumed/w64-k4/sae_weights.safetensors many_straight/w64-k4/sae_weights.safetensors && cmp -s many_resumed/sae_weights.safetensors many_straight/sae_weights.safetensors &&
    [ "$(grep -c '"step"' many_resumed/w64-k4/events.jsonl)" = "$(grep -c '"step"' many_straight/w64-k4/events.jsonl)" ] && ok many_resume_equals || not_ok many_resume_equals "they differ"

# A stopped run goes on with all of it.
long=("${train[@]}" --tokens 400000 --control random-model --without special-filter,shuffle --k-start 8 --k-anneal 3000)
"$sonde" "${long[@]}" -o resumed >/dev/null 2>&1 & p=$!
for _ in $(seq 200); do sleep 0.05; [ "$(wc -l < resumed/events.jsonl 2>/dev/null || echo 0)" -gt 20 ] && break; done
kill -INT $p; wait $p
[ -e resumed/checkpoint.json ] && ok interrupt_leaves_checkpoint || not_ok interrupt_leaves_checkpoint "$(ls resumed)"
cp -r resumed mixed
python3 - <<'X'
import glob, json, struct # the buffer of a run of half the width
path, = glob.glob("mixed/checkpoint-*/shuffle.safetensors")
b = open(path, "rb").read()
head = json.loads(b[8:8 + struct.unpack("<Q", b[:8])[0]])
data = bytearray(b[8 + struct.unpack("<Q", b[:8])[0]:])
at = head["state"]["data_offsets"][0]
cap, d, n, waiting = struct.unpack("<4q", data[at:at + 32])
data[at:at + 32] = struct.pack("<4q", 2 * cap, d // 2, 2 * n, 2 * waiting)
for k in set(head) & {"rows", "waiting"}: head[k]["shape"] = [2 * head[k]["shape"][0], d // 2]
text = json.dumps(head).encode()
text += b" " * (-len(text) % 8)
open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
X
expect_error mixed_checkpoint 4 'shuffle.safetensors: of rows of [0-9]* numbers and batches of 64, the run.s have [0-9]* and 64' dict train --resume mixed
# A run goes on with what it began with: not with another model, text or site in the place of its own.
python3 "$here/make_model.py" tiny8.gguf --type Q8_0 && mkdir corpus2 && sed 's/ cat/ mat/g' corpus/a.txt >corpus2/a.txt || not_ok other_inputs failed
for what in paths.0=tiny8.gguf=model paths.1=corpus2=text; do
    IFS='=' read -r key value said <<<"$what"
    rm -rf moved && cp -r resumed moved
    python3 -c 'import json, sys; j = json.load(open("moved/run.json")); j["paths"][int(sys.argv[1][-1])] = sys.argv[2]; json.dump(j, open("moved/run.json", "w"))' "$key" "$value"
    expect_error "resume_with_another_$said" 4 "$value has not the $said that the run began with" dict train --resume moved
done
expect_exit resume 0 dict train --resume resumed
expect_exit straight 0 "${long[@]}" -o straight
cmp -s resumed/sae_weights.safetensors straight/sae_weights.safetensors && ok resume_equals_uninterrupted || not_ok resume_equals_uninterrupted "the weights differ"
mkdir torn
python3 -c 'import json; d = json.load(open("straight/run.json")); d["paths"] = [1, "corpus"]; json.dump(d, open("torn/run.json", "w"))'
echo '{}' >torn/checkpoint.json
expect_error torn_paths 4 'paths\[0\] is no text' dict train --resume torn
finish

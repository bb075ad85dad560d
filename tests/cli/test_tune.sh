#!/usr/bin/env bash
# sonde tune: an adapter on a GGUF, the model with it, preferences, a stopped run that goes on to the same bytes, bad input.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf
printf '{"prompt":"hello","completion":"good day %s"}\n' $(seq 12) >sft.jsonl
printf '{"prompt":"no answer"}\n' >>sft.jsonl
printf '{"prompt":"hello","chosen":"good day","rejected":"go away %s"}\n' $(seq 6) >dpo.jsonl

run tune tiny.gguf --data sft.jsonl --lora 4 --lr 5e-3 --steps 12 --batch 4 -o ad --json
if [ $rc -eq 0 ] && [ -f ad/adapter_model.safetensors ] && [ -f ad/adapter_config.json ] && [ ! -e ad/checkpoint.json ] &&
    python3 -c 'import json; j = json.load(open("out")); assert j["schema"] == "sonde.tune/1" and j["steps"] == 12 and j["n_rows"] == 13 and j["n_skipped"] == 1 and j["loss_last"] < j["loss_first"]' &&
    grep -q 'sft.jsonl:13' err; then
    ok "an adapter on a GGUF, the row without an answer named"
else
    not_ok "an adapter on a GGUF, the row without an answer named" "$(what_happened)"
fi
if [ "$(wc -l <ad/events.jsonl)" -eq 13 ]; then ok "a line of events a step, and the end"; else not_ok "a line of events a step, and the end" "$(cat ad/events.jsonl)"; fi
"$sonde" trace tiny.gguf --ids 1,2,3 -o a.st -q -f >/dev/null
"$sonde" trace tiny.gguf+ad --ids 1,2,3 -o b.st -q -f >/dev/null
if [ -s b.st ] && ! cmp -s a.st b.st; then ok "MODEL+ADAPTER gives other logits"; else not_ok "MODEL+ADAPTER gives other logits" "$(ls -l)"; fi
# How A and B began says nothing of what they became, unless PEFT took them out of the weights, which it then changes.
mkdir begun && cp ad/adapter_model.safetensors begun/
begin() { sed "s|\"init_lora_weights\": *true|\"init_lora_weights\": \"$1\"|" ad/adapter_config.json >begun/adapter_config.json; }
begin gaussian
run trace tiny.gguf+begun --ids 1,2,3 -o begun.st -q -f
if [ $rc -eq 0 ] && cmp -s b.st begun.st; then ok "an adapter that began gaussian"; else not_ok "an adapter that began gaussian" "$(what_happened)"; fi
for how in pissa_niter_4 olora corda loftq; do
    begin $how
    expect_error "an adapter of weights that $how changed" 4 "init_lora_weights \"$how\" is not supported" run tiny.gguf+begun -p hello -n 1
done
expect_exit "a model with its adapter runs" 0 run tiny.gguf+ad -p hello -n 3
# An adapter alone names its model; ids of a Hugging Face cache stand on both sides of the plus and behind flags.
expect_exit "an adapter alone runs" 0 run ad -p hello -n 3 --json
python3 -c 'import json; print(json.load(open("out"))["text"])' >alone
run run tiny.gguf+ad -p hello -n 3 --json
if python3 -c 'import json; print(json.load(open("out"))["text"])' | cmp -s - alone; then ok "an adapter alone is MODEL+ADAPTER"; else not_ok "an adapter alone is MODEL+ADAPTER" "$(cat alone out)"; fi
for one in org--tiny me--lora; do mkdir -p "hub/models--$one/refs" "hub/models--$one/snapshots/c0"; printf c0 >"hub/models--$one/refs/main"; done
cp tiny.gguf hub/models--org--tiny/snapshots/c0/
cp ad/adapter_model.safetensors hub/models--me--lora/snapshots/c0/
sed 's|"base_model_name_or_path": *"[^"]*"|"base_model_name_or_path": "org/tiny"|' ad/adapter_config.json >hub/models--me--lora/snapshots/c0/adapter_config.json
export HF_HUB_CACHE=$PWD/hub
for one in org/tiny+me/lora tiny.gguf+me/lora org/tiny+ad me/lora; do
    "$sonde" trace "$one" --ids 1,2,3 -o c.st -q -f >out 2>err; rc=$?
    if [ $rc -eq 0 ] && cmp -s b.st c.st; then ok "$one in the cache"; else not_ok "$one in the cache" "$(what_happened)"; fi
done
expect_error "an adapter that is not there" 4 'me/other is no file or folder' run org/tiny+me/other -p hello -n 1
expect_exit "a flag's model in the cache" 0 tune tiny.gguf --data sft.jsonl --method distill --teacher me/lora --lora 2 --steps 1 --batch 4 -o by_id
unset HF_HUB_CACHE
# The cache's place by its other names, in huggingface_hub's order.
mkdir -p xdg/huggingface home && ln -s "$PWD/hub" xdg/huggingface/hub && ln -s "$PWD/hub" home/hub
for place in "HUGGINGFACE_HUB_CACHE=$PWD/hub" "HF_HOME=$PWD/home" "XDG_CACHE_HOME=$PWD/xdg"; do
    env -u HF_HOME -u HUGGINGFACE_HUB_CACHE "$place" "$sonde" trace org/tiny+me/lora --ids 1,2,3 -o c.st -q -f >out 2>err; rc=$?
    if [ $rc -eq 0 ] && cmp -s b.st c.st; then ok "the cache by ${place%%=*}"; else not_ok "the cache by ${place%%=*}" "$(what_happened)"; fi
done

expect_exit "preferences" 0 tune tiny.gguf --data dpo.jsonl --method dpo --lora 2 --steps 4 --batch 2 -o pref
expect_exit "held near the model as it was" 0 tune tiny.gguf --data sft.jsonl --method constrained --lora 2 --steps 2 --mix dpo.jsonl:3 -o held

expect_exit "distillation to an adapter's logits" 0 tune tiny.gguf --data sft.jsonl --method distill --teacher tiny.gguf+ad --lora 2 --lr 5e-3 --steps 12 --batch 4 -o taught --kd-ratio 1
if python3 -c 'import json; l = [json.loads(x)["loss"] for x in open("taught/events.jsonl") if "\"step\"," in x]; assert len(l) == 12 and l[-1] < 0.7 * l[0]'; then ok "the student comes near its teacher"; else not_ok "the student comes near its teacher" "$(cat taught/events.jsonl)"; fi
expect_exit "an equal teacher" 0 tune tiny.gguf --data sft.jsonl --method distill --teacher tiny.gguf --lora 2 --steps 1 --mode faithful -o equal --kd-ratio 1
# The teacher runs as inference does and sums in another order than learning: rounding alone, and KL is quadratic in it.
if python3 -c 'import json; e = json.loads(open("equal/events.jsonl").readline()); assert abs(e["loss"]) < 1e-6 and e["grad_norm"] < 1e-4, e'; then ok "a student like its teacher has nothing to learn"; else not_ok "a student like its teacher has nothing to learn" "$(cat equal/events.jsonl)"; fi
expect_error "distill without a teacher" 2 'teacher' tune tiny.gguf --data sft.jsonl --method distill --lora 2 -o x
expect_error "a teacher for sft" 2 'distill' tune tiny.gguf --data sft.jsonl --teacher tiny.gguf --lora 2 -o x
python3 "$here/make_model.py" other.gguf --swap 1
expect_error "a teacher with other tokens" 4 'token 0 is' tune tiny.gguf --data sft.jsonl --method distill --teacher other.gguf --lora 2 -o x
python3 "$here/make_model.py" short.gguf --ctx 200
expect_error "a teacher that reads less" 4 'at most 200 tokens' tune tiny.gguf --data sft.jsonl --method distill --teacher short.gguf --lora 2 -o long
if [ ! -e x ] && [ ! -e long ]; then ok "a refused run leaves no folder"; else not_ok "a refused run leaves no folder" "$(ls -d x long)"; fi
mkdir mine && echo '[]' >mine/run.json
expect_error "a model that is not there" 4 'nosuch' tune nosuch.gguf --data sft.jsonl --lora 2 -o mine -f
if [ -e mine/run.json ]; then ok "a refused run leaves a folder that was there"; else not_ok "a refused run leaves a folder that was there" "mine is gone"; fi
expect_exit "a teacher that reads as much" 0 tune tiny.gguf --data sft.jsonl --method distill --teacher short.gguf --lora 2 --ctx 200 --steps 1 -o within

# Guards: what they need, what they tell, what is refused with its reason.
printf '{"prompt":"bad %s","completion":"I cannot"}\n' $(seq 8) >safe.jsonl
for g in lisa project mask deep; do
    expect_json "the guard $g" sonde.tune/1 "d['guard'] == '$g' and d['steps'] == 6 and (d['n_guarded'] == 6) == ('$g' in ('project', 'mask')) and d['n_projected'] <= d['n_guarded']" \
        tune tiny.gguf --data sft.jsonl --lora 2 --steps 6 --batch 2 --guard $g --safety safe.jsonl:4 -o "g-$g" --json
done
expect_json "the guard safelora" sonde.tune/1 "d['n_guarded'] > 0 and d['n_projected'] == d['n_guarded']" tune tiny.gguf+ad --data sft.jsonl --lora 2 --steps 6 --batch 2 --lr 1e-2 --guard safelora --unaligned tiny.gguf --threshold 1 -o g-safe --json
python3 "$here/make_model.py" wide.gguf --layers 1
run tune tiny.gguf --data sft.jsonl --lora 2 --steps 40 --batch 2 --guard lisa --safety safe.jsonl --cycle 1,3 --rho 0 -o turns
if python3 -c 'import json; e = [json.loads(x) for x in open("turns/events.jsonl")]; assert len(e) == 41 and [x.get("guard") for x in e[:8]] == ["safety", "data", "data", "data"] * 2, e[:8]'; then ok "lisa takes turns"; else not_ok "lisa takes turns" "$(head -9 turns/events.jsonl)"; fi
expect_error "a guard without rows" 2 'needs safety rows: --safety' tune tiny.gguf --data sft.jsonl --lora 2 --guard lisa -o x
expect_error "rows without a guard" 2 'is for --guard lisa' tune tiny.gguf --data sft.jsonl --lora 2 --safety safe.jsonl -o x
expect_error "safelora without its model" 2 'before its alignment' tune tiny.gguf --data sft.jsonl --lora 2 --guard safelora -o x
expect_error "safelora of all weights" 2 'projects an adapter' tune tiny.gguf --data sft.jsonl --guard safelora --unaligned tiny.gguf -o x
expect_error "a guard of preferences" 2 'is for sft' tune tiny.gguf --data dpo.jsonl --method dpo --lora 2 --guard mask --safety safe.jsonl -o x
expect_error "a cycle of one number" 2 'two numbers of steps' tune tiny.gguf --data sft.jsonl --lora 2 --guard lisa --safety safe.jsonl --cycle 3 -o x
expect_error "no safety rows" 2 'number of rows to draw' tune tiny.gguf --data sft.jsonl --lora 2 --guard lisa --safety safe.jsonl:0 -o x
expect_error "more safety rows than there are" 4 '9 rows are asked for, it has 8' tune tiny.gguf --data sft.jsonl --lora 2 --guard lisa --safety safe.jsonl:9 -o x
expect_error "an unaligned model of another shape" 4 'no earlier stage' tune tiny.gguf --data sft.jsonl --lora 2 --guard safelora --unaligned wide.gguf -o x
if [ ! -e x ]; then ok "a refused guard leaves no folder"; else not_ok "a refused guard leaves no folder" "$(ls x)"; fi

begin() { # ARGUMENT..: a run into cut, stopped after some steps
    rm -rf cut
    python3 - "$sonde" "$@" -o cut -q <<'X'
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open("err", "wb"))
for _ in range(3000):
    if p.poll() is not None or (os.path.exists("cut/events.jsonl") and os.path.getsize("cut/events.jsonl") > 2000):
        break
    time.sleep(0.01)
p.send_signal(signal.SIGINT)
sys.exit(p.wait(60) & 255)
X
    rc=$?
}
stopped() { # NAME ARGUMENT..: the same bytes whether the run is stopped or not
    local name=$1 go=(tune tiny.gguf --data sft.jsonl --lora 4 --batch 2 --lr 1e-3 "${@:2}")
    rm -rf whole
    "$sonde" "${go[@]}" -o whole -q >/dev/null
    begin "${go[@]}"
    if [ $rc -eq 130 ] && [ -e cut/checkpoint.json ] && "$sonde" tune --resume cut -q >/dev/null && cmp -s whole/adapter_model.safetensors cut/adapter_model.safetensors; then
        ok "$name"
    else
        not_ok "$name" "exit code $rc" "$(cat err)" "$(ls cut)"
    fi
}
stopped "a stopped run goes on to the same bytes" --steps 400 --dropout 0.1
stopped "a stopped distillation goes on to the same bytes" --steps 200 --method distill --teacher tiny.gguf+ad
stopped "a stopped guard goes on to the same bytes" --steps 200 --guard lisa --safety safe.jsonl --cycle 2,5
# The order of the rows is drawn by their places: the same rows in another file order are other data.
cp sft.jsonl rows.jsonl
begin tune tiny.gguf --data rows.jsonl --lora 4 --batch 2 --steps 400
tac sft.jsonl >rows.jsonl
expect_error "a run does not go on with other rows" 4 'its rows were not those' tune --resume cut
cp sft.jsonl rows.jsonl
expect_exit "and does with its own" 0 tune --resume cut
if [ -d "$shared/fixtures/adapters" ]; then
    base=$shared/fixtures/models/llama
    (trap '' XFSZ && ulimit -f 8 && "$sonde" merge "$base" -o lost >out 2>err)
    rc=$?
    if [ $rc -eq 4 ] && [ ! -e lost ]; then ok "no room for a merged model leaves no folder"; else not_ok "no room for a merged model leaves no folder" "$(what_happened)" "$(ls -d lost)"; fi
    expect_exit "merge" 0 merge "$base+$shared/fixtures/adapters/llama-lora" -o merged
    "$sonde" trace merged --ids 1,2,3 -o a.st -q -f >/dev/null
    "$sonde" trace "$base+$shared/fixtures/adapters/llama-lora" --ids 1,2,3 -o b.st -q -f >/dev/null
    expect_exit "merge into a GGUF" 0 merge "$base+$shared/fixtures/adapters/llama-lora" -o merged.gguf
    "$sonde" trace merged.gguf --ids 1,2,3 -o c.st -q -f >/dev/null
    if cmp -s b.st c.st; then ok "the merged GGUF gives the logits of model and adapter"; else not_ok "the merged GGUF gives the logits of model and adapter" "$(ls -l merged.gguf)"; fi
    expect_error "a quantised folder" 4 'f32, bf16 or f16' merge "$base" -o folder --type q8_0
    if cmp -s a.st b.st; then ok "the merged model gives the logits of model and adapter"; else not_ok "the merged model gives the logits of model and adapter" "$(ls merged)"; fi
    # A model of f16 stays one: bf16 would take three bits from weights that nothing moved.
    expect_exit "a folder in f16" 0 merge "$base" -o half --type f16
    expect_exit "that is merged" 0 merge half -o half2
    expect_exit "that is tuned" 0 tune half --data sft.jsonl --steps 1 --batch 1 --lr 1e-30 -o half3
    if cmp -s half/model.safetensors half2/model.safetensors && cmp -s half/model.safetensors half3/model.safetensors; then ok "f16 stays f16"; else not_ok "f16 stays f16" "$(ls -l half*)"; fi
    cp -r "$base" large && python3 -c 'import struct
b = bytearray(open("large/model.safetensors", "rb").read())
b[-4:] = struct.pack("<f", 7e4)
open("large/model.safetensors", "wb").write(b)'
    expect_error "a weight that f16 cannot hold" 4 'holds 70000, more than f16 can' merge large -o large16 --type f16
    mkdir -p hub/models--org--llama/refs hub/models--org--llama/snapshots && cp -r "$base" hub/models--org--llama/snapshots/c1 && printf c1 >hub/models--org--llama/refs/main
    export HF_HUB_CACHE=$PWD/hub
    expect_exit "an adapter on a cached model" 0 tune org/llama --data sft.jsonl --lora 2 --steps 1 --batch 4 -o named
    if python3 -c 'import json; assert json.load(open("named/adapter_config.json"))["base_model_name_or_path"] == "org/llama"'; then ok "it says the model's name"; else not_ok "it says the model's name" "$(cat named/adapter_config.json)"; fi
    expect_exit "and opens with it" 0 run named -p hello -n 1
    unset HF_HUB_CACHE
else
    skip "merge" "no fixtures under SONDE_SHARED"
fi
expect_error "merging a GGUF into a folder" 4 'Hugging Face folder' merge tiny.gguf+ad -o g
# So high a rate that after some steps nothing moves any more: the loss is then that of the beginning, no multiple of it.
expect_error "a loss that rose and stays" 1 'the loss diverged: .* at step [0-9]+ of 400' tune tiny.gguf --data sft.jsonl --lora 4 --lr 50 --clip 0 --steps 400 --batch 4 -o stuck -q
expect_error "one that is ruined within ten steps" 1 'the loss diverged: .* at step [0-9]+ of 60' tune tiny.gguf --data sft.jsonl --lora 4 --lr 100 --warmup 0 --clip 0 --steps 60 --batch 4 -o ruined -q
if [ ! -e stuck/adapter_model.safetensors ]; then ok "what diverged is not written"; else not_ok "what diverged is not written" "$(ls stuck)"; fi
begin tune tiny.gguf --data sft.jsonl --lora 4 --batch 2 --steps 400
expect_error "a run over another has no checkpoint of it" 1 'there is no checkpoint from before' tune tiny.gguf --data sft.jsonl --lora 4 --lr 100 --warmup 0 --clip 0 --steps 60 --batch 4 -o cut -f -q
if [ ! -e cut/checkpoint.json ]; then ok "and does not go on from it"; else not_ok "and does not go on from it" "$(ls cut)"; fi
begin tune tiny.gguf --data sft.jsonl --lora 4 --batch 2 --steps 400
before=$(stat -c %i cut/run.json)
expect_error "a run that does not begin" 4 'nosuch' tune tiny.gguf --data nosuch.jsonl --lora 4 -o cut -f
if [ "$(stat -c %i cut/run.json)" = "$before" ]; then ok "has written nothing"; else not_ok "has written nothing" "another run.json"; fi
if [ -e cut/checkpoint.json ]; then ok "leaves the checkpoint that is there"; else not_ok "leaves the checkpoint that is there" "$(ls cut)"; fi
expect_exit "which goes on with its own words" 0 tune --resume cut
# Two rows do not fit into a step, and one does not fill it.
for i in $(seq 10 16); do echo "{\"text\":\"$i times the red gate stood at it\"}"; done >texts.jsonl
expect_json "a pass over texts sees all of them" sonde.tune/1 'd["steps"] == d["n_rows"] == 7' tune tiny.gguf --data texts.jsonl --method lm --lora 2 --ctx 32 --batch 1 -o pass --json
expect_json "half a pass sees half" sonde.tune/1 'd["steps"] == 4' tune tiny.gguf --data texts.jsonl --method lm --lora 2 --ctx 32 --batch 1 --epochs 0.5 -o half_pass --json
# From a text alone: a vocabulary, then random weights of a configuration beside it.
for i in $(seq 60); do echo "The red gate stood by the bridge at noon, and $i people went to the quay."; done >prose.txt
expect_json "a vocabulary of a text" sonde.vocab.train/1 'd["n_vocab"] == 300 and d["n_merges"] == 300 - 259 and d["docs"] == 1' vocab train prose.txt --size 300 --chat -o small --json
expect_error "texts to draw rows from" 4 'rows are drawn from a .jsonl' tune tiny.gguf --data texts.jsonl --mix prose.txt:2 --method lm --lora 2 -o drawn
expect_error "no vocabulary over another" 4 'small' vocab train prose.txt -o small
expect_error "a vocabulary under the bytes" 2 'size' vocab train prose.txt --size 256 -o none
if "$sonde" tokenize small --text "The bridge at noon" --json >out && python3 -c 'import json; d = json.load(open("out")); assert "".join(d["pieces"]) == "The bridge at noon" and len(d["ids"]) < 12, d'; then ok "its words are few tokens"; else not_ok "its words are few tokens" "$(cat out)"; fi
echo '{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":300,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true,"hidden_act":"silu","bos_token_id":1,"eos_token_id":2,"pad_token_id":0}' >small/config.json
expect_json "pretraining on it" sonde.tune/1 'd["loss_last"] < 0.7 * d["loss_first"]' tune small --from-config --method lm --data prose.txt --epochs 20 --lr 1e-2 --batch 4 --ctx 32 -o scratch --json
cp scratch/model.safetensors kept
expect_json "what was pretrained runs" sonde.run/1 'len(d["tokens"]) == 4' run scratch -p "The red" -n 4 --json
for data in nosuch.txt odd.jsonl; do
    printf '{"question":"?"}\n' >odd.jsonl
    expect_error "from a configuration, with $data" 4 "$data" tune small --from-config --method lm --data $data -o scratch -f
    if cmp -s scratch/model.safetensors kept; then ok "leaves the model that was there"; else not_ok "leaves the model that was there" "$(ls -l scratch kept)"; fi
done
expect_error "nothing to resume" 4 'cannot open|no such' tune --resume ad
expect_error "flags beside --resume" 2 'takes everything' tune --resume cut --lr 1
expect_error "no data" 2 'what to learn from' tune tiny.gguf -o x
# The same adapter as PEFT writes it of a model that also sees pictures: other names, and tensors of the half that is left alone.
if python3 -c 'import json, struct, sys
b = open("ad/adapter_model.safetensors", "rb").read()
n = struct.unpack("<Q", b[:8])[0]
head, body = json.loads(b[8:8 + n]), b[8 + n:]
front = "base_model.model."
for name, now in (("old", lambda k: front + "language_model." + k), ("new", lambda k: front + "model.language_model." + k[6:])):
    h = {k if k == "__metadata__" else now(k[len(front):]): v for k, v in head.items()}
    for side in "AB":
        h[front + ("" if name == "old" else "model.") + f"vision_tower.vision_model.encoder.layers.0.mlp.fc1.lora_{side}.weight"] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [len(body), len(body) + 16]}
        body += bytes(16)
    import os
    os.makedirs(name, exist_ok=True)
    text = json.dumps(h).encode()
    text += b" " * (-len(text) % 8)
    open(name + "/adapter_model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body)
    body = b[8 + n:]
    c = json.load(open("ad/adapter_config.json"))
    c["target_modules"] = c["target_modules"] + ["fc1"]
    json.dump(c, open(name + "/adapter_config.json", "w"))' 2>why; then
    "$sonde" trace tiny.gguf+ad --ids 1,2,3 -o plain.st -q -f
    for name in old new; do
        run trace tiny.gguf+$name --ids 1,2,3 -o $name.st -q -f
        if [ $rc -eq 0 ] && cmp -s plain.st $name.st; then ok "an adapter of a model that sees: $name names"; else not_ok "an adapter of a model that sees: $name names" "$(what_happened)"; fi
    done
    sed -i 's/language_model.layers.0.self_attn.q_proj.lora_A/language_model.layers.9.self_attn.q_proj.lora_A/' new/adapter_model.safetensors
    expect_error "an adapter with a tensor too few" 4 'tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is missing' trace tiny.gguf+new --ids 1,2,3 -o x.st
else
    not_ok "an adapter of a model that sees" "$(cat why)"
fi
expect_error "an adapter that is not there" 4 'adapter_config.json' run tiny.gguf+nowhere -p hello
printf 'PAR1\x15\xff\x10PAR1' >rows.parquet
expect_error "rows in parquet" 4 'rows.parquet: parquet files are not read' tune tiny.gguf --data rows.parquet --lora 2 -o x
printf '{"question":"?"}\n' >odd.jsonl
expect_error "a row of no known form" 4 'odd.jsonl, line 1: ' tune tiny.gguf --data odd.jsonl --lora 2 -o y
expect_error "a target that is no module" 4 'has no module' tune tiny.gguf --data sft.jsonl --lora 2 --targets w_proj -o z
expect_error "targets that name nothing" 4 'adapter of no module' tune tiny.gguf --data sft.jsonl --lora 2 --targets , -o z
# What stands behind the last answer is not learnt, and does not cost the row.
printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"good day"}%s]}\n' '' ',{"role":"user","content":"thanks"}' ',{"role":"assistant","content":" "}' >turns.jsonl
expect_json "conversations that end with a question" sonde.tune/1 'd["n_rows"] == 3 and d["n_skipped"] == 0' tune tiny.gguf --data turns.jsonl --lora 2 --steps 1 --batch 1 --epochs 1 -o ends --json
# Signs in a folder's name, and an adapter's adapter.
cp -r ad a+d
expect_exit "an adapter with a + in its name" 0 run tiny.gguf+a+d -p hello -n 1
run tune tiny.gguf+ad --data sft.jsonl --lora 2 --steps 1 --batch 4 -o on_both
if [ $rc -eq 0 ] && grep -q 'for both of tiny.gguf+ad' err; then ok "it is said what an adapter on an adapter is for"; else not_ok "it is said what an adapter on an adapter is for" "$(what_happened)"; fi
expect_error "an adapter on an adapter alone" 4 'is an adapter of "tiny.gguf\+ad"' run on_both -p hello -n 1
expect_error "full fine-tuning of a GGUF" 4 'Hugging Face folder' tune tiny.gguf --data sft.jsonl --steps 1 -o f
finish

#!/usr/bin/env bash
# tools/bench-perplexity with programs that only say numbers: it must fail when two are too far apart, and not when they are near.
. "$(dirname "$0")/lib.bash"
tool=$(cd "$here/../.." && pwd)/tools/bench-perplexity
cd "$dir" || exit 1
mkdir -p peers/models bin
touch peers/models/smollm2.F32.gguf
printf 'some text\n' >text.txt
printf '#!/bin/sh\necho "calculating perplexity over 2 chunks"\necho "Final estimate: PPL = 20.0000 +/- 1"\n' >bin/llama-perplexity
chmod +x bin/llama-perplexity
for case in near:0:2.9957 far:1:3.0057; do # ln 20 = 2.99573
    IFS=: read -r name want ce <<<"$case"
    printf '#!/bin/sh\necho %s\n' "'{\"ce_loss\": $ce, \"n_tokens\": 510}'" >ours
    chmod +x ours
    LLAMA_BIN=$PWD/bin SONDE_PEERS=$PWD/peers SONDE_BIN=$PWD/ours python3 "$tool" text.txt --kept "$name.jsonl" >out 2>err; rc=$?
    if [ $rc -eq "$want" ] && grep -q 'F32 | 510 | 20.0000' out && grep -q 'skip: gemma-3-270m' err; then ok "perplexities $name"; else not_ok "perplexities $name" "$(what_happened)"; fi
done
if grep -q 'more than 0.5 % from llama.cpp: SmolLM2-135M F32: +1' err; then ok "the file that is far is named"; else not_ok "the file that is far is named" "$(cat err)"; fi
LLAMA_BIN=$PWD/bin SONDE_PEERS=$PWD/peers SONDE_BIN=$PWD/ours python3 "$tool" text.txt --kept far.jsonl --table --within 2 >out 2>err; rc=$?
if [ $rc -eq 0 ]; then ok "a wider bound"; else not_ok "a wider bound" "$(what_happened)"; fi
finish

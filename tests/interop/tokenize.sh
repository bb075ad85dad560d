#!/usr/bin/env bash
# Ids against tokenizers and llama.cpp (tokenizers_alike.py), rendered chats against transformers (golden/text/gen_chat.py).
#   SONDE_PYTHON  a Python with tokenizers and transformers   LLAMA_BIN  folder with llama-tokenize
#   SONDE_MODEL   a GGUF, or a folder with tokenizer.json
set -u
cd "$(dirname "$0")/../.." || exit 1
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
export SONDE_SHARED=${SONDE_SHARED:-$PWD/../shared}
sonde=${SONDE_BIN:-$PWD/out/release/sonde} python=${SONDE_PYTHON:-} peers=${SONDE_PEERS:-${HOME:-}/.cache/sonde-peers}
llama=${LLAMA_BIN:-$peers/llama.cpp/bin}/llama-tokenize
cases=out/${MODE:-dev}/tests/golden/text/test_chat_cases
failed=0
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT

skip() { echo "skip: $1: $2"; echo "[  SKIPPED ] $1"; }
check() { # NAME COMMAND..
    local name=$1; shift
    if "$@"; then echo "[       OK ] $name"; else echo "[  FAILED  ] $name"; failed=1; fi
}
has() { "$python" -c 'import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in sys.argv[1:]))' "$@"; }
render() { # FOLDER..: chats of this transformers, and of these folders' templates
    "$python" tests/golden/text/gen_chat.py "$@" >"$tmp/cases.jsonl" || return 1
    SONDE_CHAT_CASES=$tmp/cases.jsonl "$cases" >"$tmp/out" 2>&1 && grep 'rendered alike' "$tmp/out" && return 0
    sed 's/^/    /' "$tmp/out"; return 1
}

[ -x "$sonde" ] || { echo "no $sonde"; echo "[  FAILED  ] interop_tokenize"; exit 1; }
folders=() ggufs=()
for f in "${SONDE_MODEL:-}" "$peers/models/smollm2-hf" "$SONDE_SHARED/data/tokenizers/20B_tokenizer.json" \
    "$SONDE_SHARED/data/tokenizers/gpt2_tokenizer.json" "$peers/models/SmolLM2-135M-Instruct.Q4_1.gguf" \
    "$PWD/out/models/SmolLM2-135M-Instruct.Q4_1.gguf" \
    "$peers/models/gemma-3-270m.Q4_K_M.gguf" \
    "$SONDE_SHARED"/data/tokenizers/ggml-vocab-{gpt-2,falcon,refact,deepseek-coder,deepseek-llm,llama-spm,phi-3,bert-bge}.gguf; do
    if [ -f "$f/tokenizer.json" ] || [[ -f $f && $f == *.json ]]; then folders+=("$f"); fi
    if [[ -f $f && $f == *.gguf && " ${ggufs[*]##*/} " != *" ${f##*/} "* ]]; then ggufs+=("$f"); fi
done

if [ -z "$python" ]; then skip interop_tokenize_trained "SONDE_PYTHON is not set"
elif ! has tokenizers; then skip interop_tokenize_trained "$python has no tokenizers"
else check interop_tokenize_trained "$python" tests/interop/tokenizers_alike.py "$sonde" trained; fi

trainer=out/${MODE:-dev}/tests/golden/text/test_tok_train
if [ -z "$python" ] || ! has tokenizers transformers; then skip interop_tokenize_trainer "no Python with tokenizers and transformers"
elif ! [ -x "$trainer" ]; then skip interop_tokenize_trainer "no $trainer (make tests)"
else check interop_tokenize_trainer "$python" tests/interop/tokenizers_alike.py "$sonde" trainer "$trainer"; fi

if [ -z "$python" ] || ! has tokenizers; then skip interop_tokenize_folders "no Python with tokenizers"
elif [ ${#folders[@]} -eq 0 ]; then skip interop_tokenize_folders "no tokenizer.json (SONDE_MODEL)"
else check interop_tokenize_folders "$python" tests/interop/tokenizers_alike.py "$sonde" folder "${folders[@]}"; fi

if ! [ -x "$llama" ]; then skip interop_tokenize_llama "no llama-tokenize (LLAMA_BIN)"
elif [ ${#ggufs[@]} -eq 0 ]; then skip interop_tokenize_llama "no GGUF (SONDE_MODEL, or make demo MODEL=smollm2)"
else check interop_tokenize_llama "${python:-python3}" tests/interop/tokenizers_alike.py "$sonde" llama "$llama" "${ggufs[@]}"; fi

if [ -z "$python" ] || ! has transformers jinja2; then skip interop_chat "no Python with transformers and jinja2"
elif ! [ -x "$cases" ]; then skip interop_chat "no $cases (make tests)"
else
    check interop_chat_templates render
    templates=("$SONDE_SHARED"/data/chat-templates/*.jinja)
    if [ -f "${templates[0]}" ]; then check interop_chat_public render "${templates[@]}"
    else skip interop_chat_public "no templates in $SONDE_SHARED/data/chat-templates"; fi
    if [ -f "$peers/models/smollm2-hf/tokenizer.json" ]; then check interop_chat_smollm2 render "$peers/models/smollm2-hf"
    else skip interop_chat_smollm2 "no folder of SmolLM2"; fi
fi
exit $failed

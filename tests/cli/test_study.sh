#!/usr/bin/env bash
# tools/study-dict: says its plan, leaves a file a figure, takes none twice and goes on with a training that was stopped.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf || not_ok make_model failed
mkdir -p in/text
python3 - <<'X'
import random
rng = random.Random(2)
words = "the cat sat on the mat and the red gate bridge with a song of prime numbers over water".split()
with open("in/text/a.txt", "w") as f:
    for i in range(300):
        f.write(" ".join(rng.choice(words) for _ in range(40)) + ".\n\n")
X
"$sonde" capture tiny.gguf in/text --site resid_post.1 --tokens 6000 -o in/acts -q >/dev/null || not_ok capture failed
export SONDE_BIN=$sonde SONDE_MODEL_HF=$PWD/tiny.gguf SONDE_PEERS=$PWD/none
study() { "$root/tools/study-dict" "$@" --acts in/acts --out s --layer 1 --width 64 --k 4 --tokens 4000 >log 2>&1; }
study --plan && grep -q '^plan, about.*million 192 min' log && [ ! -e s/transcoder.json ] && ok plan || not_ok plan "$(cat log)"
study transcoder && grep -q '| skip_transcoder | 0' log && ok transcoder || not_ok transcoder "$(cat log)"
study transcoder && grep -q 'nothing is left' log && ! grep -q 'dict train' log && ok nothing_twice || not_ok nothing_twice "$(cat log)"
study million --hour 0.2 --widths 64,128 && grep -q '^ *128 features: .* CE recovered .*silent_whole_run' log && ok equal_time || not_ok equal_time "$(cat log)"
study million --hour 0.2 --widths 64,128 --report && grep -q '^ *64 features: ' log && ! grep -q ' s$' log && ok report || not_ok report "$(cat log)"
# A checkpoint is gone on with.
"$sonde" dict train in/acts --width 64 --k 4 --tokens 400000 -o s/main >/dev/null 2>&1 & p=$!
for _ in $(seq 400); do sleep 0.05; [ "$(wc -l < s/main/events.jsonl 2>/dev/null || echo 0)" -gt 10 ] && break; done
kill -INT $p; wait $p
study absorption; grep -q 'dict train --resume' log && [ -e s/main/cfg.json ] && ok resumes || not_ok resumes "$(cat log)"
finish

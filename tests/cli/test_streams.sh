#!/usr/bin/env bash
# stdout and stderr: what a terminal gets and what a pipe gets, closed pipes, full disks, silence.
. "$(dirname "$0")/lib.bash"
cd "$dir" || exit 1
python3 "$here/make_model.py" tiny.gguf
esc=$'\x1b'

# A terminal: columns, bold heads; NO_COLOR and TERM=dumb take the colours away; the text's own escapes never arrive.
unset NO_COLOR; export TERM=xterm
on_tty "$sonde" tokenize tiny.gguf --text "the${esc}[31mcat"
grep -q "^${esc}\[1m *id  piece" out && ok terminal_has_colours || not_ok terminal_has_colours "$(cat -v out)"
grep -q "${esc}\[31m" out && not_ok terminal_is_not_steered "$(cat -v out)" || { grep -qF '\x1b' out && ok terminal_is_not_steered || not_ok terminal_is_not_steered "$(cat -v out)"; }
grep -q '^ *257  the' out && ok terminal_has_columns || not_ok terminal_has_columns "$(cat -v out)"
# Where a terminal is too narrow for keys and values side by side, a value stands below its key.
TTY_COLUMNS=20 on_tty "$sonde" info tiny.gguf --no-hash -q
if [ $rc -eq 0 ] && [ "$(tr -d '\r' <"$dir/out" | wc -l)" -lt 70 ] && tr -d '\r' <"$dir/out" | grep -qx '  llama'; then ok narrow_terminal; else not_ok narrow_terminal "$(what_happened)"; fi
NO_COLOR=1 on_tty "$sonde" tokenize tiny.gguf --text the
grep -q "$esc" out && not_ok no_color "$(cat -v out)" || ok no_color
TERM=dumb on_tty "$sonde" tokenize tiny.gguf --text the
grep -q "$esc" out && not_ok dumb_terminal "$(cat -v out)" || ok dumb_terminal
on_tty "$sonde" tokenise
grep -q "${esc}\[31msonde:${esc}\[0m there is no command" out && ok errors_in_red || not_ok errors_in_red "$(cat -v out)"
long=$(printf 'the cat sat on the mat %.0s' 1 2 3 4 5 6 7 8 9 10)
on_tty "$sonde" info "$root/tests/cli/no-$(tr ' ' - <<<"$long")x.gguf"
[ $rc -eq 4 ] && ok exit_code_on_terminals || not_ok exit_code_on_terminals "$rc $(cat -v out)"
export NO_COLOR=1 TERM=dumb

# A pipe: tab-separated, bytes as they are.
"$sonde" tokenize tiny.gguf --text "the cat" | head -n 1 | grep -qP '^id\tpiece$' && ok pipe_has_tabs || not_ok pipe_has_tabs
"$sonde" help --markdown | head -n 1 >/dev/null; [ "${PIPESTATUS[0]}" -eq 0 ] && ok closed_pipe_is_no_error || not_ok closed_pipe_is_no_error
"$sonde" tokenize tiny.gguf --text "$long$long$long$long" --json 2>err | true; [ ! -s err ] && ok closed_pipe_is_silent || not_ok closed_pipe_is_silent "$(cat err)"
if [ -w /dev/full ]; then
    for c in version help 'version --json' 'info tiny.gguf' 'tokenize tiny.gguf --text the' 'completion bash' 'version -h'; do
        "$sonde" $c >/dev/full 2>err; rc=$?
        name="full_disk_$(tr -c 'a-z\n' _ <<<"$c")"
        if [ $rc -eq 5 ] && grep -q '^sonde: cannot write the result' err && grep -q '^hint: ' err && [ "$(wc -l <err)" -eq 2 ]; then ok "$name"; else not_ok "$name" "exit code $rc" "$(cat err)"; fi
    done
else
    skip full_disk "no /dev/full here"
fi
# A long answer on a terminal: the bar, which clears the line it stands on, is gone when the answer begins.
python3 "$here/make_model.py" deep.gguf --layers 120
on_tty "$sonde" run deep.gguf -p 'the cat' -n 240 --cpu ref -t 1
[ $rc -eq 0 ] && ! grep -q generate out && ok answer_stays_on_the_terminal || not_ok answer_stays_on_the_terminal "$(cat -v out | head -c 2000)"
"$sonde" doctor -q --no-measure >out 2>err && [ ! -s err ] && ok quiet_is_quiet || not_ok quiet_is_quiet "$(cat err)"
finish

#!/usr/bin/env bash
# Help, suggestions, the documents made of the option tables, completion.
. "$(dirname "$0")/lib.bash"

run help
commands=$(sed -n '/^usage:/,/^`sonde/p' "$dir/out" | sed -n 's/^  \([a-z]* \?[a-z]*\)  .*/\1/p' | sed 's/ *$//')
[ -n "$commands" ] && ok help_lists_commands || not_ok help_lists_commands "$(what_happened)"

# Every command answers -h with what `help` says and what docs/cli.md holds; and --json says its schema there.
while read -r c; do
    name="help_of_${c// /_}"
    run $c -h
    cp "$dir/out" "$dir/short"
    code=$rc
    run help $c
    if [ $code -ne 0 ] || [ $rc -ne 0 ] || ! cmp -s "$dir/short" "$dir/out"; then not_ok "$name" "-h and help differ" "$(what_happened)"; continue; fi
    if ! grep -q "^usage: sonde $c" "$dir/short"; then not_ok "$name" "no usage line" "$(what_happened)"; continue; fi
    awk -v head="## sonde $c" '$0 == head { on = 1; next } on && /^```text/ { body = 1; next } on && /^```$/ { exit } on && body' "$root/docs/cli.md" >"$dir/doc"
    if cmp -s "$dir/doc" "$dir/short"; then ok "$name"; else not_ok "$name" "docs/cli.md differs; run tools/docs" "$(diff "$dir/doc" "$dir/short" | head)"; fi
done <<<"$commands"

expect_exit no_command_is_usage 2
[ ! -s "$dir/out" ] && grep -q '^usage: sonde' "$dir/err" && ok no_command_prints_usage || not_ok no_command_prints_usage "$(what_happened)"
expect_error unknown_command 2 "there is no command 'tokenise'" tokenise
grep -q 'did you mean `sonde tokenize`' "$dir/err" && ok nearest_command || not_ok nearest_command "$(what_happened)"
expect_error unknown_flag 2 'has no flag --tetx' tokenize m.gguf --tetx a
grep -q 'did you mean --text' "$dir/err" && ok nearest_flag || not_ok nearest_flag "$(what_happened)"
expect_error no_abbreviations 2 'has no flag --js' version --js
expect_error help_topic_near 2 "has no verb 'trian'" help dict trian
grep -q 'did you mean `sonde dict train`' "$dir/err" && ok nearest_topic || not_ok nearest_topic "$(what_happened)"
expect_error help_of_a_command_and_more 2 'one command, it has no verb .extra' help info extra
grep -q 'did you mean `sonde help info`' "$dir/err" && ok help_of_the_command || not_ok help_of_the_command "$(what_happened)"
expect_error help_of_too_much 2 "takes no argument 'more'" help dict train more
expect_error flag_before_command 2 'flags come after the command' --json
for c in 'dict train' run trace 'feature search' 'feature build' help '' dict; do
    n=${c// /_}
    for width in 80 40; do
        TTY_COLUMNS=$width on_tty "$sonde" $c -h
        tr -d '\r' <"$dir/out" | sed '/^examples:/,/^$/d' | awk -v w=$width 'length($0) > w { bad = 1; print } END { exit bad || NR < 5 }' >"$dir/long" && ok "help_fits_${width}_$n" || not_ok "help_fits_${width}_$n" "$(cat "$dir/long")"
    done
    [ -n "$c" ] || continue
    grep -Eq '(comma-separated|default [^)]*\)).*\(\1|^options:$' "$dir/out" && [ "$c" = help ] && not_ok "help_is_clean_$n" "$(cat "$dir/out")" || ok "help_is_clean_$n"
done
"$sonde" help --markdown | grep -E '\([^()]*default [^()]*\) \((comma|may be)|; default [^()]*(\(comma|, in [a-z]*s)' >"$dir/twice" && not_ok one_bracket_a_flag "$(cat "$dir/twice")" || ok one_bracket_a_flag
expect_error unknown_help_topic 2 "no command 'nothing'" help nothing
grep -q 'see `sonde -h`' "$dir/err" && ok unknown_topic_sees_the_list || not_ok unknown_topic_sees_the_list "$(what_happened)"
expect_error value_missing 2 'text needs a value' tokenize m.gguf --text
expect_error argument_missing 2 'needs MODEL' info
expect_error argument_too_many 2 "takes no argument 'b'" info a b
expect_error mode_unknown 2 'one of faithful' score m.gguf x --mode fats
expect_error threads_out_of_range 2 'between 1 and 1024' info m.gguf --threads 0
if grep -q '^  dict train' <<<"$("$sonde" help)"; then
    expect_exit noun_without_verb 2 dict
    expect_exit noun_help 0 dict -h
    expect_error unknown_verb 2 "has no verb 'tarin'" dict tarin
    grep -q 'did you mean `sonde dict train`' "$dir/err" && ok nearest_verb || not_ok nearest_verb "$(what_happened)"
fi
expect_out version_line version.exp version
expect_out version_flag version.exp --version
expect_json version_json sonde.version/1 'd["version"] == "0.1.0" and "oneDNN" in d["libraries"]' version --json

run help --man
if [ $rc -eq 0 ] && grep -q '^\.SH EXIT STATUS' "$dir/out" && cmp -s "$dir/out" "$root/docs/sonde.1"; then ok man_page; else not_ok man_page "run tools/docs"; fi

# Completion: what the shell offers at three places.
complete_bash() { # WORDS.. with the last one being completed
    bash --norc -c 'source "$1"; shift; COMP_WORDS=(sonde "$@"); COMP_CWORD=$#; _sonde; printf "%s\n" "${COMPREPLY[@]}"' - "$dir/completion" "$@"
}
"$sonde" completion bash >"$dir/completion"
[ "$(complete_bash toke)" = tokenize ] && ok bash_completes_commands || not_ok bash_completes_commands "$(complete_bash toke)"
[ "$(complete_bash tokenize --dec)" = --decode ] && ok bash_completes_flags || not_ok bash_completes_flags "$(complete_bash tokenize --dec)"
[ "$(complete_bash info m --cpu avx5)" = avx512 ] && ok bash_completes_values || not_ok bash_completes_values "$(complete_bash info m --cpu avx5)"
[ "$(complete_bash dict tr)" = train ] && ok bash_completes_verbs || not_ok bash_completes_verbs "$(complete_bash dict tr)"
[ "$(complete_bash dict train --wid)" = --width ] && ok bash_completes_flags_of_verbs || not_ok bash_completes_flags_of_verbs "$(complete_bash dict train --wid)"
[ "$(complete_bash help toke)" = tokenize ] && ok bash_completes_topics || not_ok bash_completes_topics "$(complete_bash help toke)"
[ "$(complete_bash help dict tr)" = train ] && ok bash_completes_topics_of_nouns || not_ok bash_completes_topics_of_nouns "$(complete_bash help dict tr)"
[ "$(complete_bash capture m c --site resid_po)" = resid_post. ] && ok bash_completes_sites || not_ok bash_completes_sites "$(complete_bash capture m c --site resid_po)"
[ "$(complete_bash --v)" = --version ] && ok bash_completes_first_flags || not_ok bash_completes_first_flags "$(complete_bash --v)"
if command -v zsh >/dev/null; then
    "$sonde" completion zsh >"$dir/zsh"
    got=$(zsh -f -c 'autoload -U compinit && compinit -u -d '"$dir"'/zd && source '"$dir"'/zsh && COMP_WORDS=(x sonde toke) && whence -w _sonde' 2>&1)
    [ "$got" = "_sonde: function" ] && ok zsh_reads_its_script || not_ok zsh_reads_its_script "$got"
else
    skip zsh_reads_its_script "no zsh here"
fi
if command -v fish >/dev/null; then
    "$sonde" completion fish >"$dir/sonde.fish"
    got=$(HOME=$dir fish --no-config -c "source $dir/sonde.fish; complete -C 'sonde toke'" 2>&1 | cut -f 1)
    [ "$got" = tokenize ] && ok fish_completes_commands || not_ok fish_completes_commands "$got"
    got=$(HOME=$dir fish --no-config -c "source $dir/sonde.fish; complete -C 'sonde tokenize --deco'" 2>&1 | cut -f 1)
    [ "$got" = --decode ] && ok fish_completes_flags || not_ok fish_completes_flags "$got"
else
    skip fish_completes "no fish here"
fi
expect_error unknown_shell 2 "no completion for 'tcsh'" completion tcsh
finish

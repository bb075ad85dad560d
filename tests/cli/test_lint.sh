#!/usr/bin/env bash
# The checks must be able to fail: a small tree with one fault of each kind, and the same tree without it.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
rc=0
mkdir -p "$dir/tools" "$dir/src/base" "$dir/src/num" "$dir/src/store" "$dir/src/odd" "$dir/include/sonde" "$dir/tests/unit/base"
cp "$root"/tools/check-* "$root"/tools/csource.py "$root"/tools/exports "$root"/tools/lint "$dir/tools/"
cp "$root/Makefile" "$dir/"
cd "$dir" || exit 1
git init -q .
cat >include/sonde/a.h <<'X'
#ifndef A_H
#define A_H
#ifdef __cplusplus
extern "C" {
#endif
int sd_public(int a, int b);
static inline int sd_inline(int a) { return a; }
#ifdef __cplusplus
}
#endif
#endif
X
printf '#ifndef B_H\n#define B_H\n#include <stddef.h>\nsize_t sd_base(size_t a);\n#endif\n' >src/base/b.h
printf '#include "base/b.h"\n/* malloc( in words is no fault: printf("x") */\nsize_t sd_base(size_t a) { return a; }\n' >src/base/b.c
printf '#include "base/b.h"\nint sd_public(int a, int b) { return a + b; }\nsize_t sd_num(void);\nsize_t sd_num(void) { return sd_base(1); }\n' >src/num/n.c

build() {
    mkdir -p out/release/src/base out/release/src/num
    cc -Isrc -Iinclude -fPIC -c src/base/b.c -o out/release/src/base/b.o && cc -Isrc -Iinclude -fPIC -c src/num/n.c -o out/release/src/num/n.o &&
        tools/exports 1.2.3 >out/map && cc -shared -Wl,--version-script=out/map -o out/release/libsonde.so out/release/src/*/*.o
}
verdict() { # NAME OUTPUT-FILE
    if [ "$1" = 0 ]; then echo "[       OK ] $2"; else echo "[  FAILED  ] $2"; sed 's/^/    /' "$3"; rc=1; fi
}
clean() { # CHECK
    tools/check-"$1" >out/log 2>&1; verdict $? "$1 passes a clean tree" out/log
}
fault() { # CHECK WORDS FILE TEXT: the text appended to the file is found, and named
    local saved=""
    [ -f "$3" ] && { saved=$dir/out/saved; cp "$3" "$saved"; }
    printf '%b\n' "$4" >>"$3"
    [ "$1" = calls ] && build
    tools/check-"$1" >out/log 2>&1
    local status=$?
    [ $status -eq 1 ] && grep -qF -- "$3" out/log && grep -qF -- "$2" out/log
    verdict $? "$1 finds: $2" out/log
    if [ -n "$saved" ]; then cp "$saved" "$3"; else rm -f "$3"; fi
}
mkdir -p out; build || exit 1
echo out >.gitignore
for c in layers headers calls size banned todo paths; do clean "$c"; done
fault layers "base includes num/x.h" src/base/b.c '#include "num/x.h"'
fault layers "store includes model/x.h" src/store/s.c '#include "model/x.h"'
fault layers "<sqlite3.h> is included from src/store/ only" src/num/n.c '#include <sqlite3.h>'
fault layers "has no place" src/odd/o.c 'int a;'
fault layers "an installed header includes base/b.h" include/sonde/a.h '#include "base/b.h"'
fault layers "base includes num/x.h" tests/unit/base/test_b.c '#include "num/x.h"'
fault layers "has the same name" src/num/b.c 'int a;'
fault headers "uint8_t" src/num/n.h 'uint8_t sd_x(void);'
fault headers "as C++" include/sonde/c.h 'int sd_class(int class);'
fault calls "calls sd_num of src/num" src/base/b.c 'size_t sd_num(void);\nsize_t sd_up(void);\nsize_t sd_up(void) { return sd_num(); }'
fault calls "calls malloc" src/num/n.c '#include <stdlib.h>\nvoid *sd_m(void);\nvoid *sd_m(void) { return malloc(3); }'
fault size "at most 900" src/base/b.c "$(printf 'x\\n%.0s' $(seq 900))"
fault size "a header has at most 250" src/base/b.h "$(printf '\\n%.0s' $(seq 250))"
fault size "sd_wide has 8 parameters" src/base/b.h 'int sd_wide(int a, int (*f)(int, int), int c, int d,\n    int e, int g, int h, int i);'
fault size "long_one has 123 lines" src/num/n.c "static void long_one(void)\\n{\\n$(printf ';\\n%.0s' $(seq 120))}"
fault banned "strcpy is banned" src/num/n.c 'void f(char *a) { strcpy(a, "b"); }'
fault banned "malloc is called in src/base/mem.c only" src/num/n.c 'void *f(void) { return malloc (1); }'
fault banned "printf prints" src/num/n.c 'void f(void) { printf("a"); }'
fault banned "getenv reads" src/num/n.c 'char *f(void) { return getenv("A"); }'
fault todo "later" src/num/n.c '/* TO''DO: later */'
fault todo "later" src/num/n.c '/* FIX''ME later, see the tracker */'
fault paths "some" src/num/n.c '/* /ho''me/some */'
fault paths "simple" note.md 'see py''pi.org/simple'
fault paths "\"/ro""ot" note.md 'p = "/ro''ot"'
# Numbered notes, relative paths and words pass.
printf '/* TO''DO #12: a home/work path, ~/wo''rk and network/ro''ot are none */\n' >>src/num/n.c
clean todo
clean paths
grep -q '^SONDE_1 {' out/map && grep -q ' sd_public;' out/map && ! grep -q sd_inline out/map
verdict $? "exports lists declared functions, not inline ones" out/map
build; sed -i 's/sd_public;/sd_num;/' out/map; cc -shared -Wl,--version-script=out/map -o out/release/libsonde.so out/release/src/*/*.o
tools/check-calls >out/log 2>&1; [ $? -eq 1 ] && grep -q 'sd_public is declared in include/ and not exported' out/log
verdict $? "calls finds a function that is not exported" out/log
tools/lint size todo >out/log 2>&1; verdict $? "lint passes what it is asked for" out/log
echo '/* XX''X */' >>src/num/n.c
tools/lint size todo >out/log 2>&1; [ $? -eq 1 ] && grep -q '1 of 2 checks passed' out/log && grep -q 'src/num/n.c' out/log
verdict $? "lint fails when one check does" out/log
exit $rc

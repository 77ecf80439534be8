#!/bin/sh
# Builds the committed object from the C sources beside it. The same sources give the same bytes on every machine that has
# clang 14: nothing is included from outside this directory, and no path of the machine goes in.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
CLANG=${CLANG:-clang-14}
LLVM_STRIP=${LLVM_STRIP:-llvm-strip-14}
"$CLANG" --version | grep -q 'clang version 14\.' || { echo "build.sh: $CLANG is not clang 14" >&2; exit 1; }
"$CLANG" -target bpfel -mcpu=v3 -O2 -g -nostdinc -Wall -Werror -Wno-address-of-packed-member -Wno-unused-function \
	-fno-ident -fdebug-compilation-dir=. -fdebug-prefix-map="$PWD"=. \
	-c datapath.c -o "$out/datapath.o"
"$LLVM_STRIP" -g "$out/datapath.o"

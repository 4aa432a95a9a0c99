#!/bin/sh
# The shared library exports the functions of symbols.txt, and nothing else.
#
#     tests/ffi/symbols.sh LIBRARY
#
# `python3 tests/ffi/abi.py update` writes the list anew from the header.
here=$(cd "$(dirname "$0")" && pwd)
# A name alone for code; with its kind before it for anything else.
nm -D --defined-only "$1" | awk '{ print ($2 == "T" ? "" : $2 " ") $3 }' | LC_ALL=C sort |
    diff "$here/symbols.txt" -

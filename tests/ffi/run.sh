#!/bin/sh
# Compiles and runs the C and C++ programs against the built library.
#
#     tests/ffi/run.sh [DIRECTORY OF libmodelserve_c.so AND .a]      (default: target/debug)
#
# CC, CXX, CFLAGS and PYTHON are heeded. Memory is checked with valgrind where there is one.
root=$(cd "$(dirname "$0")/../.." && pwd)
lib=${1:-$root/target/debug}
lib=$(cd "$lib" && pwd) || exit 2
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT
. "$root/tests/ffi/report.sh"
CC=${CC:-cc}
CXX=${CXX:-c++}
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
warnings="-Wall -Wextra -Wpedantic -Werror"
system="-lpthread -ldl -lm"
data=$root/tests/data
v1=$data/iris_v1/model.onnx
v2=$data/iris_v2/model.onnx
strings=$data/logistic_strings/model.onnx
maps=$data/logistic_strings_zipmap/model.onnx
seeds=$root/tests/fuzz/seeds/booster_load
lightgbm=$seeds/trees.txt
xgboost=$seeds/trees.ubj
# Linear models, trees, networks and native files: each has the fast path.
fast="$v1 $strings $data/linear_regression/model.onnx $data/gradient_boosting/model.onnx"
fast="$fast $data/random_forest/model.onnx $data/mlp/model.onnx $data/svc/model.onnx"
fast="$fast $data/scaler_pca/model.onnx $lightgbm $xgboost $seeds/categories.txt"

{
    echo '#include <modelserve.h>'
    echo '#include <modelserve.h>'
    echo 'int main(void) { return 0; }'
} >"$out/twice.c"
{
    echo '#include <modelserve.hpp>'
    echo '#include <modelserve.hpp>'
    echo 'int main() { return 0; }'
} >"$out/twice.cpp"
for std in c99 c11; do
    t "modelserve.h alone, $std" $CC -std=$std $warnings -I"$root/include" \
        -fsyntax-only "$out/twice.c"
done
t "modelserve.h alone, c++17" $CXX -x c++ -std=c++17 $warnings -I"$root/include" \
    -fsyntax-only "$out/twice.c"
t "modelserve.hpp alone, c++17" $CXX -std=c++17 $warnings -I"$root/include" \
    -fsyntax-only "$out/twice.cpp"

t "exported symbols" sh "$root/tests/ffi/symbols.sh" "$lib/libmodelserve_c.so"

# build NAME LANGUAGE SOURCE: NAME-shared and NAME-static.
includes="-I$root/include -I$root/tests/ffi/c"
build() {
    case $2 in
    c) compile="$CC -std=c99 -D_POSIX_C_SOURCE=200809L" ;;
    *) compile="$CXX -std=c++17" ;;
    esac
    case $3 in
    /*) source=$3 ;;
    *) source=$root/$3 ;;
    esac
    t "$1: compile, shared" $compile $warnings $CFLAGS -g $includes "$source" \
        -o "$out/$1-shared" -L"$lib" -lmodelserve_c "-Wl,-rpath,$lib" $system
    t "$1: compile, static" $compile $warnings $CFLAGS -g $includes "$source" \
        -o "$out/$1-static" "$lib/libmodelserve_c.a" $system
}
two_at_once
build predict c examples/c/predict.c
build api c tests/ffi/c/api.c
build api-cpp c++ tests/ffi/cpp/api.cpp
build serving-example c examples/c/serving.c
build serving c tests/ffi/c/serving.c
build callbacks c tests/ffi/c/callbacks.c
build refusals c tests/ffi/c/refusals.c
build serving-cpp c++ tests/ffi/cpp/serving.cpp
build submitting c tests/ffi/c/submitting.c
build recording c tests/ffi/c/recording.c
build operating c tests/ffi/c/operating.c
build operating-cpp c++ tests/ffi/cpp/operating.cpp
build doubles c tests/ffi/c/doubles.c
build explain c tests/ffi/c/explain.c
build explain-cpp c++ tests/ffi/cpp/explain.cpp
build allocations c tests/ffi/c/allocations.c
# NULL in each pointer and a wrong number in each handle of every function of the header.
settle
t "null-matrix: written" sh -c "\"$python\" \"$root/tests/ffi/null_matrix.py\" \
    \"$root/include/modelserve.h\" >\"$out/null-matrix.c\""
build null-matrix c "$out/null-matrix.c"

two_at_once
for link in shared static; do
    t "predict: run, $link" "$out/predict-$link" "$v1" "$v2"
    t "api: run, $link" "$out/api-$link" "$v1" "$v2" "$strings" "$maps"
    t "api-cpp: run, $link" "$out/api-cpp-$link" "$v1" "$v2" "$strings"
    t "serving-example: run, $link" "$out/serving-example-$link" "$v1" "$v2"
    t "serving: run, $link" "$out/serving-$link" "$v1" "$v2"
    t "callbacks: run, $link" "$out/callbacks-$link" "$v1" "$v2"
    t "callbacks: fork, $link" "$out/callbacks-$link" "$v1" "$v2" fork
    t "refusals: run, $link" "$out/refusals-$link" "$v1" "$v2"
    t "serving-cpp: run, $link" "$out/serving-cpp-$link" "$v1" "$v2"
    t "submitting: run, $link" "$out/submitting-$link" "$v1" "$v2"
    t "recording: run, $link" "$out/recording-$link" "$v1" "$v2"
    t "operating: run, $link" "$out/operating-$link" "$v1" "$v2"
    t "operating-cpp: run, $link" "$out/operating-cpp-$link" "$v1" "$v2"
    t "doubles: run, $link" "$out/doubles-$link" "$v1" "$strings" "$lightgbm"
    t "explain: run, $link" "$out/explain-$link" "$lightgbm" "$xgboost" "$seeds/linear.json" "$v1"
    t "explain-cpp: run, $link" "$out/explain-cpp-$link" "$v1" "$lightgbm" "$xgboost"
    t "null-matrix: run, $link" "$out/null-matrix-$link" "$v1" "$lightgbm"
    # Not with valgrind, whose allocator would be counted instead.
    t "allocations: run, $link" "$out/allocations-$link" $fast
done

if ! command -v valgrind >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get install -y valgrind >/dev/null 2>&1
fi
if command -v valgrind >/dev/null 2>&1; then
    # Fair: else a thread that waits by spinning can keep the one that it waits for from running.
    memcheck="valgrind --quiet --fair-sched=try --leak-check=full --errors-for-leak-kinds=definite,indirect"
    memcheck="$memcheck --error-exitcode=9"
    t "predict: valgrind" $memcheck "$out/predict-shared" "$v1" "$v2"
    t "api: valgrind" $memcheck "$out/api-shared" "$v1" "$v2" "$strings" "$maps"
    t "serving-example: valgrind" $memcheck "$out/serving-example-shared" "$v1" "$v2"
    t "serving: valgrind" $memcheck "$out/serving-shared" "$v1" "$v2"
    t "callbacks: valgrind" $memcheck "$out/callbacks-shared" "$v1" "$v2"
    # A child has lost what its parent's threads own: errors only.
    t "callbacks: fork, valgrind" valgrind --quiet --fair-sched=try --error-exitcode=9 \
        "$out/callbacks-shared" "$v1" "$v2" fork
    t "refusals: valgrind" $memcheck "$out/refusals-shared" "$v1" "$v2"
    t "serving-cpp: valgrind" $memcheck "$out/serving-cpp-shared" "$v1" "$v2"
    t "submitting: valgrind" $memcheck "$out/submitting-shared" "$v1" "$v2"
    t "recording: valgrind" $memcheck "$out/recording-shared" "$v1" "$v2"
    t "operating: valgrind" $memcheck "$out/operating-shared" "$v1" "$v2"
    t "operating-cpp: valgrind" $memcheck "$out/operating-cpp-shared" "$v1" "$v2"
    t "doubles: valgrind" $memcheck "$out/doubles-shared" "$v1" "$strings" "$lightgbm"
    t "explain: valgrind" $memcheck "$out/explain-shared" "$lightgbm" "$xgboost" \
        "$seeds/linear.json" "$v1"
    t "null-matrix: valgrind" $memcheck "$out/null-matrix-shared" "$v1" "$lightgbm"
    t "explain-cpp: valgrind" $memcheck "$out/explain-cpp-shared" "$v1" "$lightgbm" "$xgboost"
else
    echo "skip  valgrind: not installed"
fi
settle

# A program compiled with the last release's header works with this library, if the interface is
# still that one.
interface() {
    sed -n 's/^#define MODELSERVE_ABI_VERSION //p' "$1/modelserve.h"
}
last=$(echo "$root"/tests/ffi/abi/*)
if [ "$(interface "$last")" = "$(interface "$root/include")" ]; then
    t "last release's header: compile" $CC -std=c99 $warnings $CFLAGS -I"$last" \
        "$root/tests/ffi/consumer/consumer.c" -o "$out/last" -L"$lib" -lmodelserve_c \
        "-Wl,-rpath,$lib" $system
    t "last release's header: run" "$out/last" "$v1"
else
    echo "skip  last release's header: MODELSERVE_ABI_VERSION is another"
fi

# Prints its tests itself; its sum says the rest.
sh "$root/tests/ffi/install.sh" "$lib"
installed=$?

finish && [ "$installed" -eq 0 ]

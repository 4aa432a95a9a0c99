#!/bin/sh
# Compiles and runs the C and C++ programs against the built library.
#
#     tests/ffi/run.sh [DIRECTORY OF libmodelserve_c.so AND .a]      (default: target/debug)
#
# CC, CXX, CFLAGS, LDFLAGS and PYTHON are heeded, and HANDLE_OPERATIONS, the random calls of
# tests/ffi/c/handles.c. Memory is checked with valgrind where there is one.
# With SANITIZED=1 it is the compiler that checks (`make asan`, `make tsan`) or counts
# (`make coverage`): the programs are run by $RUN where that is given, there is no valgrind, and they
# are linked with the static library alone, or with what LINKS names (shared, static).
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
[ -n "$LINKS" ] || [ -n "$SANITIZED" ] || LINKS="shared static"
LINKS=${LINKS:-static}
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
for std in c++17 c++20; do
    for errors in "" -DMODELSERVE_NO_EXCEPTIONS -fno-exceptions; do
        t "modelserve.hpp alone, $std $errors" $CXX -std=$std $errors $warnings -I"$root/include" \
            -fsyntax-only "$out/twice.cpp"
    done
done

[ -n "$SANITIZED" ] || t "exported symbols" sh "$root/tests/ffi/symbols.sh" "$lib/libmodelserve_c.so"

# What links a program with the library.
linked() {
    case $1 in
    shared) echo "-L$lib" -lmodelserve_c "-Wl,-rpath,$lib" ;;
    *) echo "$lib/libmodelserve_c.a" ;;
    esac
}

# build NAME LANGUAGE SOURCE: compiles it, for being linked as NAME-shared and NAME-static.
compiled=
includes="-I$root/include -I$root/tests/ffi/c"
build() {
    case $2 in
    c) compile="$CC -std=c99 -D_POSIX_C_SOURCE=200809L" link=$CC ;;
    results) compile="$CXX -std=c++17 -fno-exceptions" link=$CXX ;;
    *) compile="$CXX -std=c++17" link=$CXX ;;
    esac
    case $3 in
    /*) source=$3 ;;
    *) source=$root/$3 ;;
    esac
    t "$1: compile" $compile $warnings $CFLAGS -g $includes -c "$source" -o "$out/$1.o"
    compiled="$compiled $1:$link"
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
# NULL in each pointer and a wrong number in each handle of every function of the header.
"$python" "$root/tests/ffi/null_matrix.py" "$root/include/modelserve.h" >"$out/null-matrix.c"
build null-matrix c "$out/null-matrix.c"
build dlpack c tests/ffi/c/dlpack.c
build memory c tests/ffi/c/memory.c
build asking c tests/ffi/c/asking.c
build dtypes c tests/ffi/c/dtypes.c
build handles c tests/ffi/c/handles.c
build throwing c++ tests/ffi/cpp/throwing.cpp
build results results tests/ffi/cpp/results.cpp
# Its allocator would be that of a sanitizer.
[ -n "$SANITIZED" ] || build allocations c tests/ffi/c/allocations.c
settle
two_at_once
for program in $compiled; do
    name=${program%%:*}
    link=${program#*:}
    for library in $LINKS; do
        t "$name: link, $library" $link $LDFLAGS "$out/$name.o" -o "$out/$name-$library" \
            $(linked "$library") $system
    done
done
settle

two_at_once
for link in $LINKS; do
    t "predict: run, $link" $RUN "$out/predict-$link" "$v1" "$v2"
    t "api: run, $link" $RUN "$out/api-$link" "$v1" "$v2" "$strings" "$maps"
    t "api-cpp: run, $link" $RUN "$out/api-cpp-$link" "$v1" "$v2" "$strings"
    t "serving-example: run, $link" $RUN "$out/serving-example-$link" "$v1" "$v2"
    t "serving: run, $link" $RUN "$out/serving-$link" "$v1" "$v2"
    t "callbacks: run, $link" $RUN "$out/callbacks-$link" "$v1" "$v2"
    t "callbacks: fork, $link" $RUN "$out/callbacks-$link" "$v1" "$v2" fork
    t "refusals: run, $link" $RUN "$out/refusals-$link" "$v1" "$v2"
    t "serving-cpp: run, $link" $RUN "$out/serving-cpp-$link" "$v1" "$v2"
    t "submitting: run, $link" $RUN "$out/submitting-$link" "$v1" "$v2"
    t "recording: run, $link" $RUN "$out/recording-$link" "$v1" "$v2"
    t "operating: run, $link" $RUN "$out/operating-$link" "$v1" "$v2"
    t "operating-cpp: run, $link" $RUN "$out/operating-cpp-$link" "$v1" "$v2"
    t "doubles: run, $link" $RUN "$out/doubles-$link" "$v1" "$strings" "$lightgbm"
    t "explain: run, $link" $RUN "$out/explain-$link" "$lightgbm" "$xgboost" "$seeds/linear.json" "$v1"
    t "explain-cpp: run, $link" $RUN "$out/explain-cpp-$link" "$v1" "$lightgbm" "$xgboost"
    t "null-matrix: run, $link" $RUN "$out/null-matrix-$link" "$v1" "$lightgbm"
    t "dlpack: run, $link" $RUN "$out/dlpack-$link" "$v1"
    t "memory: run, $link" $RUN "$out/memory-$link" "$v1" "$v2" "$strings"
    t "asking: run, $link" $RUN "$out/asking-$link" "$v1" "$v2"
    t "dtypes: run, $link" $RUN "$out/dtypes-$link"
    t "handles: run, $link" $RUN "$out/handles-$link" "$v1" "$v2" "${HANDLE_OPERATIONS:-100000}"
    t "throwing: run, $link" $RUN "$out/throwing-$link" "$v1" "$strings"
    t "results: run, $link" $RUN "$out/results-$link" "$v1" "$v2" "$lightgbm"
    # Not with valgrind, whose allocator would be counted instead.
    [ -n "$SANITIZED" ] || t "allocations: run, $link" "$out/allocations-$link" $fast
done

settle
# The service of examples/cpp/service, under load. Its HTTP library is found on the system:
# HTTPLIB has the compiler's words for another place.
if [ -z "$HTTPLIB" ] && pkg-config --exists cpp-httplib 2>/dev/null; then
    HTTPLIB=$(pkg-config --cflags --libs cpp-httplib)
fi
{
    echo '#include <httplib.h>'
    echo 'int main() { return httplib::Server().is_running(); }'
} >"$out/httplib.cpp"
if $CXX -std=c++17 "$out/httplib.cpp" -o "$out/httplib" $HTTPLIB -lpthread 2>/dev/null; then
    for program in examples/cpp/service/main.cpp tests/ffi/cpp/service_load.cpp; do
        built=service-$(basename "$program" .cpp)
        t "$built: compile" $CXX -std=c++17 -Wall -Wextra $CFLAGS -g -I"$root/include" $HTTPLIB \
            -c "$root/$program" -o "$out/$built.o"
        t "$built: link" $CXX $LDFLAGS "$out/$built.o" -o "$out/$built" $(linked "${LINKS##* }") \
            $HTTPLIB $system
    done
    t "service: under load" $RUN "$out/service-service_load" "$out/service-main" "$v1" "$v2" "$out"
else
    echo "skip  service: no cpp-httplib is found (apt install libcpp-httplib-dev pkg-config)"
fi

two_at_once
if [ -z "$SANITIZED" ] && ! command -v valgrind >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get install -y valgrind >/dev/null 2>&1
fi
if [ -n "$SANITIZED" ]; then
    echo "skip  valgrind: the programs have a sanitizer"
elif command -v valgrind >/dev/null 2>&1; then
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
    t "dlpack: valgrind" $memcheck "$out/dlpack-shared" "$v1"
    t "memory: valgrind" $memcheck "$out/memory-shared" "$v1" "$v2" "$strings"
    t "asking: valgrind" $memcheck "$out/asking-shared" "$v1" "$v2"
    t "dtypes: valgrind" $memcheck "$out/dtypes-shared"
    t "throwing: valgrind" $memcheck "$out/throwing-shared" "$v1" "$strings"
else
    echo "skip  valgrind: not installed"
fi
settle

if [ -n "$SANITIZED" ]; then
    finish
    exit
fi

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

#!/bin/sh
# Installs the built library and uses it from outside of the tree: in a project that finds it by
# pkg-config and in one that finds it by CMake, with gcc and with clang.
#
#     tests/ffi/install.sh [DIRECTORY OF libmodelserve_c.so AND .a [all]]     (default: target/debug)
#
# A static program takes seconds to link, and C++ to compile: each project makes some of its programs,
# so that every standard is made once, and with `all` it makes all of them.
root=$(cd "$(dirname "$0")/../.." && pwd)
lib=${1:-$root/target/debug}
lib=$(cd "$lib" && pwd) || exit 2
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT
. "$root/tests/ffi/report.sh"
install=$root/bindings/c/install.sh
model=$root/tests/data/iris_v1/model.onnx
warnings="-Wall -Wextra -Wpedantic -Werror"
some_by_pkg_config="c99-shared c++17-shared c11-static"
some_by_cmake="c11-shared c++20-shared c++17-static"
if [ "$2" = all ]; then
    some_by_pkg_config="c99-shared c11-shared c++17-shared c++20-shared"
    some_by_pkg_config="$some_by_pkg_config c99-static c11-static c++17-static c++20-static"
    some_by_cmake=$some_by_pkg_config
fi

# Moved after it was installed: what is in it must not name the place.
t "install" env DESTDIR="$out/stage" PREFIX=/opt/modelserve LIBDIR= sh "$install" "$lib"
mv "$out/stage/opt/modelserve" "$out/moved"
prefix=$out/moved
version=$(sed -n 's/^Version: //p' "$prefix/lib/pkgconfig/modelserve.pc")
soname=$(readelf -d "$prefix/lib/libmodelserve.so" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
t "installed: exported symbols" sh "$root/tests/ffi/symbols.sh" "$prefix/lib/libmodelserve.so"

# answers PROGRAM: it needs the library by its SONAME, or not at all where it is static, and says
# what the model answers and which version was installed.
answers() {
    needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(libmodelserve.*\)\].*/\1/p')
    said=$("$1" "$model")
    echo "$1 needs '$needed' and says '$said'"
    case $1 in
    *-static) [ -z "$needed" ] || return 1 ;;
    *) [ "$needed" = "$soname" ] || return 1 ;;
    esac
    [ "$said" = "modelserve $version: label 2" ]
}

# by_pkg_config CC CXX
by_pkg_config() {
    programs=$some_by_pkg_config
    cp -r "$root/tests/ffi/consumer" "$out/consumer"
    t "pkg-config, $1: build" env PKG_CONFIG_PATH="$prefix/lib/pkgconfig" make -j2 \
        -C "$out/consumer/pkg-config" CC="$1" CXX="$2" LDFLAGS=-s $programs
    for program in $programs; do
        t "pkg-config, $1: $program" answers "$out/consumer/pkg-config/$program"
    done
    rm -r "$out/consumer"
}

# by_cmake CC CXX
by_cmake() {
    programs="$some_by_cmake either"
    cp -r "$root/tests/ffi/consumer" "$out/consumer"
    t "CMake, $1: configure" cmake -S "$out/consumer/cmake" -B "$out/consumer/build" \
        -DCMAKE_C_COMPILER="$1" -DCMAKE_CXX_COMPILER="$2" -DCMAKE_EXE_LINKER_FLAGS=-s \
        -DCMAKE_C_FLAGS="$warnings $CFLAGS" -DCMAKE_CXX_FLAGS="$warnings $CFLAGS" \
        -DCMAKE_PREFIX_PATH="$prefix" -DWANTED="$version"
    t "CMake, $1: build" cmake --build "$out/consumer/build" --parallel 2 --target $programs
    for program in $programs; do
        t "CMake, $1: $program" answers "$out/consumer/build/$program"
    done
    if [ -n "$3" ]; then
        t "CMake, $1: configure, static" cmake -Dmodelserve_USE_STATIC_LIBS=ON "$out/consumer/build"
        t "CMake, $1: build, static" cmake --build "$out/consumer/build" --target either
        mv "$out/consumer/build/either" "$out/consumer/build/either-static"
        t "CMake, $1: either-static" answers "$out/consumer/build/either-static"
    fi
    rm -r "$out/consumer"
}

for tool in pkg-config cmake; do
    command -v $tool >/dev/null 2>&1 || echo "skip  the project that uses $tool: not installed"
done
for compilers in "gcc g++" "clang clang++"; do
    if ! command -v ${compilers% *} >/dev/null 2>&1 || ! command -v ${compilers#* } >/dev/null 2>&1
    then
        echo "skip  projects with $compilers: not installed"
        continue
    fi
    ! command -v pkg-config >/dev/null 2>&1 || by_pkg_config $compilers
    ! command -v cmake >/dev/null 2>&1 || by_cmake $compilers $2
done
if command -v cmake >/dev/null 2>&1; then
    t "CMake: compatible versions" cmake \
        -DFILE="$prefix/lib/cmake/modelserve/modelserveConfigVersion.cmake" \
        -P "$root/tests/ffi/consumer/cmake/versions.cmake"
fi

# Where things go needs no real library: a small one of the same name will do.
small() {
    mkdir "$1" && : >"$1/libmodelserve_c.a" || return 1
    echo 'extern int nothing; int nothing;' >"$out/nothing.c"
    ${CC:-cc} -shared -fPIC "-Wl,-soname,$2" "$out/nothing.c" -o "$1/libmodelserve_c.so"
}
t "a small library" small "$out/small" "$soname"
t "a library of another version" small "$out/other" libmodelserve.so.99

# layout PREFIX LIBDIR EXPECTED: where the libraries are, and that the headers are found from there.
layout() {
    env DESTDIR="$out/layouts" PREFIX="$1" LIBDIR="$2" sh "$install" "$out/small" || return 1
    there=$out/layouts$3
    [ -f "$there/$soname" ] && [ -f "$there/libmodelserve.so" ] && [ -f "$there/libmodelserve.a" ] &&
        [ -f "$there/cmake/modelserve/modelserveConfig.cmake" ] || return 1
    command -v pkg-config >/dev/null 2>&1 || return 0
    # As a shell reads it: spaces are escaped.
    eval "found=$(PKG_CONFIG_PATH="$there/pkgconfig" pkg-config --variable=includedir modelserve)"
    [ -f "$found/modelserve.h" ] && [ -f "$found/modelserve.hpp" ]
}
t "layout: lib64" layout /opt/a lib64 /opt/a/lib64
t "layout: lib/x86_64-linux-gnu" layout /usr lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu
t "layout: absolute" layout /opt/b/ /opt/b/lib64 /opt/b/lib64
t "layout: spaces" layout "/opt/c d" "lib e" "/opt/c d/lib e"
t "layout: the root" layout / lib /lib

# refused WHY PREFIX LIBDIR LIBRARIES
refused() {
    ! env DESTDIR="$out/refused" PREFIX="$2" LIBDIR="$3" sh "$install" "$4" 2>"$out/why" || return 1
    cat "$out/why"
    grep -q "$1" "$out/why" && [ ! -e "$out/refused" ]
}
t "refused: libraries outside" refused "not below PREFIX" /opt/a /usr/lib "$out/small"
t "refused: a way up" refused "not a plain path" /opt/a ../lib "$out/small"
t "refused: another version" refused "SONAME 'libmodelserve.so.99'" /opt/a lib "$out/other"
t "refused: nothing built" refused "there is no" /opt/a lib "$out/nowhere"

finish

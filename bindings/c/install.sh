#!/bin/sh
# Installs the C and C++ interface from the directory into which cargo has built it:
#
#     bindings/c/install.sh [DIRECTORY OF libmodelserve_c.so AND .a]      (default: target/release)
#
# Heeded in the environment, and passed on by `make install`:
#     PREFIX    below which everything goes (/usr/local)
#     LIBDIR    the libraries' directory below PREFIX (lib)
#     DESTDIR   what is put before every path, for making packages (nothing)
# Nothing that is installed names PREFIX: the whole may be moved.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
built=${1:-${CARGO_TARGET_DIR:-$root/target}/release}

fail() {
    echo "install: $*" >&2
    exit 1
}

prefix=${PREFIX:-/usr/local}
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
prefix=${prefix%/}
libdir=${LIBDIR:-lib}
case $libdir in
"$prefix"/*) libdir=${libdir#"$prefix"/} ;;
/*) fail "LIBDIR $libdir is not below PREFIX $prefix" ;;
esac
libdir=${libdir%/}
case /$libdir/ in
*//* | */./* | */../*) fail "LIBDIR $libdir is not a plain path" ;;
esac
# The way back from there: `..` from lib, `../..` from lib/x86_64-linux-gnu.
up=$(printf '%s\n' "$libdir" | sed 's|[^/][^/]*|..|g')

shared=$built/libmodelserve_c.so
static=$built/libmodelserve_c.a
for library in "$shared" "$static"; do
    [ -f "$library" ] || fail "there is no $library: cargo build --release -p modelserve-c"
done
version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
soname=$("${READELF:-readelf}" -d "$shared" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
real=libmodelserve.so.$version
case $real in
"$soname" | "$soname".*) ;;
*) fail "$shared has the SONAME '$soname', which is not that of version $version: build it again" ;;
esac

include=${DESTDIR:-}$prefix/include
lib=${DESTDIR:-}$prefix/$libdir

# filled NAME DIRECTORY: the template NAME.in with what is known now.
filled() {
    sed -e "s|@VERSION@|$version|g" -e "s|@COMPATIBLE@|${soname#libmodelserve.so.}|g" \
        -e "s|@SONAME@|$soname|g" -e "s|@REAL@|$real|g" -e "s|@UP@|$up|g" \
        "$root/bindings/c/install/$1.in" >"$2/$1"
    chmod 644 "$2/$1"
}

install -d "$include" "$lib/pkgconfig" "$lib/cmake/modelserve"
install -m 644 "$root/include/modelserve.h" "$root/include/modelserve.hpp" "$include"
install -m 755 "$shared" "$lib/$real"
ln -sf "$real" "$lib/$soname"
ln -sf "$soname" "$lib/libmodelserve.so"
install -m 644 "$static" "$lib/libmodelserve.a"
filled modelserve.pc "$lib/pkgconfig"
filled modelserveConfig.cmake "$lib/cmake/modelserve"
filled modelserveConfigVersion.cmake "$lib/cmake/modelserve"
echo "modelserve $version is in $lib and $include"

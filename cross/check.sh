#!/bin/sh
# Builds the program for 64-bit boards and runs it as one under qemu: a node copies the library of another, of which it is told,
# and verifies it.
#
# usage: cross/check.sh [TARGET_FOLDER]
#
# Where the tools can't be fetched it says NOT CHECKED, and is no failure: a registry that is away is not the program's fault.
set -eu
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-musl
binary=${1:-target}/$target/release/allibrary

if ! command -v qemu-aarch64-static >/dev/null; then
    echo "boards: NOT CHECKED, qemu is missing: apt-get install qemu-user-static"
    exit 0
fi
if ! cross/build.sh --fetch "$target"; then
    echo "boards: NOT CHECKED, the tools to build for them can't be fetched"
    exit 0
fi
cross/build.sh "$target"

# A 16 KiB page is the largest that a board's kernel has (Pi 5): a part of the program must not begin within one.
if readelf -lW "$binary" | awk '$1 == "LOAD" && $NF != "0x10000" && $NF != "0x4000" { exit 1 }'; then
    echo "boards: $target can be loaded with pages of 16 KiB"
else
    echo "boards: $target can't be loaded with pages of 16 KiB" >&2
    exit 1
fi
if readelf -lW "$binary" | grep INTERP; then
    echo "boards: $target is not static" >&2
    exit 1
fi

DEMO_BOOTSTRAP=1 tests/demo.sh "qemu-aarch64-static -cpu cortex-a53 $binary" config </dev/null

#!/bin/sh
# Builds the program for boards and runs it on their processors, which qemu emulates: a node copies the library of another, of
# which it is told, and verifies it.
#
#   cross/check.sh PROFILE TARGET...
#
# Where the tools can't be fetched it says NOT CHECKED, and is no failure: a registry that is away is not the program's fault.
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 2 ] || { sed -n '5s/^#  *//p' "$0" >&2; exit 2; }
profile=$1
shift

# What runs a program for this target: the oldest processor that it is for.
emulator() {
    case $1 in
    aarch64-*) echo qemu-aarch64-static -cpu cortex-a53 ;;
    armv7-*) echo qemu-arm-static -cpu cortex-a7 ;;
    arm-*) echo qemu-arm-static -cpu arm1176 ;;
    esac
}

fail() {
    echo "$target $1" >&2
    exit 1
}

for target; do
    emulator=$(emulator "$target")
    if [ -n "$emulator" ] && ! command -v "${emulator%% *}" >/dev/null; then
        echo "$target: NOT CHECKED, qemu is missing: apt-get install qemu-user-static"
        continue
    fi
    if ! cross/build.sh --fetch "$target"; then
        echo "$target: NOT CHECKED, the tools to build for it can't be fetched"
        continue
    fi
    cross/build.sh "$target" "$profile"
    binary=${CARGO_TARGET_DIR:-target}/$target/$profile/allibrary

    # A 16 KiB page is the largest that a board's kernel has (Pi 5): two parts of a program with other rights can't share one.
    case $target in
    aarch64-*)
        readelf -lW "$binary" | awk '$1 == "LOAD" && $NF != "0x10000" && $NF != "0x4000" { exit 1 }' ||
            fail "can't be loaded with pages of 16 KiB"
        ;;
    esac
    if readelf -lW "$binary" | grep -q INTERP; then
        fail "is not static"
    fi
    $emulator "$binary" --version
    DEMO_BOOTSTRAP=1 tests/demo.sh "${emulator:+$emulator }$binary" config </dev/null
    echo "$target: built, and run ${emulator:+on ${emulator##* }, under qemu}"
done

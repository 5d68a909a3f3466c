#!/bin/sh
# Shows what the programs for boards are and what they need. To be run after `make cross-all`, with qemu-user-static and strace.
#
#   cross/report.sh TARGET...
#
# The system calls are those of an add, a verify, and some seconds of a node that is asked for its status. The memory is that of
# such a node, and as it runs under emulation, the emulator's is in it; tests/machine.sh measures it on a whole emulated board. A PC
# is not emulated.
set -eu
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
node=
trap 'kill $node 2>/dev/null || :; rm -rf "$dir"' EXIT

# Becomes the program. What it asks of the kernel is added to a file: each line has a process and a call.
traced() {
    if [ -n "$emulator" ]; then
        QEMU_STRACE=1 exec $emulator "$binary" --data "$dir/data" "$@" 2>>"$dir/calls" >"$dir/out"
    fi
    exec strace -D -f -qq -A -o "$dir/calls" "$binary" --data "$dir/data" "$@" >"$dir/out" 2>&1
}

echo "| target | bytes | shared libraries | parts aligned to | on | MiB, with the emulator's | system calls |"
echo "|---|---|---|---|---|---|---|"
for target; do
    binary=${CARGO_TARGET_DIR:-target}/$target/release/allibrary
    [ -x "$binary" ] || { echo "$target is not built: make cross-all" >&2; exit 1; }
    case $target in
    aarch64-*) emulator="qemu-aarch64-static -cpu cortex-a53" ;;
    armv7-*) emulator="qemu-arm-static -cpu cortex-a7" ;;
    arm-*) emulator="qemu-arm-static -cpu arm1176" ;;
    *) emulator= ;;
    esac
    rm -rf "$dir/data" "$dir/calls"
    libraries=$(readelf -dW "$binary" | grep -c '(NEEDED)' || :)
    aligned=$(readelf -lW "$binary" | awk '$1 == "LOAD" && !seen[$NF]++ { printf "%s ", $NF }')

    (traced add config)
    (traced verify)
    traced run --http 127.0.0.1:0 --listen /ip4/127.0.0.1/udp/0/quic-v1 &
    node=$!
    until (traced status); do sleep 0.2; done
    sleep 10
    kill "$node"
    wait "$node" || :
    calls=$(sed -n 's/^[0-9]*  *\([a-z_][a-z_0-9]*\)(.*/\1/p' "$dir/calls" | sort -u | tr '\n' ' ')

    $emulator "$binary" --data "$dir/data" run --http 127.0.0.1:0 --listen /ip4/127.0.0.1/udp/0/quic-v1 >"$dir/out" 2>&1 &
    node=$!
    until $emulator "$binary" --data "$dir/data" status >"$dir/out" 2>&1; do sleep 0.2; done
    memory=$(awk '$1 == "VmRSS:" { printf "%.1f", $2 / 1024 }' "/proc/$node/status")
    kill "$node"
    wait "$node" || :
    # shellcheck disable=SC2086 # a list of words
    number=$(echo $calls | wc -w)
    processor=${emulator:+${emulator##* }}
    echo "| $target | $(stat -c %s "$binary") | $libraries | $aligned| ${processor:-this machine} | $memory | $number: $calls |"
done

#!/bin/sh
# A Raspberry Pi 3 or 4 has no AES instructions, and must agree with others on ChaCha20. The processor that qemu emulates has them:
# so they are taken out of what the kernel tells the program (HWCAP, in the auxiliary vector), by gdb, before its first
# instruction. Without that the same program agrees on AES.
#
#   tests/cipher.sh BOARD_PROGRAM PC_PROGRAM        (needs gdb-multiarch and qemu-user-static)
set -eu

board_program=$1
pc_program=$2
qemu="qemu-aarch64-static -cpu cortex-a53"

dir=$(mktemp -d)
pids=
# With this set the program does not start itself over, unmasked.
export BLOCKING_MAX_THREADS=4
trap 'kill -KILL $pids 2>/dev/null || :; rm -rf "$dir"' EXIT

fail() {
    echo "cipher: $1" >&2
    tail -n 20 "$dir"/*.log >&2 || :
    exit 1
}

# The value of a text key in JSON.
value() {
    sed -n "s/.*\"$1\":\[*\"\([^\"]*\)\".*/\1/p"
}

# Waits until a command says something, which is $said then. $1: the process that must live meanwhile.
await() {
    pid=$1
    shift
    deadline=$(($(date +%s) + 120))
    until said=$("$@" 2>/dev/null) && [ -n "$said" ]; do
        kill -0 "$pid" 2>/dev/null || fail "a node ended"
        [ "$(date +%s)" -lt $deadline ] || fail "nothing comes from: $*"
        sleep 0.2
    done
}

address() { "$pc_program" --data "$dir/pc" --json status | value listen; }
cipher() { $qemu "$board_program" --data "$dir/board" --json peers | value cipher; }

# HWCAP is entry 16; it has AES, PMULL, SHA-1 and SHA-2 as bits 3 to 6 (Linux, Documentation/arch/arm64/elf_hwcaps.rst). Below it on
# the stack are the numbers and addresses of arguments and environment.
cat >"$dir/mask.gdb" <<'GDB'
set architecture aarch64
set $at = $sp + 8 * (*(long *) $sp + 2)
while *(long *) $at != 0
  set $at = $at + 8
end
set $at = $at + 8
while *(long *) $at != 16
  set $at = $at + 16
end
set var *(long *) ($at + 8) = *(long *) ($at + 8) & ~0x78
detach
GDB

"$pc_program" --data "$dir/pc" run --listen /ip4/127.0.0.1/udp/0/quic-v1 --http 127.0.0.1:0 >"$dir/pc.log" 2>&1 &
pc=$!
pids=$pc
await $pc address
to="$("$pc_program" --data "$dir/pc" --json id | value node)@$said"

# $1: how the board's node is started; $2: what it must agree on.
agrees() {
    rm -rf "$dir/board"
    # shellcheck disable=SC2086 # lists of words
    $qemu $1 "$board_program" --data "$dir/board" run --bootstrap "$to" --listen /ip4/127.0.0.1/udp/0/quic-v1 \
        --http 127.0.0.1:0 >"$dir/board.log" 2>&1 &
    board=$!
    pids="$pc $board"
    if [ -n "$1" ]; then
        until [ -S "$dir/gdb" ]; do
            kill -0 $board 2>/dev/null || fail "the board's node ended before gdb came"
            sleep 0.1
        done
        gdb-multiarch -nx -batch -ex "target remote $dir/gdb" -x "$dir/mask.gdb" >"$dir/gdb.log" 2>&1 || fail "gdb failed"
    fi
    await $board cipher
    [ "$said" = "$2" ] || fail "the nodes agreed on $said, not on $2"
    echo "cipher: $said${1:+, with AES instructions masked}"
    kill $board
    wait $board || :
}

agrees "" TLS13_AES_256_GCM_SHA384
agrees "-g $dir/gdb" TLS13_CHACHA20_POLY1305_SHA256

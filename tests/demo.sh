#!/bin/sh
# The main job on one machine: a library shares a folder, a mirror finds it by multicast DNS, copies and verifies it.
#
# usage: tests/demo.sh BINARY [FOLDER]
#
# Everything stays on this machine (127.0.0.1) and in a temporary folder that goes at the end, as do both nodes. It ends
# with an error if the copy is not complete within DEMO_SECONDS (default: 300). With DEMO_BOOTSTRAP set the mirror is told where
# the library is: qemu does not do multicast for a program of another processor.
set -eu

binary=$1
folder=${2:-/usr/share/doc}
seconds=${DEMO_SECONDS:-300}

dir=$(mktemp -d "${TMPDIR:-/tmp}/allibrary-demo.XXXXXX")
library="$binary --data $dir/library"
mirror="$binary --data $dir/mirror"
library_pid=
mirror_pid=

stop() {
    status=$?
    trap - EXIT INT TERM
    for pid in $mirror_pid $library_pid; do
        kill "$pid" 2>/dev/null && wait "$pid" || :
    done
    rm -rf "$dir"
    exit $status
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $1" >&2
    echo "The library's log:" >&2
    tail -n 20 "$dir/library.log" >&2
    exit 1
}

# The value of a text key in JSON.
value() {
    sed -n "s/.*\"$1\":\[*\"\([^\"]*\)\".*/\1/p"
}

# Waits until a command succeeds. $1: the process that must live meanwhile; $2: what is waited for.
await() {
    pid=$1 what=$2
    shift 2
    until "$@"; do
        kill -0 "$pid" 2>/dev/null || fail "a node ended before $what"
        [ "$(date +%s)" -lt "$deadline" ] || fail "$what took longer than $seconds s"
        sleep 0.2
    done
}

answers() {
    "$@" --json status >"$dir/status" 2>/dev/null
}

# Whether the mirror has all items of all collections it knows, and knows one.
is_complete() {
    $mirror --json ls 2>/dev/null | sed -n 's/.*"items":\([0-9]*\),.*"held_items":\([0-9]*\),.*/\1 \2/p' >"$dir/counts"
    [ -s "$dir/counts" ] && awk '$1 != $2 { missing = 1 } END { exit missing }' "$dir/counts"
}

deadline=$(($(date +%s) + seconds))

echo "1. A library adds $folder ..."
# Files that this user may not read are left out, and no reason to stop.
$library add --yes "$folder" 2>"$dir/library.log" || $library ls

echo "2. ... and a node shares it ..."
$library run --listen /ip4/127.0.0.1/udp/0/quic-v1 --http 127.0.0.1:0 >>"$dir/library.log" 2>&1 &
library_pid=$!
await "$library_pid" "the library answered" answers $library
library_id=$($library --json id | value node)
library_page=$(value pages <"$dir/status")
bootstrap=${DEMO_BOOTSTRAP:+--bootstrap $library_id@$(value listen <"$dir/status")}
echo "   peer id $library_id"

echo "3. A mirror starts, which is told nothing but whom it may copy${DEMO_BOOTSTRAP:+, and where that is} ..."
started=$(date +%s)
# shellcheck disable=SC2086 # two words, or none
$mirror run $bootstrap --listen /ip4/127.0.0.1/udp/0/quic-v1 --http 127.0.0.1:0 --mirror --only "$library_id" &
mirror_pid=$!
await "$mirror_pid" "the mirror answered" answers $mirror
mirror_page=$(value pages <"$dir/status")
await "$mirror_pid" "the copy was complete" is_complete
# The mirror still writes to this terminal: it takes its bar away, and tells that it is done.
sleep 1
echo "4. Complete after $(($(date +%s) - started)) s. The mirror verifies every byte that it keeps ..."
$mirror verify
$mirror ls

echo
echo "   The library's page   $library_page"
echo "   The mirror's page    $mirror_page"
if [ -t 0 ]; then
    echo
    printf "Open them in a browser; press Enter to end. "
    read -r _ || :
fi

#!/bin/sh
# Packs what `make cross` has built for these targets, with checksums, into target/dist.
#
#   cross/dist.sh TARGET...
set -eu
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { sed -n 's/^# \{0,1\}//; 2,4p' "$0" >&2; exit 2; }
built=${CARGO_TARGET_DIR:-target}
out=$built/dist
for target in "$@"; do
    [ -x "$built/$target/release/allibrary" ] || {
        echo "the program for $target is not built: make cross TARGET=$target" >&2
        exit 1
    }
done
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || {
        echo "set SOURCE_DATE_EPOCH: there is no commit here whose time the packages could have" >&2
        exit 1
    }
fi
export SOURCE_DATE_EPOCH

rm -rf "$out"
"${CARGO:-cargo}" run --quiet --locked --example manual -- "$out/manual"
for target in "$@"; do
    cross/package.sh "$target" "$built/$target/release/allibrary" "$out/manual" "$out"
done
rm -r "$out/manual"
cd "$out"
sha256sum -- * >SHA256SUMS
cat SHA256SUMS

#!/bin/sh
# Builds the program for a board without a container, with tools of pinned versions that this fetches once.
#
# usage: cross/build.sh [--fetch] TARGET     (aarch64-unknown-linux-musl; --fetch only fetches the tools)
#
# The tools are in CROSS_CACHE (default: ~/.cache/allibrary-cross), 1.2 GB: a Rust toolchain of its own, as the installed one
# is nobody else's to change, and zig, which compiles the C code of a few crates. It needs rustup, pip and 200 MB of downloads.
set -eu
cd "$(dirname "$0")/.."

rust=1.95.0
cache=${CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/allibrary-cross}
only_fetch=
if [ "${1:-}" = --fetch ]; then
    only_fetch=yes
    shift
fi
target=${1:-}
case $target in
aarch64-unknown-linux-musl) ;;
*)
    echo "usage: cross/build.sh [--fetch] TARGET, with one of: aarch64-unknown-linux-musl" >&2
    exit 2
    ;;
esac

mkdir -p "$cache"
export RUSTUP_HOME="$cache/rustup" RUSTUP_TOOLCHAIN="$rust"
if [ ! -d "$RUSTUP_HOME/toolchains/$rust-x86_64-unknown-linux-gnu/lib/rustlib/$target" ]; then
    rustup toolchain install "$rust" --profile minimal --target "$target" --no-self-update
fi
# Moved into place as a whole, and named after what it holds: an interrupted or an older one is not taken for it.
zig="$cache/zig-$(sha256sum cross/requirements.txt | cut -c1-16)"
if [ ! -d "$zig" ]; then
    rm -rf "$zig.new"
    python3 -m pip install --quiet --require-hashes --target "$zig.new" --requirement cross/requirements.txt
    mv "$zig.new" "$zig"
fi
[ -z "$only_fetch" ] || exit 0

export PATH="$zig/ziglang:$PATH" ZIG_GLOBAL_CACHE_DIR="$cache/zig-objects"
exec "${CARGO:-cargo}" build --config cross/cargo.toml --release --locked --bin allibrary --target "$target"

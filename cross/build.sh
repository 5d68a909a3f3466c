#!/bin/sh
# Builds the program for a board, with tools of pinned versions that are fetched once.
#
#   cross/build.sh [--fetch | --container] TARGET [PROFILE]
#
#   TARGET        one of those that cross/README.md names
#   PROFILE       a cargo profile; release by default
#   --fetch       only fetches the tools
#   --container   compiles in a container of Docker or Podman, with `cross`, instead of on this machine
#
# The tools are in CROSS_CACHE (default: ~/.cache/allibrary-cross), 1.2 GB: a Rust toolchain of its own, as the installed one
# is nobody else's to change, and zig, which compiles the C code of a few crates. It needs rustup, pip and 200 MB of downloads.
#
# The same sources give the same bytes, in whatever folder and for whichever user, and in a container too.
set -eu
cd "$(dirname "$0")/.."

rust=1.95.0-x86_64-unknown-linux-gnu
cross=0.2.5
cache=${CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/allibrary-cross}
way=here
case ${1:-} in
--fetch | --container)
    way=${1#--}
    shift
    ;;
esac
target=${1:-}
profile=${2:-release}

# What the toolchain needs for this target, and where that is: a compiled standard library, or its source.
config=cross/cargo.toml
std_config=
case $target in
aarch64-unknown-linux-musl | x86_64-unknown-linux-musl)
    needs="--target $target"
    std=lib/rustlib/$target
    ;;
armv7-unknown-linux-musleabihf | arm-unknown-linux-musleabihf)
    needs="--component rust-src"
    std=lib/rustlib/src/rust/library
    std_config="--config cross/std.toml"
    export RUSTC_BOOTSTRAP=1
    ;;
*)
    sed -n '2,9s/^#  \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

mkdir -p "$cache"
home=${CARGO_HOME:-$HOME/.cargo}
export RUSTUP_HOME="$cache/rustup" RUSTUP_TOOLCHAIN="$rust" CARGO_HOME="$home"
if [ ! -d "$RUSTUP_HOME/toolchains/$rust/$std" ]; then
    # shellcheck disable=SC2086 # a list of words
    rustup toolchain install "$rust" --profile minimal $needs --no-self-update
fi

commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
# Builds with this cargo, or cross; what follows is where it sees the sources, cargo's home and the toolchain. Nothing of that
# may be in the program, which has the places of its sources in what it says when it panics, in C too. The standard library's are
# where Rust was compiled, or in the toolchain if they have been fetched for another target: here always the former.
build() {
    cargo=$1
    remap="\"--remap-path-prefix=$2=.\", \"--remap-path-prefix=$3=/cargo\", \"--remap-path-prefix=$4=/rust\""
    remap="$remap, \"--remap-path-prefix=$4/lib/rustlib/src/rust=/rustc/$commit\""
    # shellcheck disable=SC2086 # a list of words
    exec "$cargo" build --config "$config" $std_config --config "target.$target.rustflags = [$remap]" \
        --config "env.AWS_LC_SYS_CFLAGS = \"-ffile-prefix-map=$3=/cargo\"" \
        --profile "$profile" --locked --bin allibrary --target "$target"
}

if [ "$way" = container ]; then
    # cross passes over a configuration that is not there, and takes an image of other people's then.
    export CROSS_CONFIG="${CROSS_CONFIG:-cross/Cross.toml}"
    if [ ! -f "$CROSS_CONFIG" ]; then
        echo "there is no $CROSS_CONFIG: CROSS_CONFIG must name the configuration of cross" >&2
        exit 1
    fi
    if ! cross --version 2>/dev/null | grep -q "^cross $cross"; then
        "${CARGO:-cargo}" install --locked --version "$cross" cross
    fi
    # The toolchain is as it should be, and cross is not to add to it. Where rustup marks one as that in use, cross does not find
    # it in the list: here none is marked.
    rustup -q default none
    unset RUSTUP_TOOLCHAIN
    export CROSS_CUSTOM_TOOLCHAIN=1 PATH="$RUSTUP_HOME/toolchains/$rust/bin:$PATH:$home/bin"
    build cross /project /cargo /rust
fi

# Moved into place as a whole, and named after what it holds: an interrupted or an older one is not taken for it.
zig="$cache/zig-$(sha256sum cross/requirements.txt | cut -c1-16)"
if [ ! -d "$zig" ]; then
    rm -rf "$zig.new"
    python3 -m pip install --quiet --require-hashes --target "$zig.new" --requirement cross/requirements.txt
    mv "$zig.new" "$zig"
fi
[ "$way" = here ] || exit 0
export PATH="$zig/ziglang:$PATH" ZIG_GLOBAL_CACHE_DIR="$cache/zig-objects"
build "${CARGO:-cargo}" "$PWD" "$home" "$RUSTUP_HOME/toolchains/$rust"

#!/bin/sh
# Builds the program for a board in a container with `cross`, starts it under qemu, and looks at what `cross` would do for the
# other boards, with a container engine that only writes down what it is asked.
#
#   tests/container.sh TARGET...        (as root, with Docker: where no image can be pulled, debootstrap makes it)
#
# The first target is really built; it must be the same, byte by byte, as what is built without a container.
set -eu
cd "$(dirname "$0")/.."

first=$1
base=$(sed -n 's/^FROM //p' cross/Dockerfile)
dir=$(mktemp -d)
made=
# An image made here must not pass for the public one afterwards.
trap 'rm -rf "$dir"; [ -z "$made" ] || docker rmi "$made" >/dev/null' EXIT

fail() {
    echo "container: $1" >&2
    exit 1
}

# An engine that writes down what it is asked, and what of that comes from outside.
mkdir "$dir/bin"
cat >"$dir/bin/docker" <<'STUB'
#!/bin/sh
echo "$@" >>"$ASKED"
case $1 in
--help) echo docker ;;
version) echo linux/amd64 ;;
run) env | grep '^RUSTC_BOOTSTRAP=' >>"$ASKED" || : ;;
esac
STUB
chmod +x "$dir/bin/docker"
for target; do
    export ASKED="$dir/asked-$target"
    : >"$ASKED"
    PATH="$dir/bin:$PATH" CROSS_CONTAINER_ENGINE=docker cross/build.sh --container "$target" >"$dir/said" 2>&1 ||
        { cat "$dir/said" >&2; fail "cross fails for $target"; }
    image=$(sed -n 's/^build .* --tag \([^ ]*\) .*--file cross\/Dockerfile cross$/\1/p' "$ASKED")
    [ -n "$image" ] || { cat "$ASKED" "$dir/said" >&2; fail "cross does not make the image for $target of our Dockerfile"; }
    grep '^run ' "$ASKED" | grep -q " $image sh -c .*cargo build .* --target $target\$" ||
        { cat "$ASKED" >&2; fail "cross does not build for $target in $image"; }
    case $target in
    arm*) grep -q '^run .*-e RUSTC_BOOTSTRAP ' "$ASKED" && grep -q '^RUSTC_BOOTSTRAP=1' "$ASKED" ||
        fail "the container for $target can't compile the standard library" ;;
    esac
    echo "container: $target: image, target and environment are as they should be"
done
if CROSS_CONFIG=cross/no-such.toml cross/build.sh --container "$first" >"$dir/said" 2>&1; then
    fail "a configuration that is not there is passed over"
fi
grep -q 'there is no cross/no-such.toml' "$dir/said" || { cat "$dir/said" >&2; fail "nobody is told what is wrong"; }

docker info >/dev/null 2>&1 || { echo "container: NOT BUILT, there is no Docker engine here"; exit 0; }
if ! docker image inspect "$base" >/dev/null 2>&1 && ! docker pull -q "$base" >/dev/null 2>&1; then
    echo "container: no registry has $base for us; debootstrap makes it"
    debootstrap --variant=minbase bookworm "$dir/base" >"$dir/said" || { cat "$dir/said" >&2; fail "debootstrap fails"; }
    # It trusts whom this machine trusts.
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$dir/base/usr/local/share/ca-certificates/this-machine.crt"
    tar -C "$dir/base" -c . | docker import - "$base" >/dev/null
    made=$base
    rm -rf "$dir/base"
fi
built=${CARGO_TARGET_DIR:-target}/$first/release/allibrary
cross/build.sh "$first"
cp "$built" "$dir/here"
rm "$built"
cross/build.sh --container "$first"
[ -x "$built" ] || fail "cross has not built $built"
cmp "$built" "$dir/here" || fail "what is built in a container is not what is built without"
cross/check.sh release "$first"
echo "container: $first: built by cross, the same as without a container"

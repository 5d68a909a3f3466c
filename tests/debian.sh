#!/bin/sh
# Installs, upgrades, removes and purges the package for a board in a bare Debian for that board, whose programs qemu runs here.
#
#   tests/debian.sh DEB        (as root; needs debootstrap, qemu-user-static, and a kernel with binfmt_misc)
set -eu

deb=$1
tests=$(cd "$(dirname "$0")" && pwd)
architecture=$(dpkg-deb --field "$deb" Architecture)
case $architecture in
arm64) emulator=qemu-aarch64 ;;
armhf) emulator=qemu-arm ;;
*) echo "debian: arm64 or armhf, not $architecture" >&2 && exit 2 ;;
esac

dir=$(mktemp -d)
formats=/proc/sys/fs/binfmt_misc
registered=
finish() {
    [ -z "$registered" ] || echo -1 >"$formats/$emulator"
    rm -rf "$dir"
}
trap finish EXIT

# How the kernel starts a program for another processor: what Debian's package of qemu would have told it.
mountpoint -q "$formats" || mount -t binfmt_misc binfmt_misc "$formats"
if [ ! -e "$formats/$emulator" ]; then
    grep "^:$emulator:" "/usr/lib/binfmt.d/$emulator.conf" >"$formats/register"
    registered=yes
fi
if ! debootstrap --arch="$architecture" --variant=minbase --include=dbus,iproute2,systemd-sysv,util-linux bookworm "$dir/root" \
    >"$dir/said" 2>&1; then
    # Debian's lists of some architectures are at times not to be had.
    if grep -q -e 'Failed getting release' -e "Couldn't download" "$dir/said"; then
        echo "$architecture: NOT CHECKED, Debian for it can't be fetched"
        exit 0
    fi
    cat "$dir/said" >&2
    exit 1
fi
echo "$architecture: $(unshare --mount --propagation private "$tests/install.sh" "$dir/root" "$deb")"

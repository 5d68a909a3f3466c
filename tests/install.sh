#!/bin/sh
# Installs, upgrades, removes and purges the package in a root file system of Debian, where its scripts run for real, and looks at
# what is there after each step. The root file system is one to be thrown away, and what is mounted there stays.
#
#   unshare --mount tests/install.sh ROOT DEB
set -eu

root=$1
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
step=nothing

fail() {
    echo "after $step: $1" >&2
    exit 1
}

in_root() {
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}

# The program, as the service runs it.
as_service() {
    in_root setpriv --reuid allibrary --regid allibrary --clear-groups --reset-env allibrary "$@"
}

there() {
    for path; do [ -e "$root$path" ] || [ -L "$root$path" ] || fail "$path is missing"; done
}

gone() {
    for path; do
        if [ -e "$root$path" ] || [ -L "$root$path" ]; then fail "$path is still there"; fi
    done
}

install_package() {
    in_root dpkg --force-confold -i "$1" >"$root/dpkg.log" 2>&1 || { cat "$root/dpkg.log" >&2; fail "dpkg failed"; }
}

# What is where packages put something, but for what dpkg and systemd-sysusers keep of packages and users that once were.
contents() {
    in_root find /etc /usr /var -xdev \( -path /var/cache -o -path /var/lib/dpkg -o -path /var/log -o -path /var/tmp \) -prune \
        -o -print | grep -vE '^/etc/((passwd|group|shadow|gshadow)-?|\.pwd\.lock)$' |
        grep -vE '^/var/lib/systemd/deb-systemd-helper-(enabled|masked)(/multi-user.target.wants)?$' | sort
}

# A package that is newer, and in which the example configuration has changed too.
make_newer() {
    dpkg-deb -R "$1" "$root/newer"
    sed -i 's/^Version: .*/Version: 99.0-1/' "$root/newer/DEBIAN/control"
    echo '# new in this version' >>"$root/newer/etc/allibrary/allibrary.toml"
    dpkg-deb --root-owner-group -Zxz -z1 --build "$root/newer" "$root/newer.deb" >/dev/null
    rm -r "$root/newer"
}

unit=/etc/systemd/system/multi-user.target.wants/allibrary.service
config=/etc/allibrary/allibrary.toml
data=/var/lib/allibrary

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$2" "$root/package.deb"
make_newer "$2"
contents >"$root/tmp/before"

step="the installation"
install_package /package.deb
there "$unit" "$config" /usr/share/man/man1/allibrary-add.1.gz /usr/share/bash-completion/completions/allibrary
in_root allibrary --version | grep -q '^allibrary ' || fail "the program does not run"
in_root getent group allibrary >/dev/null || fail "there is no group"
as_service config check >/dev/null || fail "the configuration is wrong"
as_service config show | grep -q '^data .*"/var/lib/allibrary"' || fail "the data folder is not the service's"
in_root systemd-analyze verify --man=no allibrary.service || fail "the unit is wrong"
in_root systemd-analyze security --offline=true --threshold=20 allibrary.service >/dev/null || fail "the unit allows too much"
gone "$data"
# As systemd does at the first start.
in_root install -d -o allibrary -g allibrary -m 750 "$data"
as_service --json add /usr/share/doc/allibrary >/dev/null || fail "nothing can be shared"
id=$(as_service id)
if said=$(in_root allibrary ls 2>&1); then fail "root worked in the data of the service"; fi
echo "$said" | grep -q 'belongs to another user' || fail "root was told: $said"

step="an upgrade"
echo '# by the owner' >>"$root$config"
in_root systemctl disable --quiet allibrary.service
install_package /newer.deb
[ "$(as_service id)" = "$id" ] || fail "the node is another one"
as_service verify >/dev/null || fail "what was shared is damaged"
grep -q 'by the owner' "$root$config" || fail "the owner's configuration is gone"
gone "$unit"
in_root systemctl enable --quiet allibrary.service

step="a removal"
in_root dpkg -r allibrary >/dev/null 2>&1
there "$config" "$data/identity.key"
gone /usr/bin/allibrary /usr/lib/systemd/system/allibrary.service /usr/lib/sysusers.d/allibrary.conf

step="another installation"
install_package /package.deb
[ "$(as_service id)" = "$id" ] || fail "the node is another one"
there "$unit"

step="a purge, while the data is on a disk of its own"
mount -t tmpfs tmpfs "$root$data"
touch "$root$data/kept"
in_root dpkg -P allibrary >/dev/null 2>&1
there "$data/kept"
umount "$root$data"

step="a purge"
install_package /package.deb
in_root dpkg -P allibrary >/dev/null 2>&1
contents >"$root/tmp/after"
diff "$root/tmp/before" "$root/tmp/after" >&2 || fail "this is not as it was before"
in_root getent passwd allibrary >/dev/null || fail "the user is gone, whose files may be on other disks"
echo "installed, upgraded, removed and purged"

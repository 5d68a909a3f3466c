#!/bin/bash
# Boots a root file system of Debian with systemd in a container, installs the package there, and uses the service as people do. The
# root file system is one to be thrown away.
#
#   tests/boot.sh ROOT DEB
set -euo pipefail

root=$1
deb=$2
step=boot

fail() {
    echo "$step: $1" >&2
    inside journalctl --no-pager --lines 30 --unit allibrary >&2 || true
    exit 1
}

# Runs something in the container.
inside() {
    nsenter --target "$leader" --all /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# As a volunteer, who is in the group by now; as somebody who is not.
volunteer() { inside runuser -u volunteer -- "$@"; }
stranger() { inside runuser -u stranger -- "$@"; }

property() { inside systemctl show --value --property "$1" allibrary; }

# Waits until a command succeeds.
until_ok() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "no sign of: $*"
        sleep 0.1
    done
}

said_by() {
    local text
    text=$("$@" 2>&1) && fail "$* should have failed, and said: $text"
    echo "$text"
}

page() {
    # shellcheck disable=SC2016 # it is for the other shell
    inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" >&3; cat <&3'
}

restarted_since() { [ "$(property MainPID)" != "$1" ] && [ "$(property ActiveState)" = active ]; }

systemd-nspawn --register=no --keep-unit --private-network --quiet --console=pipe --boot --directory "$root" \
    </dev/null >"$root/../console" 2>&1 &
nspawn=$!
leader=
# The container outlives nspawn; its first process takes all others with it.
trap 'kill -KILL $leader $nspawn 2>/dev/null || true; wait $nspawn 2>/dev/null || true' EXIT
until_ok pgrep --parent $nspawn
leader=$(pgrep --parent $nspawn)
until_ok inside systemctl is-system-running --wait
inside useradd --create-home volunteer
inside useradd --create-home stranger
inside chmod 700 /home/volunteer

step="installation"
cp "$deb" "$root/package.deb"
inside dpkg -i /package.deb >/dev/null || fail "dpkg failed"
inside adduser --quiet volunteer allibrary
[ "$(property ActiveState)" = active ] || fail "it was not started"
[ "$(inside systemctl is-enabled allibrary)" = enabled ] || fail "it is not enabled"
case $(property StatusText) in *"peers connected") ;; *) fail "it does not tell what it does: $(property StatusText)" ;; esac

step="who it is"
pid=$(property MainPID)
[ "$(inside stat -c %U "/proc/$pid")" = allibrary ] || fail "it runs as $(inside stat -c %U "/proc/$pid")"
inside grep -q '^CapEff:.*0000000000000400$' "/proc/$pid/status" || fail "it may do more than take port 80"
inside grep -q '^Seccomp:.*2$' "/proc/$pid/status" || fail "its system calls are not filtered"
[ "$(property MemoryMax)" = 268435456 ] || fail "its memory is not bounded"
[ "$(inside stat -c '%a %U:%G' /var/lib/allibrary)" = "750 allibrary:allibrary" ] || fail "the data folder is not its own"
inside bash -c 'stat -c "%a %G" /run/allibrary/*.sock' | grep -qx '660 allibrary' || fail "the socket is not the group's"

step="sharing"
inside bash -c 'mkdir /srv/books ~volunteer/books; echo one >/srv/books/one.txt; echo two >~volunteer/books/two.txt'
volunteer allibrary add /srv/books >/dev/null || fail "a volunteer can't share"
page | grep -q books || fail "the page does not list it"
said_by volunteer allibrary add /home/volunteer/books | grep -q 'sudo chmod a+x /home/volunteer$' || fail "the fix is not named"
inside chmod a+x /home/volunteer
volunteer allibrary add --collection more /home/volunteer/books >/dev/null || fail "the fix does not help"
said_by stranger allibrary ls | grep -q "adduser \$USER allibrary" || fail "a stranger is not told what to do"
inside allibrary ls >/dev/null || fail "root can't use it"
id=$(volunteer allibrary id)

step="a disk that is plugged in"
inside mkdir /media/disk
inside mount -t tmpfs -o mode=777 tmpfs /media/disk
# shellcheck disable=SC2016
inside nsenter --target "$pid" --mount setpriv --reuid allibrary --clear-groups touch /media/disk/file || fail "it can't write there"
inside test -e /media/disk/file || fail "it writes elsewhere"
if inside nsenter --target "$pid" --mount touch /usr/file /home/file 2>/dev/null; then fail "it could write anywhere"; fi

step="another configuration"
inside sed -i 's/^#max_peers = 128/max_peers = 100/' /etc/allibrary/allibrary.toml
inside systemctl reload allibrary || fail "it is not taken up"
inside journalctl --unit allibrary --no-pager | grep -q 'network.max_peers' || fail "nobody is told what changed"
inside sed -i 's/^max_peers = 100/max_peers = 1000/' /etc/allibrary/allibrary.toml
if inside systemctl reload allibrary 2>/dev/null; then fail "a wrong one is taken up"; fi
inside journalctl --unit allibrary --no-pager | grep -q '1 to 128 peers' || fail "nobody is told what is wrong"
[ "$(property MainPID)" = "$pid" ] || fail "it was restarted"
inside sed -i 's/^max_peers = 1000/max_peers = 100/' /etc/allibrary/allibrary.toml

step="a node that hangs"
impatient='[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\nRestartSec=100ms\n'
inside mkdir /run/systemd/system/allibrary.service.d
inside bash -c "printf '$impatient' >/run/systemd/system/allibrary.service.d/impatient.conf"
inside systemctl daemon-reload
inside systemctl restart allibrary
pid=$(property MainPID)
inside systemctl kill --signal=STOP allibrary
until_ok restarted_since "$pid"

step="a node that dies"
pid=$(property MainPID)
inside systemctl kill --signal=KILL allibrary
until_ok restarted_since "$pid"
[ "$(volunteer allibrary id)" = "$id" ] || fail "it is another one"

step="an upgrade"
pid=$(property MainPID)
inside dpkg -i /package.deb >/dev/null || fail "dpkg failed"
restarted_since "$pid" || fail "the old program still runs"
[ "$(volunteer allibrary ls | wc -l)" = 3 ] || fail "what was shared is gone: $(volunteer allibrary ls)"

step="a stop"
inside systemctl stop allibrary
[ "$(property Result)" = success ] || fail "it did not end well: $(property Result)"
said_by volunteer allibrary ls | grep -q 'systemctl start' || fail "the volunteer is not told how to start it"

step="a purge"
inside systemctl start allibrary
pid=$(property MainPID)
inside dpkg -P allibrary >/dev/null 2>&1 || fail "dpkg failed"
if inside test -e "/proc/$pid"; then fail "it still runs"; fi
if inside test -e /var/lib/allibrary; then fail "its data is still there"; fi
inside test -e /srv/books/one.txt || fail "what was shared is gone"
echo "installed, started, used, killed, upgraded, stopped and purged"

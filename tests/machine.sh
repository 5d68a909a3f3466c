#!/bin/bash
# A whole board, which qemu emulates with the kernel of Debian: 512 MB of memory, a disk, and a cable to this machine. The node
# there starts at boot, finds the library here by itself, has its power cut in the middle of copying it, copies the rest, has it cut
# again, and serves every byte of it when the library is gone.
#
#   tests/machine.sh arm64|arm64-16k|armhf BOARD_PROGRAM PC_PROGRAM   (as root; for the memory that it took, see the last line)
#
# arm64-16k has memory pages of 16 KiB, as a Raspberry Pi 5. Only a later Debian has such a kernel.
# Debian's kernel and busybox for boards are kept in CROSS_CACHE (default: ~/.cache/allibrary-cross); it needs Debian's packages
# cpio, curl, e2fsprogs, iproute2, kmod, qemu-system-arm and xz-utils.
set -euo pipefail

kind=$1
board_program=$(realpath "$2")
pc_program=$(realpath "$3")
# The node's share of a board with 512 MB, at its peak.
most_kib=65536
release=bookworm page_kib=4 cipher=AES_256
case $kind in
    arm64) kernel_package=linux-image-arm64 qemu="qemu-system-aarch64 -cpu cortex-a53" ;;
    arm64-16k) kernel_package=linux-image-arm64-16k qemu="qemu-system-aarch64 -cpu cortex-a76" release=trixie page_kib=16 ;;
    # It has no AES instructions.
    armhf) kernel_package=linux-image-armmp qemu="qemu-system-arm -cpu cortex-a7" cipher=CHACHA20 ;;
    *) echo "arm64, arm64-16k or armhf, not $kind" >&2 && exit 2 ;;
esac
architecture=${kind%-*}

dir=$(mktemp -d)
# Tests delete what those whose process is gone have left behind, by this name.
lan=allibrary-$$-machine
pids=()
finish() {
    kill -KILL "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    ip netns delete "$lan" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

fail() {
    echo "machine: $1" >&2
    tail -n 60 "$dir/console" "$dir/library.log" >&2 || true
    exit 1
}

# Waits until the board has said something on its console.
await() {
    local deadline=$((SECONDS + 300))
    until grep -q "^$1" "$dir/console"; do
        kill -0 "$board" 2>/dev/null || fail "the board ended before it said: $1"
        [ $SECONDS -lt $deadline ] || fail "the board has not said: $1"
        sleep 0.2
    done
}

# Fetches packages of the board's architecture, beside those of this machine, and unpacks them.
fetch() {
    local state=$dir/apt
    local apt=(-q -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" -o "Dir::State=$state"
        -o "Dir::Cache=$state" -o "Dir::State::status=$state/status" -o "APT::Sandbox::User=root"
        -o "Dir::Etc::SourceList=$state/sources.list" -o "Dir::Etc::SourceParts=-")
    rm -rf "$1.new"
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$1.new"
    touch "$state/status"
    # From where this machine's packages come.
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -n 1 |
        sed "s|.*|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] & $release main|" >"$state/sources.list"
    # Debian's lists of some architectures are at times not to be had as a whole; the one that is needed may be.
    apt-get "${apt[@]}" update >"$state/said" 2>&1 || true
    local kernel
    kernel=$(apt-cache "${apt[@]}" depends "$kernel_package" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
    (cd "$state" && apt-get "${apt[@]}" download "${kernel:?}" busybox-static >>said 2>&1) || { cat "$state/said" >&2 && return 1; }
    for package in "$state"/*.deb; do
        dpkg-deb -x "$package" "$1.new"
    done
    # Later packages have everything below /usr.
    for folder in bin lib; do
        [ -d "$1.new/$folder" ] || ln -s "usr/$folder" "$1.new/$folder"
    done
    # The kernel's package does so where it is installed.
    depmod -b "$1.new" "$(ls "$1.new/lib/modules")" && mv "$1.new" "$1"
}

base=${CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/allibrary-cross}/machine-$kind
if [ ! -d "$base" ] && ! { mkdir -p "$(dirname "$base")" && fetch "$base"; }; then
    echo "$kind: NOT CHECKED, Debian's kernel for it can't be fetched"
    exit 0
fi
version=$(ls "$base/lib/modules")

# What the kernel starts: busybox, what it needs to see disk and network, and the node.
root=$dir/root
mkdir -p "$root"/{bin,data,dev,etc,modules,proc,run,sys,tmp}
cp "$base"/bin/busybox "$root/bin/busybox"
install -m 755 "$board_program" "$root/bin/allibrary"
for module in virtio_pci virtio_mmio virtio_net virtio_blk ext4 ipv6; do
    modprobe -d "$base" -S "$version" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    name=${module##*/}
    case $name in
        *.xz) xz -dc "$module" >"$root/modules/${name%.xz}" ;;
        *) cp "$module" "$root/modules/" ;;
    esac
    echo "insmod /modules/${name%.xz}" >>"$root/etc/modules.sh"
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
. /etc/modules.sh
# Devices take a moment to be seen.
until [ -b /dev/vda ] && [ -d /sys/class/net/eth0 ]; do sleep 0.1; done
mount -t ext4 /dev/vda /data
ip link set lo up
ip link set eth0 up
ip addr add 10.78.0.2/24 broadcast + dev eth0
echo "board: $(grep MemTotal /proc/meminfo)"
echo "board: $(grep -m 1 KernelPageSize /proc/self/smaps)"
allibrary --data /data/node run --mirror --http 0.0.0.0:80 >/tmp/log 2>&1 &
node=$!
complete=
looks=0
while kill -0 $node; do
    sleep 1
    looks=$((looks + 1))
    grep -E 'VmHWM|VmRSS' /proc/$node/status
    # If it takes so long, something is wrong.
    [ $((looks % 60)) != 0 ] || sed 's/^/node: /' /tmp/log
    if [ -z "$complete" ] && allibrary --data /data/node --json ls | grep -q '"held_items":60,'; then
        complete=yes
        echo "board: complete"
        echo "board: $(allibrary --data /data/node --json peers | sed 's/.*\("cipher":"[^"]*"\).*/\1/')"
        echo "board: measured"
    fi
done
sed 's/^/node: /' /tmp/log
echo "board: the node ended"
poweroff -f
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$dir/initrd"
# Of which a node leaves 1 GB free.
truncate -s 4G "$dir/disk"
mkfs.ext4 -q "$dir/disk"

ip netns add "$lan"
ip -n "$lan" link set lo up
ip -n "$lan" tuntap add tap0 mode tap
ip -n "$lan" addr add 10.78.0.1/24 broadcast + dev tap0
ip -n "$lan" link set tap0 up

# Small and middling books, a film, and something that is shorter than a packet.
mkdir "$dir/Books"
for number in $(seq 58); do
    head -c $((number * 8000)) /dev/urandom >"$dir/Books/book-$number.bin"
done
head -c 4000000 /dev/urandom >"$dir/Books/film.webm"
echo tiny >"$dir/Books/tiny.txt"
# So slow that the power can be cut in the middle.
printf '[transfer]\nupload_rate = "4 MB"\n' >"$dir/library.toml"
ip netns exec "$lan" "$pc_program" --data "$dir/library" --config "$dir/library.toml" run --share "$dir/Books" \
    --http 10.78.0.1:8080 >"$dir/library.log" 2>&1 &
library=$!
pids+=("$library")
until "$pc_program" --data "$dir/library" status >"$dir/out" 2>&1; do
    kill -0 "$library" 2>/dev/null || fail "the library ended"
    sleep 0.1
done

# How many bytes of content the library has sent.
sent() {
    local bytes
    bytes=$("$pc_program" --data "$dir/library" --json status | sed -n 's/.*"sent_bytes":\([0-9]*\),"sending".*/\1/p')
    echo "${bytes:-0}"
}

power_on() {
    : >"$dir/console"
    # shellcheck disable=SC2086 # a list of words
    ip netns exec "$lan" $qemu -machine virt -m 512 -smp 2 -display none -monitor none -serial "file:$dir/console" -no-reboot \
        -kernel "$base"/boot/vmlinuz-* -initrd "$dir/initrd" -append "console=ttyAMA0 quiet panic=-1" \
        -netdev tap,id=cable,ifname=tap0,script=no,downscript=no -device virtio-net-device,netdev=cable \
        -drive "file=$dir/disk,format=raw,if=none,id=disk,cache=writeback" -device virtio-blk-device,drive=disk \
        </dev/null &
    pids+=($!)
    board=$!
}

power_off() {
    # `ip netns exec` has become what it runs.
    kill -KILL "$board" || fail "the board was off"
    { wait "$board" || true; } 2>/dev/null
    cat "$dir/console" >>"$dir/consoles"
}

total=$(cat "$dir"/Books/* | wc -c)
power_on
deadline=$((SECONDS + 300))
until [ "$(sent)" -gt $((total / 2)) ]; do
    kill -0 "$board" 2>/dev/null || fail "the board ended before it had half of the library"
    [ $SECONDS -lt $deadline ] || fail "the board has not come to half of the library"
    sleep 0.1
done
power_off
! grep -q "^board: complete" "$dir/console" || fail "the power was cut too late"

power_on
await "board: complete"
await "board: measured"
grep -q "^board: KernelPageSize: *$page_kib kB" "$dir/console" || fail "its memory does not have pages of $page_kib KiB"
# Files that were complete are kept; the film was not, and its next checkpoint was far.
twice=$(($(sent) - total))
[ $twice -lt $((total / 3)) ] || fail "of $total bytes $twice were sent again after the power was cut"
memory=$(sed -n 's/^board: MemTotal:[^0-9]*\([0-9]*\) kB.*/\1/p' "$dir/console")
grep -q "^board: \"cipher\":\"TLS13_$cipher" "$dir/console" || fail "the connection is not encrypted by $cipher"
power_off
peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB.*/\1/p' "$dir/consoles" | sort -n | tail -n 1)
now=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB.*/\1/p' "$dir/consoles" | tail -n 1)
[ "$peak" -le "$most_kib" ] || fail "the node took $peak KiB, more than $most_kib"

power_on
await "board: complete"
kill "$library"
page=$(ip netns exec "$lan" curl -sf http://10.78.0.2/) || fail "there is no page"
echo "$page" | grep -q Books || fail "the page does not list what was copied"
for file in "$dir"/Books/*; do
    ip netns exec "$lan" curl -sf "http://10.78.0.2/c/Books/${file##*/}" | cmp - "$file" || fail "${file##*/} is not what was shared"
done
power_off

echo "$kind: a board of $memory KiB with pages of $page_kib KiB found the library, copied it in spite of a power cut" \
    "($twice of $total bytes came twice), served it after another, and took $peak KiB at most, $now KiB at the end"

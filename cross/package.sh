#!/bin/sh
# Packs a built program for one target: a tarball for every target, and a .deb where Debian has a name for its processor.
#
#   cross/package.sh TARGET PROGRAM MANUAL OUT
#
# MANUAL is what `cargo run --example manual` wrote. The same input gives the same bytes: all times are SOURCE_DATE_EPOCH, all
# owners root, all names sorted. LEVEL is how hard to compress, 9 unless a test has better to do.
set -eu

[ $# = 4 ] || { sed -n 's/^# \{0,1\}//; 2,8p' "$0" >&2; exit 2; }
target=$1 program=$2 manual=$3 out=$4
: "${SOURCE_DATE_EPOCH:?is not set: the time of the newest commit, git log -1 --format=%ct}"
level=${LEVEL:-9}
project=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml" | head -n 1)

# Raspberry Pi OS calls ARMv6 and ARMv7 both armhf: its package has the program that runs on all boards.
case $target in
    aarch64-*) architecture=arm64 ;;
    arm-*hf) architecture=armhf ;;
    x86_64-*) architecture=amd64 ;;
    *) architecture= ;;
esac

umask 022
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The configuration of the system's service: the annotated example with every key commented out, but for these.
service_config() {
    awk '
        NR == 1 { print "# Configuration of the AlLibrary service. Every key is here; what is commented out has its default." ; next }
        /^\[/ { section = $0 }
        /^[a-z_]+ = / {
            if (section == "" && $1 == "data") print "data = \"/var/lib/allibrary\""
            else if (section == "[kiosk]" && $1 == "listen") print "listen = \"0.0.0.0:80\""
            else print "#" $0
            next
        }
        { print }
    ' "$project/config/allibrary.toml"
}

# All times are that of the sources.
settle() {
    find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

compressed() {
    mkdir -p "$(dirname "$2")"
    gzip -n -9 <"$1" >"$2"
    chmod 644 "$2"
}

tarball() {
    name=allibrary-$version-$target
    top=$work/$name
    install -d "$top/service"
    install -m 755 "$program" "$top/allibrary"
    (cd "$project" && install -m 644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE config/allibrary.toml "$top")
    cp -R "$manual/man" "$manual/completions" "$top"
    (cd "$project/config/system" && install -m 644 allibrary.service allibrary.sysusers media-library.mount "$top/service")
    service_config >"$top/service/allibrary.toml"
    chmod -R u=rwX,go=rX "$top"
    settle "$top"
    tar --create --directory "$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner "$name" |
        gzip -n "-$level" >"$out/$name.tar.gz"
}

deb() {
    root=$work/root
    doc=$root/usr/share/doc/allibrary
    install -D -m 755 "$program" "$root/usr/bin/allibrary"
    install -d "$root/etc/allibrary" "$root/DEBIAN" "$doc/examples"
    service_config >"$root/etc/allibrary/allibrary.toml"

    system=$project/config/system
    install -D -m 644 "$system/allibrary.service" "$root/usr/lib/systemd/system/allibrary.service"
    install -D -m 644 "$system/allibrary.sysusers" "$root/usr/lib/sysusers.d/allibrary.conf"
    install -m 644 "$system/media-library.mount" "$project/config/allibrary.toml" "$doc/examples"

    for page in "$manual"/man/*.1; do
        compressed "$page" "$root/usr/share/man/man1/${page##*/}.gz"
    done
    scripts=$manual/completions
    install -D -m 644 "$scripts/allibrary.bash" "$root/usr/share/bash-completion/completions/allibrary"
    install -D -m 644 "$scripts/_allibrary" "$root/usr/share/zsh/vendor-completions/_allibrary"
    install -D -m 644 "$scripts/allibrary.fish" "$root/usr/share/fish/vendor_completions.d/allibrary.fish"

    debian=$project/config/debian
    install -m 644 "$project/README.md" "$doc"
    compressed "$project/CHANGELOG.md" "$doc/changelog.gz"
    printf 'allibrary (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$version" \
        "$(sed -n 's/^Maintainer: //p' "$debian/control")" "$(date -R -u --date="@$SOURCE_DATE_EPOCH")" >"$work/changelog"
    compressed "$work/changelog" "$doc/changelog.Debian.gz"
    sed '1,2d; s/^$/./; s/^/ /' "$project/LICENSE-MIT" >"$work/mit"
    sed -e "/^@MIT@$/{r $work/mit" -e 'd}' "$debian/copyright" >"$doc/copyright"
    install -D -m 644 "$debian/lintian-overrides" "$root/usr/share/lintian/overrides/allibrary"

    echo /etc/allibrary/allibrary.toml >"$root/DEBIAN/conffiles"
    install -m 755 "$debian/postinst" "$debian/prerm" "$debian/postrm" "$root/DEBIAN"
    kib=$(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
    sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@KIB@/$kib/" "$debian/control" >"$root/DEBIAN/control"
    (cd "$root" && find etc usr -type f | sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
    settle "$root"
    # Several threads would cut the archive into other pieces on another machine.
    DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group "-z$level" -Zxz --build "$root" \
        "$out/allibrary_$version-1_$architecture.deb" >/dev/null
}

mkdir -p "$out"
tarball
[ -z "$architecture" ] || deb

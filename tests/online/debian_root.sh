# A Debian without any -dev package beyond python3-dev, made by debootstrap, and commands in it as an ordinary user. To be sourced.
# Needs root, Debian, and the machine's own apt sources and index. The caller sets `program` (pip-accel) and calls `open_root`.
# ROOT=FOLDER keeps the root there and takes it as it is when it is there already.
[ "$(id -u)" = 0 ] || { echo "making the root needs root" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/pip-accel-system-XXXXXX")
root=${ROOT:-$work/root}
user=1000

cleanup() {
    chattr -R -f -i "$work" 2>/dev/null || true
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# The mirror and release are those of the machine: nothing is named here.
target() {
    apt-get indextargets --format "\$($1)" 'Created-By: Packages' | head -n 1
}

make_root() {
    local debootstrap=debootstrap
    if ! command -v debootstrap >/dev/null; then
        (mkdir "$work/debootstrap" && cd "$work/debootstrap" && chmod 777 . && apt-get -q download debootstrap && dpkg-deb -x debootstrap_*.deb .)
        export DEBOOTSTRAP_DIR=$work/debootstrap/usr/share/debootstrap
        debootstrap=$work/debootstrap/usr/sbin/debootstrap
    fi
    "$debootstrap" --variant=minbase \
        --include=build-essential,python3-dev,python3-venv,pkg-config,bubblewrap,ca-certificates,debian-archive-keyring \
        "$(target CODENAME)" "$root" "$(target SITE)"
    # Where packages come from, and whom the machine trusts.
    rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
    cp -a /etc/apt/. "$root/etc/apt/"
    rm -f "$root"/etc/apt/apt.conf.d/docker-* "$root"/etc/apt/preferences.d/*
}

open_root() {
    if [ ! -x "$root/usr/bin/python3" ]; then
        make_root >"$work/root.log" 2>&1 || { tail -n 20 "$work/root.log" >&2; exit 1; }
    fi
    for file in resolv.conf hosts ssl/certs/ca-certificates.crt pip.conf; do
        if [ -e "/etc/$file" ]; then install -D -m 644 "/etc/$file" "$root/etc/$file"; fi
    done
    mkdir -p "$work/home"
    # Not below /usr: what is mounted there keeps an ordinary user from laying anything over it.
    touch "$root/srv/pip-accel"
    install -m 755 "$program" "$work/pip-accel"
    chown -R "$user:$user" "$work/home"
    chmod 755 "$work"
}

# Variables that say where the index is, and how to get there.
mapfile -t variables < <(env | grep -iE '^(PIP_|SSL_CERT|REQUESTS_CA|CURL_CA|(https?|all|no)_proxy=)' || true)

# Folders of the machine that its pip takes files from.
places=()
while read -r place; do
    if [ -d "$place" ]; then places+=("$place"); fi
done < <({ cat /etc/pip.conf 2>/dev/null || true; printenv PIP_FIND_LINKS || true; } | tr ' =' '\n\n' | grep '^/' || true)

# A command in the root, as the user, in a mount namespace of its own. A chroot would not do: no user namespace is made in one.
inside() {
    unshare --mount --propagation private -- bash -euc '
        root=$1 work=$2 places=$3
        shift 3
        mount --bind "$root" "$root"
        cd "$root"
        mount --rbind /proc proc
        mount --rbind /dev dev
        mount -t tmpfs tmpfs tmp
        chmod 1777 tmp
        mount --bind "$work/home" home
        mount --bind "$work/pip-accel" srv/pip-accel
        for place in $places; do
            mkdir -p "./$place"
            mount --bind "$place" "./$place"
        done
        pivot_root . mnt
        umount -l /mnt
        cd /home
        exec "$@"
    ' bash "$root" "$work" "${places[*]}" /usr/bin/setpriv --reuid=$user --regid=$user --clear-groups -- \
        /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/home "${variables[@]}" "$@"
}

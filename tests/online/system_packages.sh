#!/usr/bin/env bash
# Packages of the system without root: builds on a root that has no -dev package beyond python3-dev, by an ordinary user, imported,
# and again without a network. Needs root for making that root, Debian, and the machine's own apt sources and index.
# usage: tests/online/system_packages.sh PATH-OF-PIP-ACCEL [PROJECT==VERSION:MODULE]…
# ROOT=FOLDER keeps the root there and takes it as it is when it is there already.
set -euo pipefail
program=$(realpath "${1:?usage: tests/online/system_packages.sh PATH-OF-PIP-ACCEL [PROJECT==VERSION:MODULE]...}")
shift
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

# The list that has to work, with what is imported of each.
list=("$@")
if [ ${#list[@]} = 0 ]; then
    list=(
        lxml==5.3.0:lxml.etree cffi==1.17.1:_cffi_backend mysqlclient==2.2.4:MySQLdb pycairo==1.26.1:cairo pycurl==7.45.3:pycurl
        psycopg2==2.9.10:psycopg2 python-ldap==3.4.4:_ldap pillow==11.0.0:PIL._imaging PyGObject==3.50.0:gi h5py==3.13.0:h5py
        gmpy2==2.1.5:gmpy2 M2Crypto==0.41.0:M2Crypto pygraphviz==1.13:pygraphviz xmlsec==1.3.14:xmlsec pylibacl==0.7.0:posix1e
        python-snappy==0.6.1:snappy._snappy cvxopt==1.3.2:cvxopt.umfpack uWSGI==2.0.26:
    )
fi

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

if [ ! -x "$root/usr/bin/python3" ]; then
    make_root >"$work/root.log" 2>&1 || { tail -n 20 "$work/root.log" >&2; exit 1; }
fi
for file in resolv.conf hosts ssl/certs/ca-certificates.crt pip.conf; do
    [ -e "/etc/$file" ] && install -D -m 644 "/etc/$file" "$root/etc/$file"
done
mkdir -p "$work/home"
# Not below /usr: what is mounted there keeps an ordinary user from laying anything over it.
touch "$root/srv/pip-accel"
install -m 755 "$program" "$work/pip-accel"
chown -R "$user:$user" "$work/home"
chmod 755 "$work"

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

failures=0
for item in "${list[@]}"; do
    project=${item%%:*} module=${item#*:}
    echo "== $project"
    begun=$SECONDS
    if inside /srv/pip-accel build "$project" --system-packages unpack >"$work/out" 2>"$work/log"; then
        site=$(tail -n 1 "$work/out")/site
        # What it needs of Python is not there; modules in C are what this is about.
        check="import importlib, sys; sys.path.insert(0, '$site'); importlib.import_module('$module')"
        if { [ -z "$module" ] || inside /usr/bin/python3 -c "$check" 2>"$work/import"; } \
            && inside /srv/pip-accel build "$project" --offline >"$work/again" 2>&1 && ! grep -q ' built, in' "$work/again"; then
            grep -E 'unpacked|variables' "$work/log" | tail -n 1 | cut -c1-160
            echo "-- passed in $((SECONDS - begun)) s"
            continue
        fi
        tail -n 3 "$work/import" "$work/again" >&2 || true
    else
        tail -n 12 "$work/log" >&2
    fi
    echo "-- FAILED: $project" >&2
    failures=$((failures + 1))
done
inside /srv/pip-accel verify >/dev/null || failures=$((failures + 1))
echo "${#list[@]} projects, $failures failures"
[ "$failures" = 0 ]

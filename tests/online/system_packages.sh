#!/usr/bin/env bash
# Packages of the system without root: builds on a root that has no -dev package beyond python3-dev, by an ordinary user, imported,
# and again without a network. What that root is and needs: debian_root.sh.
# usage: tests/online/system_packages.sh PATH-OF-PIP-ACCEL [PROJECT==VERSION:MODULE[:CHECK]]…
# MODULE is imported, CHECK (Python) has to be true then.
set -euo pipefail
program=$(realpath "${1:?usage: tests/online/system_packages.sh PATH-OF-PIP-ACCEL [PROJECT==VERSION:MODULE]...}")
shift
source "$(dirname "${BASH_SOURCE[0]}")/debian_root.sh"

# The list that has to work, with what is imported of each.
pillow='all(PIL.features.check(name) for name in ("jpg", "zlib", "freetype2", "webp"))'
list=("$@")
if [ ${#list[@]} = 0 ]; then
    list=(
        lxml==5.3.0:lxml.etree cffi==1.17.1:_cffi_backend mysqlclient==2.2.4:MySQLdb pycairo==1.26.1:cairo pycurl==7.45.3:pycurl
        psycopg2==2.9.10:psycopg2 python-ldap==3.4.4:_ldap "pillow==11.0.0:PIL.features:$pillow" PyGObject==3.50.0:gi h5py==3.13.0:h5py
        gmpy2==2.1.5:gmpy2 M2Crypto==0.41.0:M2Crypto pygraphviz==1.13:pygraphviz xmlsec==1.3.14:xmlsec pylibacl==0.7.0:posix1e
        python-snappy==0.6.1:snappy._snappy cvxopt==1.3.2:cvxopt.umfpack uWSGI==2.0.26:
    )
fi

open_root
failures=0
sites=()
for item in "${list[@]}"; do
    project=${item%%:*} module=${item#*:}
    test=True
    if [[ $module == *:* ]]; then
        test=${module#*:} module=${module%%:*}
    fi
    echo "== $project"
    begun=$SECONDS
    if inside /srv/pip-accel build "$project" --system-packages unpack >"$work/out" 2>"$work/log"; then
        # What it needs of Python is what was built before it, then what else the store has: xmlsec wants the lxml that was built here.
        sites=("$(tail -n 1 "$work/out")/site" "${sites[@]}")
        check="import glob, sys; sys.path[:0] = '${sites[*]}'.split() + glob.glob('/home/.pip-accel/store/*/site')
import $module; assert $test"
        if { [ -z "$module" ] || inside /usr/bin/python3 -c "$check" 2>"$work/import"; } \
            && inside /srv/pip-accel build "$project" --offline >"$work/again" 2>&1 && ! grep -q ' built, in' "$work/again"; then
            { grep -E 'unpacked|variables' "$work/log" || true; } | tail -n 1 | cut -c1-160
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

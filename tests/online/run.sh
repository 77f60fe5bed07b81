#!/usr/bin/env bash
# The tests that need a real index: the hundred-package lock on three interpreters, fifteen sdists forced from source, and
# the locks and environments of many requirement sets beside those of uv and pip.
# usage: tests/online/run.sh PATH-OF-PIP-ACCEL
set -euo pipefail
program=$(realpath "${1:?usage: tests/online/run.sh PATH-OF-PIP-ACCEL}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pip-accel-online-XXXXXX")
export PIP_ACCEL_STORE=$work/store

cleanup() {
    chattr -R -f -i "$work" 2>/dev/null || true
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# One interpreter of each minor version from 3.11 to 3.13: pyenv's, then the system's.
interpreters() {
    local minor candidate
    for minor in 3.11 3.12 3.13; do
        for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/$minor.*/bin/python "/usr/bin/python$minor"; do
            if [ -x "$candidate" ]; then
                echo "$candidate"
                break
            fi
        done
    done
}

failures=0
check() {
    echo "== $1"
    shift
    local begun=$SECONDS
    if "$@"; then echo "-- passed in $((SECONDS - begun)) s"; else
        echo "-- FAILED" >&2
        failures=$((failures + 1))
    fi
}

# realize LOCK PYTHON: an environment of its own, imports, pip's opinion, and again offline without a single build.
realize() {
    local lock=$1 python=$2 venv again
    venv=$work/venv-$(basename "$lock" .lock)-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$program" realize "$lock" --python "$python" --venv "$venv" || return 1
    "$venv/bin/python" "$here/imports.py" || return 1
    if [ -x "${PIP_ACCEL_TEST_UV:-}" ]; then
        "$PIP_ACCEL_TEST_UV" pip check --quiet --python "$venv" || return 1
    fi
    again=$("$program" realize "$lock" --python "$python" --venv "$venv-again" --offline --json) || return 1
    python3 -c 'import json, sys; r = json.loads(sys.argv[1]); sys.exit(r["built"] + r["fetched"])' "$again" || return 1
    "$program" verify || return 1
}

mapfile -t pythons < <(interpreters)
[ ${#pythons[@]} -ge 3 ] || echo "only ${#pythons[@]} of the interpreters 3.11, 3.12, 3.13 are installed: ${pythons[*]:-none}" >&2
for python in "${pythons[@]}"; do
    check "100 packages on $python" realize "$here/../../docs/bench/requirements-100.lock" "$python"
done
for python in "${pythons[@]}"; do
    check "15 sdists on $python" realize "$here/sdists.lock" "$python"
done
# Its own resolver is a program that says it needs a newer Python.
old_python() {
    local python=$1 lock=$work/old.lock
    printf 'markupsafe==1.1.1 --hash=sha256:29872e92839765e546828bb7754a68c418d927cd064fd4708fab9fe9c8bb116b\n' >"$lock"
    env -u PIP_ACCEL_UV PIP_ACCEL_STORE="$work/store-old" "$program" realize "$lock" --python "$python" --venv "$work/old" || return 1
    "$work/old/bin/python" -c 'import markupsafe._speedups'
}
for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/{2.7,3.6,3.7}.*/bin/python; do
    [ ! -x "$python" ] || check "an sdist with the pinned resolver on $python" old_python "$python"
done
check "the example lock" realize "$here/../../docs/demo/requirements.lock" "$(command -v python3)"
if [ -x "${PIP_ACCEL_TEST_UV:-}" ] && compgen -G "${PIP_ACCEL_TEST_WHEELS:-}/pip-*.whl" > /dev/null; then
    check "locks and environments beside those of uv and pip" python3 "$here/differential.py" "$program"
else
    echo "the comparison with uv and pip is left out: it needs PIP_ACCEL_TEST_UV and PIP_ACCEL_TEST_WHEELS" >&2
fi
if [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ]; then
    check "the corpus of failed builds" python3 "$here/diagnose.py" "$program"
else
    echo "the corpus of failed builds is left out: it is from Debian 12" >&2
fi
if [ "$(id -u)" = 0 ] && [ -x /usr/bin/apt-get ]; then
    check "a build that lacks a package of the system" python3 "$here/rounds.py" "$program"
else
    echo "installing a package of the system is left out: it needs root and apt" >&2
fi

if [ "$failures" -gt 0 ]; then
    echo "test-online: $failures checks failed" >&2
    exit 1
fi
echo "test-online: everything passed"

#!/usr/bin/env bash
# The demo: from an empty store and a lock to an environment, a second one, and the space back. Leaves nothing behind.
# usage: docs/demo/run.sh PATH-OF-PIP-ACCEL
set -euo pipefail
program=$(realpath "${1:?usage: docs/demo/run.sh PATH-OF-PIP-ACCEL}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pip-accel-demo-XXXXXX")
export PIP_ACCEL_STORE=$work/store

cleanup() {
    # Objects are read-only; root's may be immutable.
    chattr -R -f -i "$work" 2>/dev/null || true
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

now() { date +%s%N; }
seconds() { printf '%d.%03d s' $(($1 / 1000000000)) $(($1 / 1000000 % 1000)); }

# Runs a command, shows it, and puts its time in nanoseconds into $spent.
timed() {
    echo "\$ ${*/#$program/pip-accel}"
    local begun
    begun=$(now)
    "$@"
    spent=$(($(now) - begun))
    echo
}

cd "$work"
cp "$here/requirements.lock" .
pins=$(grep -c '^[A-Za-z].*==' requirements.lock)
echo "The lock has $pins pins; $(grep -c '^--no-binary' requirements.lock) packages are to be built from source."
echo

timed "$program" realize requirements.lock
first=$spent
timed .venv/bin/python "$here/imports.py"
program_first=$spent
timed .venv/bin/python "$here/imports.py"
program_second=$spent
timed "$program" realize requirements.lock --venv second
second=$spent
timed "$program" realize requirements.lock
again=$spent
timed second/bin/python "$here/imports.py"

echo "first environment (fetched and built):  $(seconds "$first")"
echo "second environment (from the store):    $(seconds "$second")"
echo "first environment again (nothing to do): $(seconds "$again")"
echo "the program, first and second run:      $(seconds "$program_first"), $(seconds "$program_second")"
echo

echo "Both environments go; gc gives their space back (without waiting the usual hour):"
echo "store before: $(du -sh store | cut -f1)"
rm -rf .venv second
timed "$program" gc --min-age 0 >gc.txt
cat gc.txt | tail -n 3
echo "store after:  $(du -sh store | cut -f1)"
"$program" verify

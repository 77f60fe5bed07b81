#!/usr/bin/env bash
# The figures of docs/benchmarks.md: pip-accel against uv, same machine, same run, medians.
# usage: docs/bench/bench.sh PATH-OF-PIP-ACCEL               writes docs/benchmarks.md; half an hour
#        docs/bench/bench.sh PATH-OF-PIP-ACCEL --only warm   prints the figures of some parts: warm, cold, install, lock, sandbox, store
#        docs/bench/bench.sh PATH-OF-PIP-ACCEL --only store --scale 0.01 --lock SMALL.lock   tries the part, with any build
set -euo pipefail
program=$(realpath "${1:?usage: docs/bench/bench.sh PATH-OF-PIP-ACCEL [--only PART,...] [--rounds N] [--scale X]}")
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
uv=${PIP_ACCEL_TEST_UV:-$(command -v uv)}
python=${PIP_ACCEL_BENCH_PYTHON:-python3}
cache=${CACHE:-$HOME/.cache/pip-accel-build}
# Kept: the files of the lock, served over the loopback device for the cold runs.
mirror=$cache/bench-mirror
mkdir -p "$mirror"
exec "$python" "$here/bench.py" --program "$program" --uv "$uv" --python "$python" \
    --mirror "$mirror" --lock "$here/requirements-100.lock" --output "$here/../benchmarks.md" "$@"

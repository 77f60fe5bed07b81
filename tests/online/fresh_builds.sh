#!/usr/bin/env bash
# Fresh builds of the corpus's projects: is the first package that is proposed, from log and file trace, the verified fix? On a Debian
# without development packages, by an ordinary user (debian_root.sh), each project's first round; nothing is installed or unpacked.
# usage: tests/online/fresh_builds.sh PATH-OF-PIP-ACCEL [PROJECT]…      (without projects: all of the corpus; hours)
# Builds that fail for something else than in the corpus are listed apart: their fix is not known.
set -euo pipefail
program=$(realpath "${1:?usage: tests/online/fresh_builds.sh PATH-OF-PIP-ACCEL [PROJECT]...}")
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/debian_root.sh"
# Of each build, in seconds: what lacks something fails early.
limit=${LIMIT:-600}

open_root
mkdir "$work/corpus"
zstd -dcq "$here/../data/system-packages/corpus.tar.zst" | tar -x -C "$work/corpus"
inside /srv/pip-accel index update
for case in "$work"/corpus/*-round1; do
    project=$(python3 -c 'import json, sys; meta = json.load(open(sys.argv[1])); print(meta["project"], meta["version"], sep="==")' "$case/meta.json")
    if [ $# -gt 0 ] && [[ " $* " != *" ${project%%==*} "* ]]; then continue; fi
    inside /usr/bin/timeout "$limit" /srv/pip-accel build "$project" --system-packages refuse --json >"$case/answer.json" 2>"$case/talk" \
        </dev/null || true
    python3 "$here/fresh_builds.py" "$case"
done | tee "$work/all"
python3 "$here/fresh_builds.py" --sum "$work/all"

"""The corpus of failed builds against the index of this machine's own package sources.

usage: diagnose.py PATH-OF-PIP-ACCEL (Debian 12, which the corpus is from; elsewhere names of packages differ)
"""

import io
import json
import pathlib
import subprocess
import sys
import tarfile

program = sys.argv[1]
corpus = pathlib.Path(__file__).parent.parent / "data/system-packages/corpus.tar.zst"
subprocess.run([program, "index", "update"], check=True)
archive = tarfile.open(fileobj=io.BytesIO(subprocess.check_output(["zstd", "-dcq", corpus])))
files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
right, positives, wrong = 0, 0, []
for name in sorted(path.split("/")[0] for path in files if path.endswith("/meta.json")):
    meta = json.loads(files[f"{name}/meta.json"])
    command = [program, "-q", "diagnose", "--offline", "--json", "-"]
    answer = json.loads(subprocess.run(command, input=files[f"{name}/build.log"], stdout=subprocess.PIPE, check=True).stdout)
    first = next(iter(answer["packages"]), None)
    if not meta["fixed_by"]:
        wrong += [f"{name}: {first} proposed"] if first else []
        continue
    positives += 1
    if first in meta["fixed_by"] + meta["acceptable"]:
        right += 1
    else:
        wrong.append(f"{name}: {first} instead of {meta['fixed_by']}")
print(f"{right} of {positives} positives right", *wrong, sep="\n")
held_out = (corpus.parent / "held-out.txt").read_text().split("\n== ")[1:]
good = 0
for wanted, log in (case.split("\n", 1) for case in held_out):
    command = [program, "-q", "diagnose", "--offline", "--json", "-"]
    answer = json.loads(subprocess.run(command, input=log.encode(), stdout=subprocess.PIPE, check=True).stdout)
    first = next(iter(answer["packages"]), "-")
    if first in wanted.split("|"):
        good += 1
    else:
        print(f"held out: {first} instead of {wanted}")
print(f"{good} of {len(held_out)} held-out messages right")
sys.exit(right * 100 < positives * 97 or any(line.endswith("proposed") for line in wrong))

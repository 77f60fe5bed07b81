"""Judges one fresh build of the corpus (see fresh_builds.sh), or counts what was judged.

usage: fresh_builds.py CASE-FOLDER | --sum FILE
"""

import collections
import json
import pathlib
import sys



def judged(case):
    meta = json.loads((case / "meta.json").read_text())
    try:
        answer = json.loads((case / "answer.json").read_text())
    except ValueError:
        return "other", "no answer: " + (case / "talk").read_text()[-200:].replace("\n", " ")
    if "error" not in answer:
        return "builds", "it builds"
    builds = answer["error"].get("system_packages", {}).get("builds", [])
    finding = next((build for build in builds if build["build"].startswith(meta["project"].lower())), None)
    finding = finding or next(iter(builds), None)
    said = f'{finding["kind"]} {finding["name"]}: {finding["evidence"][:90]}' if finding else answer["error"]["message"][:120]
    first = next(iter(finding["packages"]), None) if finding else None
    right = meta["fixed_by"] + meta["acceptable"]
    if first in right:
        return "right", f"{first} ({said})"
    if not right:
        return ("right", f"nothing ({said})") if first is None else ("wrong", f"{first} instead of nothing ({said})")
    # The same failure as in the corpus shows the same evidence; anything else is another failure, of which nothing is known.
    same = meta["missing"]["name"].lower() in json.dumps(answer).lower() or meta["evidence"].lower() in json.dumps(answer).lower()
    return "wrong" if same else "other", f"{first} instead of {right[0]} ({said})"


if sys.argv[1] == "--sum":
    counts = collections.Counter(line.split(" ", 1)[0] for line in open(sys.argv[2]))
    asked = counts["right"] + counts["wrong"]
    print(f'{counts["right"]} of {asked} right; {counts["builds"]} build, {counts["other"]} fail for something else')
    sys.exit(counts["right"] * 100 < asked * 99)
verdict, text = judged(pathlib.Path(sys.argv[1]))
print(verdict, pathlib.Path(sys.argv[1]).name, text, flush=True)

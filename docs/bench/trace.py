"""What the file trace costs: each sdist of a lock is built with it and without it, in turn, offline, in a new store each time.

usage: trace.py PATH-OF-PIP-ACCEL LOCK [--rounds N] [--python PYTHON] [--only NAME,NAME]

Processor time is that of the whole run and of all its children, also of those that nobody waits for, by a control group of its own
(root's; what the supervisor does counts). Wall time says little where other work runs. Prints one line a project and the medians.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("lock", type=pathlib.Path)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--python", default="python3")
parser.add_argument("--only", default="")
options = parser.parse_args()


def blocks(text):
    """Name and lines of each requirement of a lock, with its locked build; options of the whole file before the first."""
    general, found = [], {}
    for line in text.splitlines():
        start = re.match(r"([A-Za-z0-9][\w.-]*)==", line)
        build = re.match(r"#: build ([A-Za-z0-9][\w.-]*)==", line)
        if start or build:
            name = (start or build)[1]
            found.setdefault(name, [])
        elif line.startswith("--") and not found:
            general.append(line)
            continue
        if found:
            found[name].append(line)
    return {name: "\n".join([*general, *lines]) + "\n" for name, lines in found.items()}


class Group:
    """A control group that counts the processor time of what runs in it."""

    def __init__(self):
        first = pathlib.Path("/sys/fs/cgroup/cpuacct")
        self.folder = (first if first.is_dir() else first.parent) / f"pip-accel-trace-{os.getpid()}"
        self.folder.mkdir()

    def enter(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def seconds(self):
        nanoseconds = self.folder / "cpuacct.usage"
        if nanoseconds.exists():
            return int(nanoseconds.read_text()) / 1e9
        return int(re.search(r"usage_usec (\d+)", (self.folder / "cpu.stat").read_text())[1]) / 1e6


def run(arguments, **variables):
    """Processor and wall seconds of the program."""
    environment = {**os.environ, "PIP_ACCEL_PROTECT": "none", **variables}
    begun, spent = time.monotonic(), group.seconds()
    command = [options.program, *arguments]
    ran = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=group.enter
    )
    if ran.returncode:
        raise SystemExit(ran.stdout.decode()[-2000:])
    return group.seconds() - spent, time.monotonic() - begun


def measured(name, lock, folder):
    base = folder / "base"
    run(["fetch", str(lock), "--python", options.python], PIP_ACCEL_STORE=str(base))
    times = {"yes": [], "no": []}
    for number in range(options.rounds + 1):
        for trace in sorted(times, reverse=number % 2):
            place = folder / f"{number}-{trace}"
            subprocess.run(["cp", "-a", base, place], check=True)
            arguments = ["realize", str(lock), "--offline", "--python", options.python, "--venv", str(place / "venv")]
            spent = run(arguments, PIP_ACCEL_STORE=str(place), PIP_ACCEL_TRACE=trace)
            # The first round warms the caches of the system.
            if number:
                times[trace].append(spent)
            subprocess.run(["rm", "-rf", place], check=True)
    cpu, wall = ({trace: statistics.median(one[kind] for one in all) for trace, all in times.items()} for kind in (0, 1))
    ratios = (100 * (cpu["yes"] / cpu["no"] - 1), 100 * (wall["yes"] / wall["no"] - 1))
    print(
        f'{name:15} cpu {cpu["no"]:7.2f} s, traced {cpu["yes"]:7.2f} s ({ratios[0]:+5.1f} %)'
        f'   wall {wall["no"]:7.2f} s, traced {wall["yes"]:7.2f} s ({ratios[1]:+5.1f} %)',
        flush=True,
    )
    return ratios


group = Group()
all_ratios = []
sdists = set(re.findall(r"^--no-binary (\S+)", options.lock.read_text(), re.MULTILINE))
for project, text in blocks(options.lock.read_text()).items():
    if project not in sdists or options.only and project not in options.only.split(","):
        continue
    with tempfile.TemporaryDirectory(prefix="pip-accel-trace-") as temporary:
        single = pathlib.Path(temporary, "requirements.lock")
        single.write_text(text)
        all_ratios.append(measured(project, single, pathlib.Path(temporary)))
group.folder.rmdir()
cpu, wall = (statistics.median(ratio[kind] for ratio in all_ratios) for kind in (0, 1))
print(f"median of {len(all_ratios)} projects, {options.rounds} rounds: processor time {cpu:+.1f} %, wall time {wall:+.1f} %")

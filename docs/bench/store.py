"""The part `store` of the benches: collecting, deleting, registering, verifying, and a store of a million objects."""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import graph

# What a collection has to find its way through, and what an ordinary store never reaches; times `--scale`.
OBJECTS = 100_000
OBJECTS_MANY = 1_000_000
# nix-store needs minutes for one look; so many are enough to tell how it compares.
NIX_SECONDS_MAX = 300


class Figure:
    """One measured value beside the limit that it has to keep, with the words of its row."""

    def __init__(self, what, value, limit, goal, reached):
        self.what, self.value, self.limit, self.goal, self.reached = what, value, limit, goal, reached

    def line(self):
        verdict = {None: "not measured", True: "reached", False: "**missed**"}[self.reached]
        return "| %s | %s | %s | %s | %s |" % (self.what, self.value, self.limit, self.goal, verdict)


def measure(bench):
    """All figures of a store; each is printed when it is there."""
    for part in (find_the_dead, delete, inside_the_store, many_objects):
        for figure in part(bench):
            print(figure.line(), file=sys.stderr)
            yield figure


def scaled(bench, objects):
    """An even number of objects, as many as the run is to have."""
    return max(2, int(objects * bench.options.scale) // 2 * 2)


def empty_store(bench, name):
    """An empty store and the variables that name it."""
    environment = dict(bench.base, PIP_ACCEL_STORE=bench.path(name))
    bench.run([bench.options.program, "fetch", os.devnull, "--python", bench.options.python], environment)
    return environment


def database(environment):
    return os.path.join(environment["PIP_ACCEL_STORE"], "db/store.sqlite")


def best(work, rounds=3):
    return min(work() for _ in range(rounds))


def find_the_dead(bench):
    environment = empty_store(bench, "store-graph")
    objects = scaled(bench, OBJECTS)
    graph.fill_store(database(environment), objects)
    command = [bench.options.program, "gc", "--dry-run", "--json"]
    ours = best(lambda: bench.run(command, environment))
    dead = len(json.loads(bench.stdout)["plan"]["dead"])
    assert dead == objects // 2, "%s dead objects" % dead
    bench.remove("store-graph")
    what = "gc, finding the dead among %s objects" % format(objects, ",")
    yield Figure(what, "%.2f s" % ours, "", "under 1 s", ours < 1)
    if not shutil.which("nix-store"):
        yield Figure(what, "%.2f s" % ours, "no nix-store here", "40 times faster", None)
        return
    directory = bench.path("nix")
    nix = graph.nix_environment(directory)
    subprocess.run(["nix-store", "--init"], env=nix, check=True, capture_output=True)
    graph.fill_nix(directory, objects)
    started = time.perf_counter()
    try:
        found = subprocess.run(["nix-store", "--gc", "--print-dead"], env=nix, check=True, capture_output=True, timeout=NIX_SECONDS_MAX)
        theirs = time.perf_counter() - started
        lines = found.stdout.count(b"\n")
        text = "nix-store: %.1f s, %.0f times (%s dead)" % (theirs, theirs / ours, format(lines, ","))
    except subprocess.TimeoutExpired:
        theirs = NIX_SECONDS_MAX
        text = "nix-store: over %d s, %.0f times" % (theirs, theirs / ours)
    bench.remove("nix")
    yield Figure(what, "%.2f s" % ours, text, "40 times faster", theirs >= 40 * ours)


def delete(bench):
    """A store of the lock of the benches, all of it dead, against `rm -rf` of its copy."""
    environment = bench.environment("delete")
    ours, theirs = [], []
    store = environment["PIP_ACCEL_STORE"]
    collect = [bench.options.program, "gc", "--min-age", "0", "--drop-sources"]
    bench.run(bench.ours("delete"), environment)
    bench.remove("delete")
    template = bench.path("template-delete")
    os.rename(store, template)
    # What is written a moment before is slower to delete, and `rm` would be first: both get a copy, in turn.
    folders = [store + "/store", store + "/files", store + "/links"]
    for _ in range(3):
        for side, command in ((ours, collect), (theirs, ["rm", "-rf", *folders])):
            subprocess.run(["cp", "-a", template, store], check=True)
            if side is theirs and os.geteuid():
                # Folders are read-only, which stops `rm` but not the collector, who makes them writable himself.
                subprocess.run(["chmod", "-R", "u+w", *folders], check=True)
            os.sync()
            side.append(bench.run(command, environment))
            left = [name for folder in folders if os.path.isdir(folder) for _, _, names in os.walk(folder) for name in names]
            assert not left, "%d files are still there" % len(left)
            bench.remove("store-delete")
    bench.remove("template-delete")
    ours, theirs = sorted(ours)[1], sorted(theirs)[1]
    yield Figure("deleting the store of the lock", "%.2f s" % ours, "rm -rf: %.2f s, ratio %.2f" % (theirs, theirs / ours),
                 "0.9 of the speed", theirs >= 0.9 * ours)


def inside_the_store(bench):
    """What has no command of its own: tests of the crate that print figures."""
    # An attempt at a small scale is not worth a build for release, and its figures mean nothing.
    profile = ["--release"] if bench.options.scale >= 1 else []
    cargo = ["cargo", "test", *profile, "--locked", "--package", "pip-accel-store", "timing::", "--", "--ignored", "--nocapture", "--test-threads", "1"]
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    done = subprocess.run(cargo, cwd=source, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        sys.exit("failed: %s\n%s" % (" ".join(cargo), done.stderr))
    rate = max(map(float, re.findall(r"registered (\d+) objects a second", done.stderr)))
    yield Figure("registering 10,000 objects, in batches of 1,000", "%s a second" % format(int(rate), ","), "", "20,000 a second", rate >= 20_000)
    # They took turns; on a busy machine the ratio of the processor times says more than that of the clock.
    median = lambda pattern: statistics.median(map(float, re.findall(pattern, done.stderr)))
    ratio, by_work = median(r": ([\d.]+) of the limit"), median(r"([\d.]+) by processor time")
    yield Figure("verify, everything read", "%.2f of the limit, %.2f by processor time" % (ratio, by_work),
                 "a loop that reads and hashes each file", "0.8", ratio >= 0.8)


def many_objects(bench):
    """The same commands on a small store and on the same store with a million objects more."""
    environment = bench.environment("many")
    look = [bench.options.program, "roots", "list"]

    def times():
        def realize():
            bench.remove("ours")
            return bench.run(bench.ours("ours"), environment)

        return best(lambda: bench.run(look, environment), 9), best(realize, 9)

    bench.run(bench.ours("ours"), environment)
    small = times()
    objects = scaled(bench, OBJECTS_MANY)
    graph.fill_store(database(environment), objects)
    many = times()
    objects = format(objects, ",")
    for what, before, after in zip(("opening a store", "warm, new environment,"), small, many):
        yield Figure("%s with %s objects more" % (what, objects), "%.1f ms" % (after * 1000), "without: %.1f ms" % (before * 1000),
                     "at most twice", after <= 2 * before)
    seconds = bench.run([bench.options.program, "gc", "--dry-run"], environment)
    peak = peak_of([bench.options.program, "gc", "--dry-run"], environment, bench.work)
    yield Figure("gc --dry-run among %s objects" % objects, "%d MiB" % peak, "%.1f s" % seconds, "under 500 MiB", peak < 500)
    bench.remove("store-many", "uv-many", "ours")


def peak_of(command, environment, directory):
    """The most memory that a command had resident, in MiB, by the kernel's count of its own children."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); " \
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], env=environment, cwd=directory, check=True, capture_output=True, text=True)
    return int(done.stdout) >> 10


def table(figures):
    lines = ["| a store | figure | beside it | goal | |", "| --- | --: | --- | --- | --- |"]
    return lines + [figure.line() for figure in figures]

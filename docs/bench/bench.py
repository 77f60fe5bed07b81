"""Measures pip-accel against uv and writes a Markdown table. Only the standard library; see bench.sh for how it is called."""
import argparse
import datetime
import functools
import hashlib
import http.server
import json
import os
import platform
import re
import shutil
import statistics
import stat
import subprocess
import sys
import tempfile
import threading
import time

import store

# Rows take turns of both sides until their rounds are done or this much time is gone, but three turns at least.
ROW_SECONDS = 60

# A build of a few seconds whose backend is setuptools: the one that the sandbox's cost is measured on.
SANDBOX_SDIST = "markupsafe"

# Pins of the lock that are installed by `install`.
INSTALLED = 40


class Bench:
    """One run: its scratch directory, its programs and the rows of its table."""

    def __init__(self, options):
        self.options = options
        self.work = tempfile.mkdtemp(prefix="pip-accel-bench-")
        self.rows = []
        self.memory = []
        self.profiles = []
        self.figures = []
        self.load = os.getloadavg()[0]
        keep = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "PIP_CERT")
        self.base = {name: os.environ[name] for name in keep if name in os.environ}
        self.base.update(HOME=self.work, UV_NO_CONFIG="1", UV_PYTHON_DOWNLOADS="never", TMPDIR=self.work)
        self.mirrored = dict(self.base)

    def use_mirror(self):
        fill_mirror(self.options)
        index = serve(self.options.mirror)
        self.mirrored.update(PIP_INDEX_URL=index, UV_DEFAULT_INDEX=index)

    def environment(self, name, base=None):
        """Variables that give both programs a cache of this name."""
        return dict(base or self.mirrored, PIP_ACCEL_STORE=self.path("store-" + name), UV_CACHE_DIR=self.path("uv-" + name))

    def path(self, name):
        return os.path.join(self.work, name)

    def remove(self, *names):
        """Removes trees that may be read-only or immutable."""
        for path in map(self.path, names):
            if os.path.isdir(path):
                subprocess.run(["chattr", "-R", "-f", "-i", path], stderr=subprocess.DEVNULL)
                for folder, _, _ in os.walk(path):
                    os.chmod(folder, stat.S_IRWXU)
                shutil.rmtree(path)

    def run(self, command, environment):
        """Runs a command (or several, one after the other) and returns the seconds that it took."""
        commands = command if isinstance(command[0], list) else [command]
        started = time.perf_counter()
        for one in commands:
            done = subprocess.run(one, env=environment, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True)
            if done.returncode:
                sys.exit("failed (%d): %s\n%s" % (done.returncode, " ".join(one), done.stderr.decode(errors="replace")))
            self.stdout = done.stdout
        return time.perf_counter() - started

    def pair(self, what, ours, theirs, goal, rounds=None):
        """Measures two sides in turn, so that both meet the same moods of the machine, and adds a row of their medians.

        A side is a command, its environment and what happens before it. Ends early, after three rounds or more, when
        the row has had its share of the time.
        """
        times = ([], [])
        deadline = time.monotonic() + ROW_SECONDS
        for done in range(rounds or self.options.rounds):
            if done >= 3 and time.monotonic() > deadline:
                break
            for side, (command, environment, before) in zip(times, (ours, theirs)):
                before()
                side.append(self.run(command, environment))
        row = Row(what, statistics.median(times[0]), statistics.median(times[1]), len(times[0]), goal)
        self.rows.append(row)
        print(row.line(), file=sys.stderr)
        return row

    # What is measured ------------------------------------------------------------------------------------------

    def ours(self, venv, *more, lock=None):
        lock = lock or self.options.lock
        return [self.options.program, "realize", lock, "--venv", self.path(venv), "--python", self.options.python, *more]

    def theirs(self, venv, *more, create=True):
        venv = self.path(venv)
        sync = [self.options.uv, "pip", "sync", "--require-hashes", "--python", venv, self.options.lock, *more]
        return [[self.options.uv, "venv", "--python", self.options.python, venv], sync] if create else sync

    def warm(self):
        environment = self.environment("warm")
        self.run(self.ours("warm-up"), environment)
        self.run(self.theirs("warm-up-uv"), environment)
        new = (self.ours("ours"), environment, lambda: self.remove("ours"))
        old = lambda: self.remove("theirs")
        self.pair("warm, new environment", new, (self.theirs("theirs", "--offline"), environment, old),
                  Goal(30, milliseconds=30))
        same = lambda: None
        self.pair("again, nothing to do", (self.ours("ours"), environment, same),
                  (self.theirs("theirs", "--offline", create=False), environment, same), Goal(5, milliseconds=10))
        self.pair("warm, bytecode included", new,
                  (self.theirs("theirs", "--offline", "--compile-bytecode"), environment, old), Goal(300), rounds=3)
        for mode in ("hardlink", "copy"):
            self.pair("warm, `--link-mode %s`" % mode,
                      (self.ours("mode", "--link-mode", mode), environment, lambda: self.remove("mode")),
                      (self.theirs("theirs", "--offline", "--link-mode", mode), environment, old), Goal(None), rounds=3)
        self.remove("ours")
        self.run(self.ours("ours", "--json"), environment)
        self.profiles.append(("warm, new environment, one run", json.loads(self.stdout)))

    def cold(self):
        environment = self.environment("cold")
        before = lambda: self.remove("store-cold", "uv-cold", "ours", "theirs")
        self.pair("cold, loopback mirror", (self.ours("ours"), environment, before),
                  (self.theirs("theirs", "--compile-bytecode"), environment, before), Goal(1), rounds=3)
        before()
        for name, command in (("pip-accel", self.ours("ours", "--json")), ("uv", self.theirs("theirs", "--compile-bytecode")[1])):
            if name == "uv":
                self.run(self.theirs("theirs")[0], environment)
            self.memory.append((name + ", cold", *peak_memory(command, environment, self.work)))
        before()
        self.run(self.ours("ours", "--json"), environment)
        self.profiles.append(("cold, loopback mirror, one run", json.loads(self.stdout)))
        before()

    def install(self):
        """Requirements as people write them, 40 pins without hashes, into a new virtualenv; all three programs are warm."""
        environment = dict(self.environment("install"), PIP_ACCEL_UV=self.options.uv, PIP_CACHE_DIR=self.path("pip-cache"), PIP_DISABLE_PIP_VERSION_CHECK="1")
        with open(self.options.lock) as file:
            pins = re.findall(r"^([A-Za-z0-9_.-]+==[^ \\\n;]+)", file.read(), re.MULTILINE)
        wanted = self.path("forty.txt")
        # Without what they require each would choose further packages; all that is measured is the same for all.
        with open(wanted, "w") as file:
            file.write("\n".join(pins[:INSTALLED]) + "\n")
        ours = [self.options.program, "install", "--no-deps", "-r", wanted, "--venv", self.path("ours"), "--python", self.options.python]
        theirs = self.path("theirs")
        create = [self.options.uv, "venv", "--python", self.options.python, theirs]
        uv = [create, [self.options.uv, "pip", "install", "--no-deps", "--python", theirs, "-r", wanted]]
        pip = [[self.options.python, "-m", "venv", theirs], [theirs + "/bin/python", "-m", "pip", "install", "--no-deps", "-r", wanted]]
        for command in (ours, uv):
            self.run(command, environment)
        self.remove("theirs")
        self.run(pip, environment)
        new, old = (lambda: self.remove("ours")), (lambda: self.remove("theirs"))
        self.pair("`install -r`, %d pins, warm / uv" % INSTALLED, (ours, environment, new), (uv, environment, old), Goal(5))
        self.pair("`install -r`, %d pins, warm / pip" % INSTALLED, (ours, environment, new), (pip, environment, old), Goal(30), rounds=3)
        self.pair("`install -r`, nothing to do / uv", (ours, environment, lambda: None), (uv[1], environment, lambda: None), Goal(None))

    def lock(self):
        """The versions of the demo's project; both know all metadata from before.

        What the benches install is no measure: its newest releases exclude each other, and for minutes both programs do
        nothing but ask the index for older ones.
        """
        environment = dict(self.environment("lock", self.base), PIP_ACCEL_UV=self.options.uv)
        project = os.path.join(os.path.dirname(self.options.lock), "../demo/requirements.in")
        ours = [self.options.program, "lock", project, "-o", self.path("ours.lock"), "--python", self.options.python]
        theirs = [self.options.uv, "pip", "compile", "--generate-hashes", "-q", "--python", self.options.python, "-o", self.path("theirs.lock"), project]
        for command in (ours, theirs):
            self.run(command, environment)

        def fresh():
            for name in ("ours.lock", "theirs.lock"):
                if os.path.exists(self.path(name)):
                    os.remove(self.path(name))

        self.pair("`lock`, warm / uv pip compile", (ours, environment, fresh), (theirs, environment, fresh),
                  Goal(1, extra_milliseconds=100))

    def sandbox(self):
        """The same build with and without isolation; what is fetched is in the store before."""
        # The build requirements come from the machine's own index; only the lock of the benches is mirrored.
        environment = self.environment("sandbox", self.base)
        with open(os.path.join(os.path.dirname(self.options.lock), "../demo/requirements.lock")) as file:
            pins = requirement(file.read(), SANDBOX_SDIST)
        lock = self.path("sdist.lock")
        with open(lock, "w") as file:
            file.write("--no-binary :all:\n" + pins)
        template = self.path("template")
        fetch = dict(environment, PIP_ACCEL_STORE=template)
        self.run([self.options.program, "fetch", lock, "--python", self.options.python], fetch)

        def reset():
            self.remove("built", "store-sandbox")
            subprocess.run(["cp", "-a", template, self.path("store-sandbox")], check=True)

        def side(*more, **variables):
            return self.ours("built", "--offline", *more, lock=lock), dict(environment, **variables), reset

        without = side("--no-sandbox")
        goal = Goal(1 / 1.05, extra_milliseconds=50)
        self.pair("one build (%s), sandbox / none" % SANDBOX_SDIST, side(PIP_ACCEL_TRACE="false"), without, goal)
        self.pair("the same, sandbox and file trace / none", side(), without, goal)

    def store(self):
        self.figures.extend(store.measure(self))

    def close(self):
        self.remove(*os.listdir(self.work))
        shutil.rmtree(self.work, ignore_errors=True)


class Goal:
    """What a row has to reach: how many times faster, and in how many milliseconds."""

    def __init__(self, times, milliseconds=None, extra_milliseconds=0):
        self.times, self.milliseconds, self.extra = times, milliseconds, extra_milliseconds

    def text(self):
        if self.times is None:
            return "none"
        if self.extra:
            return "%.0f %% and %d ms more" % (100 / self.times - 100, self.extra)
        limit = ", under %d ms" % self.milliseconds if self.milliseconds else ""
        return ("not slower" if self.times == 1 else "%d times" % self.times) + limit

    def verdict(self, ours, theirs):
        if self.times is None:
            return "faster" if ours < theirs else "slower"
        reached = ours * self.times <= theirs + self.extra / 1000 * self.times
        if self.milliseconds and ours * 1000 > self.milliseconds:
            reached = False
        return "reached" if reached else "**missed**"


class Row:
    """Two medians, in seconds."""

    def __init__(self, what, ours, theirs, rounds, goal):
        self.what, self.ours, self.theirs, self.rounds, self.goal = what, ours, theirs, rounds, goal

    def line(self):
        return "| %s | %.1f ms | %.1f ms | %.2f | %d | %s | %s |" % (
            self.what, self.ours * 1000, self.theirs * 1000, self.theirs / self.ours, self.rounds, self.goal.text(),
            self.goal.verdict(self.ours, self.theirs))


def peak_memory(command, environment, directory):
    """Runs a command; returns the peak of its own resident memory and that of its whole process tree, in MiB.

    The first is the kernel's figure. The second is sampled (proportional set sizes, each 50 ms), so short peaks escape it.
    """
    child = subprocess.Popen(command, env=environment, cwd=directory, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    alone = 0
    while True:
        alone = max(alone, status_kilobytes(child.pid))
        peak = max(peak, sum(map(proportional_kilobytes, tree(child.pid))))
        try:
            child.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            pass
    if child.returncode:
        sys.exit("failed (%d): %s" % (child.returncode, " ".join(command)))
    return alone >> 10, peak >> 10


def status_kilobytes(process):
    """The most memory that a process had resident so far (`VmHWM`)."""
    return first_number("/proc/%d/status" % process, r"VmHWM:\s*(\d+)")


def proportional_kilobytes(process):
    return first_number("/proc/%d/smaps_rollup" % process, r"\nPss:\s*(\d+)")


def first_number(path, pattern):
    """A number of a file of /proc; 0 when its process has ended."""
    try:
        with open(path) as file:
            found = re.search(pattern, file.read())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def tree(process):
    """A process and all below it."""
    processes = [process]
    for one in processes:
        try:
            threads = os.listdir("/proc/%d/task" % one)
            for thread in threads:
                with open("/proc/%d/task/%s/children" % (one, thread)) as file:
                    processes += map(int, file.read().split())
        except OSError:
            pass
    return processes


def requirement(text, name):
    """The lines of one requirement of a lock."""
    found = re.search(r"^%s==.*\n(?:    --hash.*\n)+" % re.escape(name), text, re.MULTILINE)
    return found.group(0)


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


def serve(directory):
    """Serves the mirror on the loopback device; returns the URL of its simple index."""
    handler = functools.partial(Quiet, directory=directory)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "http://127.0.0.1:%d/simple/" % server.server_port


def fill_mirror(options):
    """Downloads the wheels of the lock once and writes a simple index of them."""
    files = os.path.join(options.mirror, "files")
    stamp = os.path.join(options.mirror, "complete-%s" % platform.python_version())
    if not os.path.exists(stamp):
        subprocess.run([options.python, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary",
                        ":all:", "--dest", files, "--requirement", options.lock], check=True)
        open(stamp, "w").close()
    pages = {}
    for name in sorted(os.listdir(files)):
        pages.setdefault(re.sub(r"[-_.]+", "-", name.split("-")[0]).lower(), []).append(name)
    for project, names in pages.items():
        folder = os.path.join(options.mirror, "simple", project)
        os.makedirs(folder, exist_ok=True)
        links = "".join('<a href="../../files/%s#sha256=%s">%s</a><br>\n' % (
            name.replace("+", "%2B"), digest(os.path.join(files, name)), name) for name in names)
        with open(os.path.join(folder, "index.html"), "w") as file:
            file.write("<!DOCTYPE html><html><body>\n%s</body></html>\n" % links)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def machine(bench):
    """Lines that say what the figures were measured on."""
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read()).group(1)) >> 20
    kind = subprocess.run(["stat", "-f", "-c", "%T", bench.work], capture_output=True, text=True).stdout.strip()
    version = lambda program: subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    return [
        "%s, %d cores, %d GiB, Linux %s, %s" % (model.group(1) if model else platform.machine(), os.cpu_count(), memory,
                                                platform.release(), kind),
        "Python %s; %s; %s" % (platform.python_version(), version(bench.options.program), version(bench.options.uv)),
        "%s; medians; load average at the beginning %.1f" % (datetime.date.today(), bench.load),
    ]


def table(bench):
    lines = ["| what | pip-accel | uv, or without | ratio | runs | goal | |", "| --- | --: | --: | --: | --: | --- | --- |"]
    lines += [row.line() for row in bench.rows]
    lines += ["", "| peak memory, MiB | the process itself | with all it started | goal | |", "| --- | --: | --: | --- | --- |"]
    for what, alone, whole in bench.memory:
        ours = what.startswith("pip-accel")
        verdict = "" if not ours else "reached" if whole < 300 else "reached by the process itself" if alone < 300 else "**missed**"
        lines.append("| %s | %d | %d | %s | %s |" % (what, alone, whole, "under 300" if ours else "", verdict))
    lines += ["", "| where the time goes | plan | obtain | link | busy inside obtain, summed over what runs at once |",
              "| --- | --: | --: | --: | --- |"]
    for what, report in bench.profiles:
        phases = report["phases"]
        work = ", ".join("%s %.1f s" % (name, spent) for name, spent in phases["work"].items())
        lines.append("| %s (%.1f ms) | %.1f ms | %.1f ms | %.1f ms | %s |" % (
            what, report["seconds"] * 1000, *(phases[name] * 1000 for name in ("plan", "obtain", "link")), work))
    if bench.figures:
        lines += ["", *store.table(bench.figures)]
    return lines


def write(bench, path):
    """Replaces what stands between the markers; the text around it is written by hand."""
    begin, end = "<!-- figures: begin (written by docs/bench/bench.sh) -->", "<!-- figures: end -->"
    figures = "\n".join([begin, ""] + ["* " + line for line in machine(bench)] + [""] + table(bench) + ["", end])
    text = open(path).read() if os.path.exists(path) else "# Benchmarks\n\n%s\n%s\n" % (begin, end)
    before, rest = text.split(begin, 1)
    with open(path, "w") as file:
        file.write(before + figures + rest.split(end, 1)[1])
    print(figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("program", "uv", "python", "mirror", "lock", "output"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scale", type=float, default=1, help="part `store`: so many times its objects; below 1 to try whether it runs to its end")
    parser.add_argument("--only", help="parts to run (warm, cold, install, lock, sandbox, store), separated by commas; their figures are printed, not kept")
    options = parser.parse_args()
    bench = Bench(options)
    parts = options.only.split(",") if options.only else ["warm", "cold", "install", "lock", "sandbox", "store"]
    try:
        if set(parts) & {"warm", "cold", "install"}:
            bench.use_mirror()
        for part in parts:
            getattr(bench, part)()
        if options.only:
            print("\n".join(table(bench)))
        else:
            write(bench, options.output)
    finally:
        bench.close()


if __name__ == "__main__":
    main()

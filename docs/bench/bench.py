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

# A build of a few seconds whose backend is setuptools: the one that the sandbox's cost is measured on.
SANDBOX_SDIST = "markupsafe"


class Bench:
    """One run: its scratch directory, its programs and the rows of its table."""

    def __init__(self, options):
        self.options = options
        self.work = tempfile.mkdtemp(prefix="pip-accel-bench-")
        self.rows = []
        self.peaks = {}
        keep = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "PIP_CERT")
        self.base = {name: os.environ[name] for name in keep if name in os.environ}
        fill_mirror(options)
        index = serve(options.mirror)
        self.base.update(PIP_INDEX_URL=index, UV_DEFAULT_INDEX=index)
        self.base.update(HOME=self.work, UV_NO_CONFIG="1", UV_PYTHON_DOWNLOADS="never", TMPDIR=self.work)

    def environment(self, name):
        """Variables that give both programs a cache of this name."""
        return dict(self.base, PIP_ACCEL_STORE=self.path("store-" + name), UV_CACHE_DIR=self.path("uv-" + name))

    def path(self, name):
        return os.path.join(self.work, name)

    def remove(self, name):
        """Removes a tree that may be read-only or immutable."""
        path = self.path(name)
        if os.path.isdir(path):
            subprocess.run(["chattr", "-R", "-f", "-i", path], stderr=subprocess.DEVNULL)
            for folder, _, _ in os.walk(path):
                os.chmod(folder, stat.S_IRWXU)
            shutil.rmtree(path)

    def run(self, command, environment):
        """Runs a command (or several, one after the other) and returns seconds; its peak memory goes to `self.peak`."""
        commands = command if isinstance(command[0], list) else [command]
        started = time.perf_counter()
        peak = 0
        for one in commands:
            child = subprocess.Popen(one, env=environment, cwd=self.work, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            stderr = child.stderr.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            peak = max(peak, usage.ru_maxrss)
            if child.returncode:
                sys.exit("failed (%d): %s\n%s" % (child.returncode, " ".join(one), stderr.decode(errors="replace")))
        self.peak = peak
        return time.perf_counter() - started

    def median(self, command, environment, before=None, rounds=None):
        times, peaks = [], []
        for _ in range(rounds or self.options.rounds):
            if before:
                before()
            times.append(self.run(command, environment))
            peaks.append(self.peak)
        self.peak = int(statistics.median(peaks))
        return statistics.median(times)

    def row(self, what, ours, theirs, goal):
        self.rows.append((what, ours, theirs, goal))
        print("%-40s %9.1f ms %9.1f ms" % (what, ours * 1000, theirs * 1000), file=sys.stderr)

    # What is measured ------------------------------------------------------------------------------------------

    def ours(self, venv, *more, lock=None):
        lock = lock or self.path("requirements.lock")
        return [self.options.program, "realize", lock, "--venv", self.path(venv), "--python", self.options.python, *more]

    def theirs(self, venv, *more, create=True, lock=None):
        lock = lock or self.path("requirements.lock")
        venv = self.path(venv)
        sync = [self.options.uv, "pip", "sync", "--require-hashes", "--python", venv, lock, *more]
        return [[self.options.uv, "venv", "--python", self.options.python, venv], sync] if create else [sync]

    def warm(self):
        environment = self.environment("warm")
        self.run(self.ours("warm-up"), environment)
        self.run(self.theirs("warm-up-uv", "--compile-bytecode"), environment)
        ours = self.median(self.ours("ours"), environment, lambda: self.remove("ours"))
        theirs = self.median(self.theirs("theirs", "--offline"), environment, lambda: self.remove("theirs"))
        self.row("warm, new environment", ours, theirs, "30 times, under 30 ms")
        compiled = self.median(self.theirs("theirs", "--offline", "--compile-bytecode"), environment,
                               lambda: self.remove("theirs"), rounds=3)
        self.row("warm, bytecode included", ours, compiled, "300 times")
        ours = self.median(self.ours("ours"), environment)
        theirs = self.median(self.theirs("theirs", "--offline", create=False), environment)
        self.row("again, nothing to do", ours, theirs, "5 times, under 10 ms")
        for mode in ("hardlink", "copy"):
            ours = self.median(self.ours("ours-mode", "--link-mode", mode), environment, lambda: self.remove("ours-mode"))
            theirs = self.median(self.theirs("theirs-mode", "--offline", "--link-mode", mode), environment,
                                 lambda: self.remove("theirs-mode"))
            self.row("warm, --link-mode " + mode, ours, theirs, "")

    def cold(self):
        environment = self.environment("cold")
        names = ("store-cold", "uv-cold", "ours", "theirs")

        def forget():
            for name in names:
                self.remove(name)

        ours = self.median(self.ours("ours"), environment, forget, rounds=3)
        self.peaks["pip-accel, cold"] = self.peak
        theirs = self.median(self.theirs("theirs", "--compile-bytecode"), environment, forget, rounds=3)
        self.peaks["uv, cold"] = self.peak
        self.row("cold, loopback mirror", ours, theirs, "not slower")

    def sandbox(self):
        """The same build with and without isolation; what is fetched is in the store before."""
        environment = self.environment("sandbox")
        # The build requirements come from the machine's own index; only the lock of the benches is mirrored.
        for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
            environment.pop(name)
        pins = requirement(open(os.path.join(os.path.dirname(self.options.lock), "../demo/requirements.lock")).read(), SANDBOX_SDIST)
        with open(self.path("sdist.lock"), "w") as file:
            file.write("--no-binary :all:\n" + pins)
        lock = self.path("sdist.lock")
        self.run(self.ours("built", lock=lock), environment)
        template = self.path("template")
        fetch = dict(environment, PIP_ACCEL_STORE=template)
        self.run([self.options.program, "fetch", lock, "--python", self.options.python], fetch)

        def reset():
            self.remove("built")
            self.remove("store-sandbox")
            subprocess.run(["cp", "-a", template, self.path("store-sandbox")], check=True)

        inside = self.median(self.ours("built", lock=lock), environment, reset, rounds=5)
        outside = self.median(self.ours("built", "--no-sandbox", lock=lock), environment, reset, rounds=5)
        self.row("one build, in the sandbox / without", inside, outside, "5 % and 50 ms")

    def close(self):
        for name in os.listdir(self.work):
            self.remove(name)
        shutil.rmtree(self.work, ignore_errors=True)


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
        "both programs use the same loopback mirror of the files as their index",
        "%s; medians of %d runs (fewer where a run takes seconds); load average at the end %.1f" % (
            datetime.date.today(), bench.options.rounds, os.getloadavg()[0]),
    ]


def table(bench):
    lines = ["| what | pip-accel | uv, or without | ratio | goal |", "| --- | --: | --: | --: | --- |"]
    for what, ours, theirs, goal in bench.rows:
        lines.append("| %s | %.1f ms | %.1f ms | %.1f | %s |" % (what, ours * 1000, theirs * 1000, theirs / ours, goal))
    lines += ["", "| peak memory of one process | MiB | goal |", "| --- | --: | --- |"]
    for what, kilobytes in bench.peaks.items():
        lines.append("| %s | %d | %s |" % (what, kilobytes >> 10, "under 300" if what.startswith("pip-accel") else ""))
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
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--only", default="warm,cold,sandbox", help="parts to run, separated by commas")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        shutil.copy(options.lock, bench.path("requirements.lock"))
        for part in options.only.split(","):
            getattr(bench, part)()
        write(bench, options.output)
    finally:
        bench.close()


if __name__ == "__main__":
    main()

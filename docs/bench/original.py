"""Measures a warm run of this pip-accel against one of the original, 0.43, with the same sdists on the same old CPython.

usage: python3 docs/bench/original.py PROGRAM [--python PYTHON] [--rounds N] [--command realize|install] [--output FILE]

PROGRAM is the built pip-accel. PYTHON is a CPython 3.7 or 3.6, by default that of pyenv or on PATH: newer ones can't run the original.
The first run needs the machine's package index, for the original, its old pip, the sdists of requirements-original.lock and what
building them needs; what it downloads is kept below $CACHE (~/.cache/pip-accel-build). What is measured touches no network. Both sides
make the packages of the lock usable in an environment that has none of them: the original installs into a virtualenv that is made before
the clock starts (it has to be in there itself), and so does `--command install`; `realize` makes its environment while the clock runs.
With --output, the figures replace those between the markers in FILE (docs/benchmarks.md). Only the standard library.
"""
import argparse
import datetime
import glob
import os
import platform
import re
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LOCK = os.path.join(HERE, "requirements-original.lock")

# The last versions with which the original works.
ORIGINAL = ["pip-accel==0.43", "pip==7.1.2", "coloredlogs==5.0", "humanfriendly==1.44.9", "cached-property==1.5.2"]

# A module of each package of the lock.
MODULES = "click django flask itsdangerous jinja2 markupsafe psutil pygments pytz yaml simplejson sqlalchemy sqlparse werkzeug"

GOAL = 500
BEGIN, END = "<!-- original: begin (written by docs/bench/original.py) -->", "<!-- original: end -->"


class Bench:
    def __init__(self, options):
        self.options = options
        self.work = tempfile.mkdtemp(prefix="pip-accel-bench-")
        self.sdists = os.path.join(options.cache, "bench-original")
        # The machine's settings count while things are fetched, and none while they are measured.
        self.online = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_ACCEL_", "VIRTUAL_ENV"))}
        keep = ("PATH", "LANG", "LC_ALL")
        self.offline = {name: os.environ[name] for name in keep if name in os.environ}
        self.offline.update(HOME=self.work, TMPDIR=self.work, PIP_CONFIG_FILE="/dev/null",
                            PIP_ACCEL_CACHE=self.path("data"), PIP_ACCEL_AUTO_INSTALL="no")

    def path(self, name):
        return os.path.join(self.work, name)

    def run(self, command, environment):
        """Runs a command and returns the seconds that it took."""
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise Failed(command, done)
        return seconds

    def remove(self, name):
        """Removes a tree that may be read-only or immutable."""
        path = self.path(name)
        if os.path.isdir(path):
            subprocess.run(["chattr", "-R", "-f", "-i", path], stderr=subprocess.DEVNULL)
            for folder, _, _ in os.walk(path):
                os.chmod(folder, stat.S_IRWXU)
            shutil.rmtree(path)

    def check(self, venv):
        """The packages are there and work."""
        code = "import %s; yaml.safe_load('a: 1')" % ", ".join(MODULES.split())
        self.run([os.path.join(self.path(venv), "bin", "python"), "-c", code], self.offline)

    # What is measured ------------------------------------------------------------------------------------------

    def fetch(self):
        """The sdists, by hash, into a folder that is kept."""
        stamp = os.path.join(self.sdists, "complete")
        if not os.path.exists(stamp):
            os.makedirs(self.sdists, exist_ok=True)
            self.run([self.options.python, "-m", "venv", self.path("download")], self.online)
            self.run([self.path("download/bin/pip"), "download", "--no-deps", "--require-hashes", "--dest", self.sdists,
                      "--requirement", LOCK], self.online)
            open(stamp, "w").close()

    def prepare_original(self):
        self.run([self.options.python, "-m", "venv", self.path("template")], self.online)
        self.run([self.path("template/bin/python"), "-m", "pip", "install", *ORIGINAL], self.online)
        os.makedirs(self.path("data/sources"))
        for sdist in glob.glob(os.path.join(self.sdists, "*.tar.gz")):
            shutil.copy(sdist, self.path("data/sources"))
        with open(LOCK) as lock, open(self.path("plain.txt"), "w") as plain:
            plain.write("\n".join(re.findall(r"^[\w.-]+==[\w.]+", lock.read(), re.MULTILINE)) + "\n")

    def original(self):
        """One run in a new virtualenv, which is a copy: `-m pip_accel` needs no script of it."""
        self.remove("theirs")
        subprocess.run(["cp", "-a", self.path("template"), self.path("theirs")], check=True)
        seconds = self.run([self.path("theirs/bin/python"), "-m", "pip_accel", "install", "--no-binary=:all:",
                            "--requirement", self.path("plain.txt")], self.offline)
        self.check("theirs")
        return seconds

    def prepare_ours(self):
        """The first run builds, and needs an index for what builds need."""
        self.measured = dict(self.offline, PIP_ACCEL_STORE=self.path("store"))
        del self.measured["PIP_ACCEL_CACHE"]
        fetching = dict(self.online, PIP_ACCEL_STORE=self.path("store"), TMPDIR=self.work)
        if self.options.uv:
            fetching["PIP_ACCEL_UV"] = self.options.uv
        self.run([self.options.program, "realize", LOCK, "--find-links", self.sdists, "--venv", self.path("first"),
                  "--python", self.options.python], fetching)

    def ours(self):
        self.remove("ours")
        places = ["--no-index", "--find-links", self.sdists]
        if self.options.command == "realize":
            command = ["realize", LOCK, *places, "--venv", self.path("ours"), "--python", self.options.python]
        else:
            self.run([self.options.python, "-m", "venv", "--without-pip", self.path("ours")], self.offline)
            command = ["install", "--requirement", LOCK, *places, "--python", self.path("ours")]
        seconds = self.run([self.options.program, *command], self.measured)
        self.check("ours")
        return seconds

    def measure(self):
        """Medians in turn, so that both meet the same moods of the machine; what was said of ours if it can't be measured."""
        self.fetch()
        self.prepare_original()
        self.cold = self.original()
        refusal = None
        try:
            self.prepare_ours()
        except Failed as error:
            refusal = error
        theirs, ours = [], []
        for _ in range(self.options.rounds):
            theirs.append(self.original())
            # A run of ours is over before the machine's mood changes: several of them to one of the original.
            ours += [] if refusal else [self.ours() for _ in range(5)]
        return statistics.median(theirs), statistics.median(ours) if ours else None, refusal

    def close(self):
        for name in os.listdir(self.work):
            self.remove(name)
        shutil.rmtree(self.work, ignore_errors=True)


class Failed(Exception):
    def __init__(self, command, done):
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-20:]
        super().__init__("failed (%d): %s\n%s" % (done.returncode, " ".join(command), "\n".join(words)))


def old_python():
    """A CPython that the original runs on."""
    for version in ("3.7", "3.6"):
        root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
        found = sorted(glob.glob(os.path.join(root, "versions", version + ".*", "bin", "python")))
        program = found[-1] if found else shutil.which("python" + version)
        if program:
            return program
    sys.exit("the original needs a CPython 3.7 or 3.6, and there is none; name one: --python")


def lines(bench, theirs, ours):
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    version = subprocess.run([bench.options.python, "--version"], capture_output=True, text=True).stdout.strip()
    text = [
        "* %s, %d cores, Linux %s; %s; %s, load average %.1f" % (
            model.group(1) if model else platform.machine(), os.cpu_count(), platform.release(), version,
            datetime.date.today(), os.getloadavg()[0]),
        "",
        "| what | pip-accel | pip-accel 0.43 | ratio | goal | |",
        "| --- | --: | --: | --: | --- | --- |",
    ]
    if ours:
        reached = "reached" if theirs >= ours * GOAL else "**missed**"
        text.append("| 14 sdists, warm, `%s` | %.1f ms | %.1f s | %.0f | %d times | %s |" % (
            bench.options.command, ours * 1000, theirs, theirs / ours, GOAL, reached))
    else:
        text.append("| 14 sdists, warm | not possible | %.1f s | | %d times | |" % (theirs, GOAL))
    text += ["", "The original's first run, which builds, took %.0f s." % bench.cold]
    return text


def write(path, text):
    """Replaces what stands between the markers; the text around it is written by hand."""
    with open(path) as file:
        before, rest = file.read().split(BEGIN, 1)
    with open(path, "w") as file:
        file.write(before + "\n".join([BEGIN, "", *text, "", END]) + rest.split(END, 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("--python", default=None)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--command", choices=("realize", "install"), default="realize")
    parser.add_argument("--output")
    parser.add_argument("--uv", default=os.environ.get("PIP_ACCEL_TEST_UV"))
    parser.add_argument("--cache", default=os.environ.get("CACHE", os.path.expanduser("~/.cache/pip-accel-build")))
    options = parser.parse_args()
    options.python = os.path.realpath(options.python or old_python())
    bench = Bench(options)
    try:
        theirs, ours, refusal = bench.measure()
        text = lines(bench, theirs, ours)
    except Failed as error:
        sys.exit(str(error))
    finally:
        bench.close()
    print("\n".join(text))
    if refusal:
        sys.exit("this pip-accel can't build them: %s" % refusal)
    if options.output:
        write(options.output, text)


if __name__ == "__main__":
    main()

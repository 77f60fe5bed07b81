"""Locks and environments of pip-accel against those of uv and of pip, for the sets of `differential_sets.py`.

usage: differential.py PATH-OF-PIP-ACCEL [SET …]      (PIP_ACCEL_TEST_UV: uv; PIP_ACCEL_TEST_WHEELS: a wheel of pip)

For each set `pip-accel lock` has to choose what `uv pip compile` chooses; where pip's own resolver chooses something else,
that is said, since the two resolvers differ then. An environment by `pip-accel install -r` has to hold what one by pip
holds of the same versions: the same files with the same content and the same `pip freeze`.

What is left out of the comparison of files, and why:
* bytecode: pip compiles for the environment, pip-accel once for all;
* the content of RECORD, INSTALLER and direct_url.json: they say who installed, what, and from where;
* the content of `bin/`, whose first lines name the environment: that the same programs are there and executable is compared;
* `pyvenv.cfg`, the activation scripts and the interpreter's links: `venv` makes them, in both;
* `pip-accel.json`, `_pip_accel_links.*` and `.pip-accel-shared`, which make it an environment of pip-accel.
"""

import concurrent.futures
import contextlib
import functools
import glob
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

from differential_sets import SETS

PROGRAM = os.path.realpath(sys.argv[1])
UV = os.environ["PIP_ACCEL_TEST_UV"]
PIP = sorted(glob.glob(os.path.join(os.environ["PIP_ACCEL_TEST_WHEELS"], "pip-*.whl")))[-1]


def newest_python():
    roots = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for minor in ["3.13", "3.12", "3.11"]:
        for python in sorted(glob.glob(f"{roots}/versions/{minor}.*/bin/python")) + [f"/usr/bin/python{minor}"]:
            if os.access(python, os.X_OK):
                return python
    return sys.executable


def wheel(folder, name, version, requires=()):
    """Writes a wheel with one module; gives its path."""
    info, module = f"{name}-{version}.dist-info", f"{name}.py"
    members = {
        module: f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    path = os.path.join(folder, f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**members, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return path


def anchor(path, href):
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return f'<a href="{href}#sha256={digest}">{os.path.basename(path)}</a>\n'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def second_index(folder):
    """A loopback server with packages of its own, and a newer `six` than anybody else has."""
    for name, version, requires in [("local_only", "1.0", ["six"]), ("six", "99.0", []), ("six", "1.0", [])]:
        project = os.path.join(folder, "simple", name.replace("_", "-"))
        os.makedirs(project, exist_ok=True)
        path = wheel(project, name, version, requires)
        with open(os.path.join(project, "index.html"), "a") as page:
            page.write(anchor(path, os.path.basename(path)))
    os.makedirs(os.path.join(folder, "files"))
    wheel(os.path.join(folder, "files"), "direct_only", "1.0", ["six>=1.10"])
    linked = wheel(os.path.join(folder, "files"), "linked_only", "2.0")
    with open(os.path.join(folder, "links.html"), "w") as page:
        page.write(anchor(linked, "files/" + os.path.basename(linked)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock):
    """`name → version`, or the URL, of a lock's entries, without hashes and comments."""
    found = {}
    for line in lock.splitlines():
        line = line.split(" #")[0].strip().rstrip("\\").strip()
        if not line or line.startswith(("#", "-")):
            continue
        line = line.split(" ; ")[0]
        if " @ " in line:
            name, _, place = line.partition(" @ ")
        else:
            name, _, place = line.partition("==")
        if not place:
            # A bare URL of a wheel says its name in its last part.
            name, place = line.rsplit("/", 1)[-1].split("-")[0], line
        found[canonical(name.split("[")[0])] = place.split("#")[0].strip()
    return found


class Run:
    """One set, in a folder and with a store of its own."""

    def __init__(self, wanted, work, python, local):
        self.wanted, self.python = wanted, python
        self.folder = os.path.join(work, wanted["name"])
        for name, text in wanted["files"].items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text.replace("{local}", local))
        kept = {name: value for name, value in os.environ.items() if name not in ("PIP_FIND_LINKS", "VIRTUAL_ENV")}
        self.environment = {
            **kept,
            "PIP_ACCEL_STORE": os.path.join(self.folder, "store"),
            "PIP_ACCEL_UV": UV,
            "PIP_CACHE_DIR": os.path.join(work, "pip-cache"),
            "UV_CACHE_DIR": os.path.join(work, "uv-cache"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        self.wheels = [] if wanted.get("builds") else ["--only-binary", ":all:"]

    def run(self, *words):
        return subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def ok(self, *words):
        done = self.run(*words)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def versions(self, tool):
        """What a resolver chooses; nothing when it says that there is no solution."""
        if tool == "pip-accel":
            words = [PROGRAM, "lock", "requirements.in", "-o", "ours.lock", "--python", self.python, "--no-build-lock", *self.wheels]
        elif tool == "uv":
            words = [UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config", "--python", self.python]
            # As pip does: all indexes are equal.
            words += ["--index-strategy", "unsafe-best-match", *self.wheels, "requirements.in"]
            # `--pre` is an option of uv's command line only.
            words += ["--prerelease=allow"] if "--pre\n" in self.wanted["files"]["requirements.in"] else []
        else:
            words = [self.python, os.path.join(PIP, "pip"), "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
            words += [*self.wheels, "-r", "requirements.in"]
        done = self.run(*words)
        if done.returncode:
            if not self.wanted.get("refused"):
                raise AssertionError(f"{tool} failed:\n{done.stderr[-2000:]}")
            return None
        if tool == "pip-accel":
            with open(os.path.join(self.folder, "ours.lock")) as lock:
                return pins(lock.read())
        return pins(done.stdout) if tool == "uv" else reported(done.stdout)

    def environments(self, resolvers_agree):
        """Both environments, by the same requirements; where the resolvers differ, pip gets what our lock has."""
        for name in ["by-pip-accel", "by-pip"]:
            self.ok(self.python, "-m", "venv", "--without-pip", name)
        self.ok(PROGRAM, "install", "--venv", "by-pip-accel", *self.wheels, "-r", "requirements.in")
        asked = ["requirements.in"] if resolvers_agree else ["requirements.in", "-c", "ours.limits"]
        if not resolvers_agree:
            with open(os.path.join(self.folder, "ours.lock")) as lock, open(os.path.join(self.folder, "ours.limits"), "w") as limits:
                limits.writelines(f"{name}=={version}\n" for name, version in pins(lock.read()).items() if "://" not in version)
        into = [self.python, os.path.join(PIP, "pip"), "--python", "by-pip/bin/python"]
        self.ok(*into, "install", "--quiet", *self.wheels, "-r", *asked)
        frozen = {}
        files = {}
        for name in ["by-pip-accel", "by-pip"]:
            pip = [self.python, os.path.join(PIP, "pip"), "--python", f"{name}/bin/python"]
            frozen[name] = self.ok(*pip, "freeze", "--all")
            files[name] = file_set(os.path.join(self.folder, name))
        return frozen, files


def reported(text):
    found = {}
    for item in json.loads(text)["install"]:
        url = item["download_info"]["url"] if item.get("is_direct") else None
        found[canonical(item["metadata"]["name"])] = url or item["metadata"]["version"]
    return found


OF_THE_ENVIRONMENT = re.compile(r"(pyvenv\.cfg|\.gitignore|lib64/.*|bin/(python[\d.]*|[Aa]ctivate.*)|pip-accel\.json|.*/_pip_accel_links\.\w+|.*/\.pip-accel-shared)$")
CONTENT_ASIDE = ("RECORD", "INSTALLER", "direct_url.json")


def file_set(root):
    """`path → digest` of every file of an environment, links followed; see the head of this file for what is left out."""
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)
            shown = os.path.relpath(path, root)
            if name.endswith(".pyc") or OF_THE_ENVIRONMENT.match(shown):
                continue
            if shown.startswith("bin/"):
                found[shown] = "executable" if os.access(path, os.X_OK) else "file"
            elif name in CONTENT_ASIDE and os.path.basename(folder).endswith(".dist-info"):
                found[shown] = "there"
            else:
                with open(path, "rb") as file:
                    found[shown] = hashlib.sha256(file.read()).hexdigest()
    return found


def differences(left, right):
    return [key for key in sorted({*left, *right}) if left.get(key) != right.get(key)]


def check(run):
    """What is wrong with a set, and whether pip's resolver and uv's agree on it."""
    ours, uv, pip = (run.versions(tool) for tool in ["pip-accel", "uv", "pip"])
    wrong = []
    if ours != uv:
        wrong.append(f"the lock is not uv's: {[(key, (ours or {}).get(key), (uv or {}).get(key)) for key in differences(ours or {}, uv or {})]}")
    agree = uv == pip
    note = "" if agree else f"uv and pip differ: {[(key, (uv or {}).get(key), (pip or {}).get(key)) for key in differences(uv or {}, pip or {})]}"
    if run.wanted.get("refused"):
        if ours is not None or pip is not None:
            wrong.append("a set without a solution was solved")
        done = run.run(PROGRAM, "install", "--venv", "by-pip-accel", *run.wheels, "-r", "requirements.in")
        if done.returncode == 0 or os.path.exists(os.path.join(run.folder, "by-pip-accel")):
            wrong.append(f"an install without a solution left something behind, or succeeded ({done.returncode})")
        return wrong, note, 0
    if run.wanted.get("lock_only"):
        print(f"{run.wanted['name']}: only the lock is compared: {run.wanted['lock_only']}", flush=True)
        return wrong, note, 0
    frozen, files = run.environments(agree)
    if frozen["by-pip-accel"] != frozen["by-pip"]:
        wrong.append(f"freeze differs:\n{frozen['by-pip-accel']}---\n{frozen['by-pip']}")
    different = differences(files["by-pip-accel"], files["by-pip"])
    if different:
        sides = [(path, files["by-pip-accel"].get(path), files["by-pip"].get(path)) for path in different[:10]]
        wrong.append(f"{len(different)} files differ, among them {sides}")
    return wrong, note, len(files["by-pip"])


def checked(wanted, surroundings):
    """The verdict on a set, printed at once: its name, whether it failed, whether uv and pip differ, the files compared."""
    begun = time.monotonic()
    try:
        wrong, note, count = check(Run(wanted, *surroundings))
    except AssertionError as error:
        wrong, note, count = [str(error)], "", 0
    head = f"{'FAILED' if wrong else 'same'}: {wanted['name']} ({wanted['kind']}), {count} files, {time.monotonic() - begun:.0f} s"
    print("\n    ".join([head, *wrong, *([note] if note else [])]), flush=True)
    return wanted["name"], bool(wrong), bool(note), count


def main():
    named = sys.argv[2:]
    chosen = [wanted for wanted in SETS if not named or wanted["name"] in named]
    work = tempfile.mkdtemp(prefix="pip-accel-differential-")
    try:
        with second_index(os.path.join(work, "index")) as local, concurrent.futures.ThreadPoolExecutor(2) as pool:
            surroundings = work, newest_python(), local
            verdicts = list(pool.map(lambda wanted: checked(wanted, surroundings), chosen))
    finally:
        subprocess.run(["chmod", "-R", "u+w", work], check=False)
        shutil.rmtree(work, ignore_errors=True)
    same = sum(not failed for _, failed, _, _ in verdicts)
    differing = [name for name, _, differs, _ in verdicts if differs]
    files = sum(count for _, _, _, count in verdicts)
    print(f"{same} of {len(verdicts)} sets are the same, {files} files; uv and pip choose differently in {len(differing)}: {differing}")
    sys.exit(same != len(verdicts))


if __name__ == "__main__":
    main()

"""Calls one PEP 517 hook inside the sandbox.

Usage: runner.py JOB RESULT. JOB is a JSON object with the keys `source` (directory), `backend`
(`module[:object]`), `backend_path` (directories relative to `source`), `hook`, `arguments` (list, without
the config settings) and `config_settings`. RESULT receives `{"value": ...}`, or `{"unsupported": true}`
when the backend has no such optional hook. The exit status is 0 in both cases; an exception of the
backend is printed and exits with 1.

Runs under every supported Python, 2.7 included. A `setup.py` that has setuptools from before 40.8 beside it, which
knows no hook, is run itself.
"""
from __future__ import print_function

import base64
import hashlib
import importlib
import json
import os
import shlex
import sys
import zipfile

OPTIONAL = ("get_requires_for_build_wheel", "get_requires_for_build_editable", "prepare_metadata_for_build_wheel")
LEGACY = "setuptools.build_meta:__legacy__"


class SetupScript(object):
    """The hooks of a project that has a `setup.py` and nothing else, as the legacy backend has them."""

    def get_requires_for_build_wheel(self, config_settings=None):
        from setuptools import dist

        found = []

        class Found(BaseException):
            pass

        def fetch_build_eggs(_distribution, requires):
            found.extend([requires] if hasattr(requires, "splitlines") else [str(one) for one in requires])
            raise Found()

        fetch = dist.Distribution.fetch_build_eggs
        dist.Distribution.fetch_build_eggs = fetch_build_eggs
        try:
            self.run(["egg_info"])
        except Found:
            pass
        finally:
            dist.Distribution.fetch_build_eggs = fetch
        lines = [line.strip() for text in found for line in text.splitlines()]
        return ["wheel"] + [line for line in lines if line and not line.startswith("#")]

    def build_wheel(self, directory, config_settings=None, metadata_directory=None):
        told = config_settings or {}
        before, after = self.words(told, "--global-option"), self.words(told, "--build-option")
        self.run(before + ["bdist_wheel"] + after + ["--dist-dir", directory])
        wheels = [name for name in os.listdir(directory) if name.endswith(".whl")]
        if len(wheels) != 1:
            raise ValueError("setup.py left %d wheels" % len(wheels))
        return wheels[0]

    @staticmethod
    def words(told, key):
        """What the legacy backend of setuptools hands on: a text in the way of a shell, or a list."""
        value = told.get(key, [])
        return shlex.split(value) if hasattr(value, "splitlines") else [str(one) for one in value]

    @staticmethod
    def run(arguments):
        import tokenize

        script = os.path.abspath("setup.py")
        sys.argv[:] = ["setup.py"] + [str(argument) for argument in arguments]
        sys.path.insert(0, os.getcwd())
        # Before the script, as pip does it: its classes replace those of distutils.
        import setuptools  # noqa: F401

        with getattr(tokenize, "open", open)(script) as stream:
            code = stream.read().replace("\r\n", "\n")
        variables = {"__name__": "__main__", "__file__": script, "__builtins__": __builtins__}
        try:
            # Its own declaration of an encoding is in the text of Python 2.
            exec(compile(code, script, "exec", 0, 1), variables)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise


def has_legacy_backend():
    try:
        return hasattr(importlib.import_module("setuptools.build_meta"), "__legacy__")
    except ImportError:
        return False


def load_backend(job):
    if job["backend"] == LEGACY and (sys.version_info[0] == 2 or not has_legacy_backend()):
        return SetupScript()
    module_name, _, object_path = job["backend"].partition(":")
    in_tree = [os.path.realpath(os.path.join(job["source"], path)) for path in job["backend_path"]]
    sys.path[:0] = in_tree
    backend = importlib.import_module(module_name)
    if in_tree:
        origin = os.path.realpath(getattr(backend, "__file__", None) or "")
        if not any(origin.startswith(path + os.sep) for path in in_tree):
            raise ImportError("the backend %r was not loaded from backend-path" % module_name)
    for attribute in filter(None, object_path.split(".")):
        backend = getattr(backend, attribute)
    return backend


def as_native(value):
    """Texts of JSON as the texts that Python 2 has everywhere else."""
    if isinstance(value, dict):
        return dict((as_native(key), as_native(one)) for key, one in value.items())
    if isinstance(value, list):
        return [as_native(one) for one in value]
    return value.encode("utf-8") if hasattr(value, "encode") else value


def editable_of(build_wheel, source):
    """`build_editable` (PEP 660) for a backend that has none: the metadata of its wheel, and a `.pth` file."""

    def build_editable(directory, config_settings=None):
        whole = os.path.join(directory, build_wheel(directory, config_settings=config_settings))
        stem = "-".join(os.path.basename(whole).split("-")[:2])
        with zipfile.ZipFile(whole) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            info = [name for name in names if name.split("/")[0].endswith(".dist-info")]
            files = dict((name, archive.read(name)) for name in info if name.count("/") == 1)
        os.remove(whole)
        tops = set(name.split("/")[0] for name in names if name not in info and ".data/" not in name)
        # Compiled modules lie under a name of this interpreter, if they lie there at all.
        tops = [top for top in tops if not top.endswith(".so")]
        folders = [os.path.join(source, folder) for folder in ("src", "lib", "python", "")]
        folders = [os.path.normpath(folder) for folder in folders if os.path.isdir(folder)]
        fitting = [folder for folder in folders if all(os.path.exists(os.path.join(folder, top)) for top in tops)]
        if not fitting:
            raise RuntimeError("the build backend has no build_editable, and no folder has all of %s" % sorted(tops))
        folder = info[0].split("/")[0]
        wheel = files[folder + "/WHEEL"].decode("utf-8").splitlines()
        kept = [line for line in wheel if line and line.split(":")[0] not in ("Tag", "Build", "Root-Is-Purelib")]
        tag = "py2.py3-none-any"
        lines = kept + ["Root-Is-Purelib: true", "Tag: py2-none-any", "Tag: py3-none-any"]
        files[folder + "/WHEEL"] = ("\n".join(lines) + "\n").encode("utf-8")
        files["__editable__.%s.pth" % stem] = (fitting[0] + "\n").encode("utf-8")
        files.pop(folder + "/RECORD", None)
        record = []
        for name in sorted(files):
            digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode("ascii").rstrip("=")
            record.append("%s,sha256=%s,%d" % (name, digest, len(files[name])))
        record.append(folder + "/RECORD,,")
        files[folder + "/RECORD"] = ("\n".join(record) + "\n").encode("utf-8")
        result = "%s-%s.whl" % (stem, tag)
        with zipfile.ZipFile(os.path.join(directory, result), "w") as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name), files[name])
        return result

    return build_editable


def main(job_path, result_path):
    with open(job_path) as stream:
        job = json.load(stream)
    if sys.version_info[0] == 2:
        job = as_native(job)
    # The runner's own folder is no place to import from.
    sys.path.pop(0)
    sys.argv[:] = [""]
    os.chdir(job["source"])
    backend = load_backend(job)
    hook = getattr(backend, job["hook"], None)
    if hook is None and job["hook"] == "build_editable":
        hook = editable_of(backend.build_wheel, job["source"])
    if hook is None:
        if job["hook"] not in OPTIONAL:
            raise AttributeError("the build backend %r has no hook %s" % (job["backend"], job["hook"]))
        result = {"unsupported": True}
    else:
        result = {"value": hook(*job["arguments"], config_settings=job["config_settings"] or None)}
    with open(result_path, "w") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main(*sys.argv[1:3])

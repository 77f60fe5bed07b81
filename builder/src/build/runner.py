"""Calls one PEP 517 hook inside the sandbox.

Usage: runner.py JOB RESULT. JOB is a JSON object with the keys `source` (directory), `backend`
(`module[:object]`), `backend_path` (directories relative to `source`), `hook`, `arguments` (list, without
the config settings) and `config_settings`. RESULT receives `{"value": ...}`, or `{"unsupported": true}`
when the backend has no such optional hook. The exit status is 0 in both cases; an exception of the
backend is printed and exits with 1.
"""
import importlib
import json
import os
import sys

OPTIONAL = ("get_requires_for_build_wheel", "prepare_metadata_for_build_wheel")


def load_backend(job):
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


def main(job_path, result_path):
    with open(job_path) as stream:
        job = json.load(stream)
    # The runner's own folder is no place to import from.
    sys.path.pop(0)
    sys.argv[:] = [""]
    os.chdir(job["source"])
    hook = getattr(load_backend(job), job["hook"], None)
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

"""A PEP 517 backend that needs nothing but the standard library; the sdist carries it (`backend-path`)."""
import base64
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile

with open("spec.json") as _file:
    SPEC = json.load(_file)


def get_requires_for_build_wheel(config_settings=None):
    if os.path.exists("before.py"):
        with open("before.py") as file:
            exec(compile(file.read(), "before.py", "exec"), {"__name__": "before"})
    return SPEC["dynamic_requires"]


def _compile(extension, source):
    target = os.path.join("src", *extension.split(".")) + sysconfig.get_config_var("EXT_SUFFIX")
    include = sysconfig.get_paths()["include"]
    command = ["cc", "-O1", "-shared", "-fPIC", "-I" + include, source, "-o", target]
    print("+ " + " ".join(command), flush=True)
    subprocess.check_call(command)


def _tag():
    if not SPEC["extensions"]:
        return "py3-none-any"
    parts = sysconfig.get_config_var("EXT_SUFFIX").split(".")[1].split("-")
    number = "%d%d" % sys.version_info[:2]
    python, abi = ("pp" + number, "_".join(parts[:2])) if parts[0].startswith("pypy") else ("cp" + number, "cp" + parts[1])
    return "%s-%s-%s" % (python, abi, sysconfig.get_platform().replace("-", "_").replace(".", "_"))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    print("build-marker " + SPEC["name"], flush=True)
    if os.path.exists("snippet.py"):
        with open("snippet.py") as file:
            exec(compile(file.read(), "snippet.py", "exec"), {"__name__": "snippet", "settings": config_settings})
    for extension, source in SPEC["extensions"]:
        _compile(extension, source)
    tag = _tag()
    stem = "%s-%s" % (SPEC["name"].replace("-", "_"), SPEC["version"])
    info = stem + ".dist-info/"
    files = {
        info + "METADATA": ("Metadata-Version: 2.1\nName: %(name)s\nVersion: %(version)s\n" % SPEC).encode(),
        info + "WHEEL": ("Wheel-Version: 1.0\nGenerator: tiny\nRoot-Is-Purelib: true\nTag: %s\n" % tag).encode(),
    }
    for folder, _, names in sorted(os.walk("src")):
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, "src").replace(os.sep, "/")] = file.read()
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        record += "%s,sha256=%s,%d\n" % (name, digest, len(data))
    files[info + "RECORD"] = (record + info + "RECORD,,\n").encode()
    file_name = "%s-%s.whl" % (stem, tag)
    with zipfile.ZipFile(os.path.join(wheel_directory, file_name), "w") as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return file_name

"""A build that lacks a header: explained, installed by the machine's own apt, and made. Needs root and Debian.

usage: rounds.py PATH-OF-PIP-ACCEL

pylibacl wants libacl1-dev. The package goes again unless it was here before.
"""

import json
import os
import subprocess
import sys

PACKAGE, PROJECT = "libacl1-dev", "pylibacl==0.7.2"
program = sys.argv[1]
environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def apt(*words):
    subprocess.run(["apt-get", "-qq", *words], check=True, env=environment, stdout=sys.stderr)


def here():
    status = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", PACKAGE], capture_output=True, text=True)
    return status.stdout == "install ok installed"


def build(policy):
    command = [program, "build", PROJECT, "--json", "--system-packages", policy]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


if here():
    sys.exit(f"{PACKAGE} is installed on this machine: nothing to try")
apt("update")
before = set(subprocess.check_output(["dpkg-query", "-W", "-f", "${Package}\n"], text=True).split())
try:
    refused = build("refuse")
    error = json.loads(refused.stdout)["error"]
    assert refused.returncode == 5, error
    assert error["system_packages"]["packages"] == [PACKAGE], error
    assert build("ask").returncode == 5 and not here()
    made = build("install")
    assert made.returncode == 0 and json.loads(made.stdout)["built"], made
    assert here()
finally:
    after = set(subprocess.check_output(["dpkg-query", "-W", "-f", "${Package}\n"], text=True).split())
    if after - before:
        apt("purge", "--yes", *sorted(after - before))
print(f"{PROJECT} was built with {PACKAGE}")

"""Imports every module that the distributions of this environment say they have, compiled ones included."""
import importlib
import sys
from importlib import metadata

# Modules that are not meant to be imported on their own: plug-ins for programs that are not there, scripts, tests.
SKIPPED = ("test", "tests", "conftest", "setup", "__main__")


def top_level(distribution):
    """Names of the top-level modules, from RECORD."""
    names = set()
    for file in distribution.files or ():
        first = file.parts[0]
        if first.endswith((".dist-info", ".data", ".pth", ".libs")) or first in ("..", "__pycache__", "bin"):
            continue
        names.add(first.split(".")[0])
    return {name for name in names if name.isidentifier() and name not in SKIPPED}


def main():
    failed = []
    count = 0
    for distribution in metadata.distributions():
        for name in sorted(top_level(distribution)):
            try:
                importlib.import_module(name)
                count += 1
            except Exception as error:
                failed.append("%s of %s: %r" % (name, distribution.metadata["Name"], error))
    for line in failed:
        print("cannot import " + line, file=sys.stderr)
    print("%d modules imported by Python %s" % (count, sys.version.split()[0]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

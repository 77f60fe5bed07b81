# Prints as JSON the index that pip has built in: the interpreter's own pip, else the first wheel of the arguments.
import sys

sys.path[:] = [entry for entry in sys.path if entry]

import json


def ask():
    try:
        from pip._internal.models.index import PyPI as index
    except ImportError:
        from pip.models.index import PyPI as index
    return index.simple_url


def forget():
    for name in list(sys.modules):
        if name == "pip" or name.startswith("pip."):
            del sys.modules[name]


answer = None
for wheel in [None] + sys.argv[1:]:
    if wheel:
        sys.path.insert(0, wheel)
    try:
        answer = ask()
        break
    except Exception:
        forget()
sys.stdout.write(json.dumps(answer))

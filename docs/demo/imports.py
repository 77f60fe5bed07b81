"""Imports everything the example lock describes and does one small thing with each of the built ones."""
import importlib
import sys
from importlib import metadata

MODULES = {
    "attrs": "attr",
    "beautifulsoup4": "bs4",
    "charset-normalizer": "charset_normalizer",
    "greenlet": "greenlet",
    "markdown-it-py": "markdown_it",
    "python-dateutil": "dateutil",
    "pyyaml": "yaml",
    "typing-extensions": "typing_extensions",
}


def check_built():
    """The packages that were forced from source, with their compiled parts."""
    import idna
    import markupsafe._speedups
    import msgpack._cmsgpack
    import rich.text
    import simplejson._speedups
    import wrapt._wrappers

    assert str(markupsafe.escape("<a>")) == "&lt;a&gt;"
    assert msgpack.unpackb(msgpack.packb({"a": [1, 2]})) == {"a": [1, 2]}
    assert simplejson.loads('{"a": 1.5}') == {"a": 1.5}
    assert wrapt.ObjectProxy(3) + 4 == 7
    assert idna.encode("bücher.example") == b"xn--bcher-kva.example"
    assert rich.text.Text("x").plain == "x"


def main():
    names = sorted(distribution.metadata["Name"].lower().replace("_", "-") for distribution in metadata.distributions())
    for name in names:
        importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    check_built()
    import numpy

    assert (numpy.arange(6).reshape(2, 3) @ numpy.ones(3)).tolist() == [3.0, 12.0]
    print("%d packages imported by Python %d.%d.%d" % ((len(names),) + sys.version_info[:3]))


if __name__ == "__main__":
    main()

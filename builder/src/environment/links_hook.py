"""Lets every pip uninstall from an environment of links.

pip before 19.3, and the pip of Debian and Ubuntu, ask whether what a link leads to is in the environment, not
whether the link is. They leave the links in place, say that the package is uninstalled, and would install its next
version through them. What is put right here is that one question; it is asked as pip asks it since 19.3.
"""
import sys

MODULES = ("pip._internal.req.req_uninstall", "pip.req.req_uninstall")


def is_local(path):
    from os.path import basename, dirname, join, realpath

    path = join(realpath(dirname(path)), basename(path))
    return path.startswith(join(realpath(sys.prefix), ""))


class Finder(object):
    def find_spec(self, name, path=None, target=None):
        if name not in MODULES:
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        execute = getattr(spec and spec.loader, "exec_module", None)
        if execute is None:
            return spec

        def execute_and_correct(module):
            execute(module)
            if module.__name__ == name:
                module.is_local = is_local

        spec.loader.exec_module = execute_and_correct
        return spec

    # Python 2
    def find_module(self, name, path=None):
        return self if name in MODULES else None

    def load_module(self, name):
        sys.meta_path.remove(self)
        __import__(name)
        sys.modules[name].is_local = is_local
        return sys.modules[name]


sys.meta_path.insert(0, Finder())

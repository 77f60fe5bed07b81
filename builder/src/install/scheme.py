# Says as JSON where an interpreter keeps packages. Runs on CPython 2.7 and 3.6 or later and on PyPy.
import json
import os
import site
import sys
import sysconfig

kind, value = sys.argv[1], sys.argv[2]


def preferred(name, fallback):
    function = getattr(sysconfig, "get_preferred_scheme", None)
    if function is not None:
        return function(name)
    return fallback


variables = {}
if kind == "user":
    scheme = preferred("user", "posix_user")
    variables["userbase"] = site.getuserbase()
elif kind == "prefix":
    scheme = preferred("prefix", "posix_prefix")
    variables.update(dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), value))
else:
    default = getattr(sysconfig, "get_default_scheme", None) or getattr(sysconfig, "_get_default_scheme", None)
    scheme = default() if default is not None else "posix_prefix"
paths = sysconfig.get_paths(scheme, variables)
include = paths["include"]
if kind == "default" and sys.prefix != getattr(sys, "base_prefix", sys.prefix):
    include = os.path.join(sys.prefix, "include", "site", "python%d.%d" % sys.version_info[:2])
managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
is_virtual = sys.prefix != getattr(sys, "base_prefix", sys.prefix)
user_site = site.getusersitepackages()
folders = [path for path in sys.path if path and os.path.isdir(path)]
answer = {
    "purelib": paths["purelib"],
    "platlib": paths["platlib"],
    "scripts": paths["scripts"],
    "headers": include,
    "data": paths["data"],
    "executable": sys.executable,
    "searched": folders,
    "user_site": user_site,
    "has_user_site": bool(site.ENABLE_USER_SITE),
    "is_virtual": is_virtual,
    "managed": managed if os.path.isfile(managed) and not is_virtual else None,
}
sys.stdout.write(json.dumps(answer))

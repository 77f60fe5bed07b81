# Says as JSON what the running interpreter is. Runs on CPython 2.7 and 3.6 or later and on PyPy, without `site`.
import sys

sys.path[:] = [entry for entry in sys.path if entry]

import io
import json
import os
import platform
import struct
import sysconfig
import warnings

warnings.simplefilter("ignore")
IS_PYPY = "__pypy__" in sys.builtin_module_names
IMPLEMENTATION = getattr(sys, "implementation", None)
VARIABLES = sysconfig.get_config_vars()
SCHEMES = sysconfig.get_scheme_names()


def text(value):
    if isinstance(value, bytes):
        return value.decode(sys.getfilesystemencoding() or "utf-8", "replace")
    return value


def release(info):
    version = "{0.major}.{0.minor}.{0.micro}".format(info)
    if info.releaselevel != "final":
        version += info.releaselevel[0] + str(info.serial)
    return version


def abi_flags():
    """The flags in the order of wheel tags: t, d, m, u."""
    flags = ""
    version = sys.version_info[:2]
    if version >= (3, 13) and VARIABLES.get("Py_GIL_DISABLED"):
        flags += "t"
    debug = VARIABLES.get("Py_DEBUG")
    if debug or (debug is None and hasattr(sys, "gettotalrefcount")):
        flags += "d"
    if version < (3, 8) and not IS_PYPY:
        if VARIABLES.get("WITH_PYMALLOC") in (None, 1):
            flags += "m"
        if version < (3, 3):
            size = VARIABLES.get("Py_UNICODE_SIZE")
            if size == 4 or (size is None and sys.maxunicode == 0x10FFFF):
                flags += "u"
    return flags


def glibc():
    names = getattr(os, "confstr_names", {})
    try:
        # 2 is the number of CS_GNU_LIBC_VERSION, whose name Python 2.7 does not know.
        return os.confstr(names.get("CS_GNU_LIBC_VERSION", 2))
    except (AttributeError, OSError, ValueError):
        return None


def bytecode():
    """Cache tag and magic number in hexadecimal digits."""
    try:
        from importlib.util import MAGIC_NUMBER as magic
    except ImportError:
        import imp

        magic = imp.get_magic()
    tag = getattr(IMPLEMENTATION, "cache_tag", None)
    if not tag:
        tag = ("pypy" if IS_PYPY else "cpython-") + "%d%d" % sys.version_info[:2]
    return [tag, "".join("%02x" % byte for byte in bytearray(magic))]


def site_packages():
    """Of a virtualenv, relative to its root: never Debian's `local/lib/python3.11/dist-packages`."""
    if "venv" in SCHEMES:
        scheme = "venv"
    elif IS_PYPY and sys.version_info[:2] < (3, 8) and "pypy" in SCHEMES:
        scheme = "pypy"
    else:
        scheme = "posix_prefix"
    root = "/the-root"
    replaced = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), root)
    path = sysconfig.get_path("purelib", scheme, replaced)
    if path.startswith(root + "/") and path.endswith("/site-packages"):
        return path[len(root) + 1 :]
    return "lib/python%d.%d/site-packages" % sys.version_info[:2]


def markers():
    if IMPLEMENTATION is None:
        name, version = "", "0"
    else:
        name, version = IMPLEMENTATION.name, release(IMPLEMENTATION.version)
    return {
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_version": "%d.%d" % sys.version_info[:2],
        "python_full_version": platform.python_version(),
        "implementation_name": name,
        "implementation_version": version,
    }


def activation():
    """The templates of the interpreter's own `venv`, as they are."""
    templates = []
    scripts = os.path.join(sysconfig.get_path("stdlib"), "venv", "scripts")
    for folder in ("common", "posix"):
        folder = os.path.join(scripts, folder)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            if name.lower().startswith("activate") and os.path.isfile(path) and os.path.getsize(path) < 1 << 16:
                with io.open(path, encoding="utf-8", newline="") as stream:
                    templates.append({"file_name": name, "text": stream.read()})
    return templates


def pip_wheel():
    """The wheel that `ensurepip` would install, in its own folder or where Debian keeps it."""
    bundled = os.path.join(sysconfig.get_path("stdlib"), "ensurepip", "_bundled")
    configured = VARIABLES.get("WHEEL_PKG_DIR")
    for folder in (bundled, configured, "/usr/share/python-wheels"):
        if not folder or not os.path.isdir(folder):
            continue
        wheels = sorted(name for name in os.listdir(folder) if name.startswith("pip-") and name.endswith(".whl"))
        if wheels:
            return os.path.join(folder, wheels[-1])
    return None


def main():
    settings = (
        "AR ARFLAGS BASECFLAGS BLDSHARED CC CCSHARED CFLAGS CONFIGURE_CFLAGS CONFIGURE_CPPFLAGS CONFIGURE_LDFLAGS "
        "CPP CPPFLAGS CXX EXT_SUFFIX LDCXXSHARED LDFLAGS LDSHARED LIBS LINKFORSHARED MULTIARCH OPT PY_CFLAGS "
        "PY_CPPFLAGS PY_LDFLAGS SHLIB_SUFFIX SOABI SO Py_ENABLE_SHARED"
    )
    compile_settings = {}
    for name in settings.split():
        value = VARIABLES.get(name)
        if value is not None:
            compile_settings[name] = text(value) if isinstance(value, (bytes, type(u""))) else str(value)
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "include", "platinclude")]
    paths.append(VARIABLES.get("INCLUDEPY"))
    library_folder = VARIABLES.get("LIBDIR")
    if library_folder:
        for name in ("INSTSONAME", "LDLIBRARY", "LIBRARY", "PY3LIBRARY"):
            if VARIABLES.get(name):
                paths.append(os.path.join(library_folder, VARIABLES[name]))
    implementation_version = sys.version_info[:3]
    if IS_PYPY:
        implementation_version = sys.pypy_version_info[:3]
    answer = {
        "implementation": "pypy" if IS_PYPY else text(platform.python_implementation()).lower(),
        "version": list(sys.version_info[:3]),
        "full_version": release(sys.version_info),
        "implementation_version": list(implementation_version),
        "soabi": VARIABLES.get("SOABI") or None,
        "abi_flags": abi_flags(),
        "platform": sysconfig.get_platform(),
        "pointer_bits": struct.calcsize("P") * 8,
        "glibc": glibc(),
        "bytecode": bytecode(),
        "markers": markers(),
        "compile_settings": compile_settings,
        "site_packages": site_packages(),
        "executable": text(sys.executable),
        "prefix": text(sys.prefix),
        "exec_prefix": text(sys.exec_prefix),
        "paths": [text(path) for path in paths if path],
        "activation_templates": activation(),
        "pip_wheel": text(pip_wheel()),
        "is_debian": "deb_system" in SCHEMES
        or (sys.prefix == "/usr" and os.path.isdir("/usr/lib/python3/dist-packages")),
    }
    sys.stdout.write(json.dumps(answer, sort_keys=True))


main()

# Compiles Python source files, for CPython 2.7 and 3.x and PyPy. Run as `python -s -S -B -W ignore -c SCRIPT`.
#
# On start: one line with the cache tag (or `-`), the magic number in hexadecimal, and 1 if unchecked-hash
# bytecode (PEP 552) is written. Then, for each batch on standard input,
#     <number of files> <length of the rest in bytes>\n
#     source NUL target NUL path-for-tracebacks NUL ...
# one line for each file, in order: `1` written, `0` not compilable, `e NUMBER` an error of the file system
# (which ends the batch); and at the end `.` or `!` (the batch died).
#
# Each batch is compiled by a child that starts from the same state: what is written depends on the batch alone,
# although marshal looks at the reference counts of a whole process, and a crash takes nothing else along.
import sys

# `-c` puts the working directory in front: nothing may be imported from there.
sys.path = [entry for entry in sys.path if entry]

import gc
import marshal
import os
import struct

try:
    import resource
except ImportError:
    resource = None

TIMESTAMP = 315532800
CPU_SECONDS = 600
MEMORY_BYTES = 4 << 30

if sys.version_info[0] >= 3:
    import importlib.util

    MAGIC = importlib.util.MAGIC_NUMBER
    TAG = sys.implementation.cache_tag
    HASHED = hasattr(importlib.util, "source_hash")
else:
    import imp

    MAGIC = imp.get_magic()
    TAG = None
    HASHED = False


def read_source(path):
    if sys.version_info[0] < 3:
        # Python 2 compiles no other line ends than its own.
        with open(path, "rU") as source:
            return source.read()
    with open(path, "rb") as source:
        return source.read()


def code_header(source, path):
    if HASHED:
        return MAGIC + struct.pack("<L", 1) + importlib.util.source_hash(source)
    if sys.version_info[0] >= 3:
        return MAGIC + struct.pack("<LL", TIMESTAMP, os.stat(path).st_size & 0xFFFFFFFF)
    return MAGIC + struct.pack("<L", TIMESTAMP)


def write(path, content):
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        try:
            os.mkdir(folder)
        except OSError:
            # Another process may compile files of the same folder.
            if not os.path.isdir(folder):
                raise
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        while content:
            content = content[os.write(target, content) :]
    finally:
        os.close(target)


def compile_file(path, target, shown):
    if sys.version_info[0] >= 3:
        shown = shown.decode("utf-8")
    source = read_source(path)
    try:
        code = compile(source, shown, "exec", dont_inherit=True)
        content = code_header(source, path) + marshal.dumps(code)
    except Exception:
        # Not Python, or not this Python: templates, tests of syntax errors, code for another version.
        return False
    write(path=target, content=content)
    return True


def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    value = min(value, sys.maxsize)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def compile_batch(fields):
    if resource is not None:
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_CPU, CPU_SECONDS)
        if TAG is None or "pypy" not in TAG:
            limit(resource.RLIMIT_AS, MEMORY_BYTES)
    gc.disable()
    for start in range(0, len(fields), 3):
        try:
            written = compile_file(*fields[start : start + 3])
        except EnvironmentError as error:
            os.write(1, ("e %d\n" % (error.errno or 5)).encode("ascii"))
            return
        os.write(1, b"1\n" if written else b"0\n")


def main():
    tag = TAG or "-"
    magic = "".join("%02x" % byte for byte in bytearray(MAGIC))
    os.write(1, ("%s %s %d\n" % (tag, magic, HASHED)).encode("ascii"))
    stdin = os.fdopen(os.dup(0), "rb")
    while True:
        line = stdin.readline()
        if not line:
            return
        count, length = map(int, line.split())
        fields = stdin.read(length).split(b"\0")[:-1]
        if len(fields) != 3 * count:
            return
        child = os.fork()
        if child == 0:
            status = 1
            try:
                compile_batch(fields)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        os.write(1, b".\n" if status == 0 else b"!\n")


main()

#!/usr/bin/env python3
"""Makes the fixtures of the tests about system packages: `excerpt.txt.zst`, the part of Debian's lists that the corpus
and `messages.txt` are about.

    excerpt.py LISTS CORPUS.tar.zst

LISTS is a directory of apt's lists with Contents, Packages and Sources in it; run it on the release that the corpus is
from. A line of the excerpt is one of

    F path<TAB>section/package,...        as in Contents
    P package<TAB>section<TAB>number of sources that need it<TAB>Depends<TAB>Provides
    M module<TAB>package ...              native build dependencies of the source of python3-MODULE
"""

import collections
import io
import pathlib
import re
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).parent
LISTS, CORPUS = pathlib.Path(sys.argv[1]), sys.argv[2]


def lines(pattern):
    for path in sorted(LISTS.glob(pattern)):
        helper = subprocess.Popen(["/usr/lib/apt/apt-helper", "cat-file", path], stdout=subprocess.PIPE)
        yield from io.TextIOWrapper(helper.stdout, errors="replace")
        yield "\n"


def paragraphs(pattern):
    fields, field = {}, None
    for line in lines(pattern):
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, field = {}, None
        elif line[0] in " \t":
            fields[field] += " " + line.strip()
        else:
            field, value = line.split(":", 1)
            fields[field] = value.strip()


def names(field):
    groups = [re.split(r"[|]", group)[0] for group in field.split(",")]
    return [re.split(r"[ (\[<:]", group.strip())[0] for group in groups if group.strip()]


def tokens():
    archive = tarfile.open(fileobj=io.BytesIO(subprocess.check_output(["zstd", "-dcq", CORPUS])))
    texts = [archive.extractfile(member).read() for member in archive if member.name.endswith("build.log")]
    texts.append((HERE / "messages.txt").read_bytes())
    found = set()
    for text in texts:
        for word in re.findall(r"[A-Za-z0-9_+.-]{2,60}", text.decode("utf-8", "replace").replace("/", " ")):
            word = word.strip(".-+") if not word.endswith("++") else word
            found |= {word, word.lower(), re.sub(r"^-?(l|lib)(?=..)", "", word), word.rstrip("0123456789.-")}
    # What tables of the program turn words into.
    found |= set("gmp gsl db bz2 lzma protobuf tss2-esys svn libpq pq mariadb gtk-3 gtk+-3.0 freetype blas lapack".split())
    return {word for word in found if len(word) > 1}


def is_wanted(path, words):
    name = path.rsplit("/", 1)[-1]
    if re.match(r"usr/(s?bin|games)/", path):
        return name in words
    bare = re.sub(r"(\.(so|a|pc|h|hpp|hxx|inc)|Config\.cmake|-config\.cmake)$", "", name)
    if name.endswith((".so", ".a", ".pc", ".cmake")):
        bare = re.sub(r"[-.+\d]+$", "", bare)
        return any(form in words for form in (bare, bare.lower(), re.sub("^lib", "", bare), re.sub("^lib", "", bare).lower()))
    if "/include/" not in path and not name.endswith((".xml", ".m4")):
        return False
    return name in words or (name.endswith((".h", ".hpp")) and bare in words and path.count("/") <= 3)


def main():
    words = tokens()
    files, kept = [], set()
    for line in lines("*_Contents-*"):
        path, _, owners = line.rstrip().rpartition(" ")
        path = path.strip()
        if re.match(r"usr/share/(doc|man|locale|help|icons)/|usr/src/", path) or not is_wanted(path, words):
            continue
        files.append(f"F {path}\t{owners}")
        kept |= {owner.rsplit("/", 1)[-1] for owner in owners.split(",")}
    counts, modules = collections.Counter(), collections.defaultdict(set)
    for source in paragraphs("*_Sources*"):
        needed = set()
        for field in ("Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"):
            needed |= set(names(source.get(field, "")))
        counts.update(needed)
        native = {name for name in needed if name.endswith("-dev") and not name.startswith(("python", "pypy"))}
        for binary in names(source.get("Binary", "")):
            if binary.startswith("python3-") and native:
                modules[binary[len("python3-") :]] |= native
    rows = []
    for package in paragraphs("*_Packages*"):
        name = package["Package"]
        stem = re.sub(r"^lib|[-.\d]*-dev$", "", name)
        if name in kept or name in words or (name.endswith("-dev") and stem in words):
            depends, provides = package.get("Depends", ""), ", ".join(names(package.get("Provides", "")))
            depends = ", ".join(name for name in names(depends) if name.endswith("-dev"))
            rows.append(f"P {name}\t{package.get('Section', '')}\t{counts[name]}\t{depends}\t{provides}")
    rows += [f"M {module}\t{' '.join(sorted(native))}" for module, native in modules.items() if module in words]
    text = "\n".join(sorted(set(files)) + sorted(set(rows))) + "\n"
    subprocess.run(["zstd", "-19", "-qf", "-", "-o", HERE / "excerpt.txt.zst"], input=text.encode(), check=True)
    print(len(files), "files,", len(rows), "other rows")


main()

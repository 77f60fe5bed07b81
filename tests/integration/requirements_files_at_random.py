"""Files of requirements made at random, with everything that such files may have; the same in every run.

Only `random.random` is used: what the other functions of that module give is not promised to stay.
"""

import os
import random

SEED = 20250101
HASH = "0123456789abcdef" * 4

NAMES = ["requests", "Flask", "zope.interface", "ruamel.yaml", "a_b-c", "PyYAML", "x2", "Django", "A", "typing_extensions"]
EXTRAS = ["", "", "", "[a]", "[b,a]", "[ socks , Use_Chardet ]", " [x.y]", "[]"]
SPECIFIERS = [
    "", "", "==1.0", "==1.0", "==2.31.0", " == 1.0", ">=1", ">=1,<2", "~=1.4.2", "!=1.3,>=1 ", "==1.*", "<2 , >=1", "===1.0",
    "(==1.0)", " (>=1,<2)", "==1!2.0", "==1.0+local.1", ">=1.0rc1", "==1.0.dev3", "<=2,", "==V1.0", ">=1.0-1", "=1.0", "==",
    "==1.0 2", ">1,,<2",
]
MARKERS = [
    "", "", "", "", "; python_version < '3.8'", ' ; python_version >= "3"', ";sys_platform=='linux'",
    " ; (os_name == 'posix' or os_name == 'nt') and extra == 'x'", "; python_version in '2.7 3.6'", ";", "; platform_machine not in 'a;b'",
    "; implementation_name == 'cpython' and (python_full_version >= '3.7' or sys_platform != \"win32\")", "; nonsense == 'x'",
    "; python_version < ", "; '3.6' <= python_version",
]
HASHES = [
    "", "", "", "", f" --hash=sha256:{HASH}", f" --hash sha256:{HASH} --hash=sha256:{HASH[::-1]}",
    f" \\\n    --hash=sha256:{HASH} \\\n    --hash=sha512:{HASH * 2}", f" --hash='sha256:{HASH}'", f" \\\n  --hash=sha384:{HASH}{HASH[:32]}",
    f' "--hash=sha256:{HASH}"', f"\\\n  --hash=sha256:{HASH}", " --hash=md5:00", " --hash=sha256", " --hash=sha256:00",
]
DIRECT = [
    "{n} @ https://h.example/{n}-1.0.tar.gz", "{n}@https://h.example/a.zip", "https://h.example/x/foo_bar-1.0-py3-none-any.whl",
    "https://h.example/a.tar.gz#egg={n}", f"https://h.example/a.tar.gz#sha256={HASH}", "git+https://h.example/r.git@v1.0#egg={n}",
    "{n} @ git+https://h.example/r@abc#subdirectory=x", "git+ssh://git@h.example/o/r.git#egg={n}", "./project", "./project[x,y]",
    "./files/foo_bar-1.0-py3-none-any.whl", "files/a.tar.gz", "file:./files/a.zip", "{n} @ https://u:p@h.example/a.whl?x=1#egg={n}",
    "https://h.example/${{TOKEN}}/a.tar.gz", "{n}[x] @ https://${{TOKEN}}:${{UNSET}}@h.example/a.zip", "http://h.example/a%20b.zip",
    "hg+https://h.example/r#egg={n}", "./files/foo_bar-1.0-py3-none-any.whl ; python_version > '3'", "../nowhere/x-1.0-py3-none-any.whl",
    "https://h.example/a.zip#md5=00", "https://h.example/a.tar.gz#egg={n}&sha256=" + HASH, "{n}.zip", "{n} @ file:./project",
]
DIRECT_MARKERS = ["", "", "", " ; python_version < '3.8'", "; sys_platform == 'linux'", " ;os_name=='posix'"]
EDITABLES = [
    "-e ./project", "-e .", "--editable=./project[x]", "-e git+https://h.example/r.git@main#egg={n}", "-e 'my project'", "-e\t./project",
    "-e {n} @ git+https://h.example/r", "-e \"./project\"", "--editable ./project", "-e ./project[a,b] ", "-egit+https://h.example/r#egg={n}",
    "-e git+https://h.example/r.git",
]
OPTIONS = [
    "-i https://i.example/simple", "--index-url https://i.example/simple/", "--index-url=https://u:${{TOKEN}}@i.example/s",
    "--extra-index-url https://e.example/simple", "--no-index", "-f ./files", "--find-links https://l.example/page.html",
    "-f files", "--find-links='./files'", "--no-binary :all:", "--no-binary {n}", "--only-binary={n},x2", "--only-binary :none:",
    "--pre", "--prefer-binary", "--trusted-host h.example", "--trusted-host=h.example:8080", "--require-hashes",
    "--use-feature fast-deps", "-i https://i.example/simple --trusted-host i.example", '-i "https://i.example/a b"', "--pypi-url https://p.example/s",
    "--no-index --find-links ./files", "--extra-index https://e.example/simple", "--frobnicate", "-i", "--pre=1",
]
REQUIREMENT_OPTIONS = ["", "", "", "", "", "", "", "", "", "", "", " --config-settings=a=b", ' --global-option="--x"', " --pre", " --no-binary x2"]
COMMENTS = ["# a comment", "# another", "# one more: b==2", "   # indented", "#", "# a comment \\", "#: build nothing", "\t# tab", "#-*- not a coding", "## via x"]
TRAILING = ["", "", "", "", "", "", "  # why", " # via a, b", "\t#x", "   ", " # it's \"open", "#not-a-comment"]
BLANKS = ["", "", "   ", "   ", "\t", "\t", "\f", "\\"]
JOINED = ["{n}\\\n==1.0", "{n}== \\\n 1.0", "{n} \\\n# no more\n", "{n}==1.0 \\\n\n", "{n}\\\n\\\n>=1", "{n}==1.0 \\ \n", "{n}==1.0 \\"]
ODD = ["{n} x", "-", "--", "${{NAME}}", "{n}==${{VERSION}}", "${{UNSET}}", "{n}é==1", "'{n}==1.0'", "{n};", "-r", "{n} -x", "{n}\u2028==1.0", "{n} --", "-e"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, things):
        return things[int(self.random.random() * len(things))]

    def chance(self, of):
        return self.random.random() < of

    def requirement(self):
        line = self.pick(NAMES) + self.pick(EXTRAS)
        # What both refuse shows little: it comes seldom.
        specifiers = SPECIFIERS if self.chance(0.04) else SPECIFIERS[:-4]
        markers = MARKERS if self.chance(0.04) else MARKERS[:-3] + MARKERS[-1:]
        hashes = HASHES if self.chance(0.04) else HASHES[:-5]
        options = REQUIREMENT_OPTIONS if self.chance(0.1) else [""]
        return line + self.pick(specifiers) + self.pick(markers) + self.pick(hashes) + self.pick(options)

    def trailing(self):
        return self.pick(TRAILING if self.chance(0.05) else TRAILING[:-1])

    def line(self):
        what = self.random.random()
        name = self.pick(NAMES)
        if what < 0.50:
            return self.requirement() + self.trailing()
        if what < 0.64:
            return self.pick(DIRECT).format(n=name) + self.pick(DIRECT_MARKERS if self.chance(0.1) else DIRECT_MARKERS[:-1]) + self.trailing()
        if what < 0.69:
            return self.pick(EDITABLES if self.chance(0.1) else EDITABLES[:-1]).format(n=name) + self.trailing()
        if what < 0.82:
            return self.pick(OPTIONS if self.chance(0.1) else OPTIONS[:-4]).format(n=name) + self.trailing()
        if what < 0.90:
            return self.pick(COMMENTS)
        if what < 0.94:
            return self.pick(BLANKS)
        if what < 0.98:
            return self.pick(JOINED).format(n=name)
        return self.pick(ODD).format(n=name) if self.chance(0.5) else ""

    def text(self, lines):
        return [self.line() for _ in range(1 + int(self.random.random() * lines))]

    def encoded(self, lines):
        """The bytes of a file: line ends, byte-order marks and declared encodings of all kinds."""
        end = self.pick(["\n", "\n", "\n", "\n", "\r\n", "\r"])
        text = "\n".join(lines).replace("\n", end) + (end if self.chance(0.8) else "")
        how = self.random.random()
        if how < 0.70:
            return text.encode()
        if how < 0.80:
            return b"\xef\xbb\xbf" + text.encode()
        if how < 0.84:
            return b"\xff\xfe" + text.encode("utf-16-le")
        if how < 0.86:
            return b"\xfe\xff" + text.encode("utf-16-be")
        if how < 0.87:
            return b"\xff\xfe\0\0" + text.encode("utf-32-le")
        name = self.pick(["latin-1", "latin-1", "iso-8859-1", "utf-8", "ascii", "cp1252", "iso-8859-15", "koi8-r"])
        declared = f"# -*- coding: {name} -*-{end}# caf\u00e9{end}{text}"
        return declared.encode(name, "replace")


def generate(folder, count):
    for number in range(count):
        maker = Maker(SEED + number)
        here = os.path.join(folder, f"{number:03}")
        os.makedirs(os.path.join(here, "my project"), exist_ok=True)
        os.makedirs(os.path.join(here, "files"), exist_ok=True)
        for project in [".", "my project"]:
            open(os.path.join(here, project, "setup.py"), "w").close()
        lines = maker.text(12)
        if maker.chance(0.25):
            os.makedirs(os.path.join(here, "more"), exist_ok=True)
            more = maker.text(4)
            if maker.chance(0.4):
                more.append(maker.pick(["-c deep.txt", "-r ./deep.txt", "-r../requirements.txt"]))
            limits = maker.pick(["x2<9", "x2<9\n-r more/deep.txt", "Django!=2"])
            for name, content in [("more/more.txt", more), ("more/deep.txt", ["requests>=2"]), ("limits.txt", [limits])]:
                with open(os.path.join(here, name), "wb") as file:
                    file.write(maker.encoded(content))
            included = ["-r more/more.txt", "--requirement=./more/more.txt", "-c limits.txt", "--constraint limits.txt", "-rmore/more.txt", "-r ${MORE}/more.txt"]
            lines.insert(int(maker.random.random() * len(lines)), maker.pick(included))
        with open(os.path.join(here, "requirements.txt"), "wb") as file:
            file.write(maker.encoded(lines))

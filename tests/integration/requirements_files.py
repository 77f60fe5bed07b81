"""What pip itself reads in files of requirements, compared with what another reader says of them.

usage: requirements_files.py PIP generate DIR COUNT   files made at random (the same in every run), below DIR
       requirements_files.py PIP places LIST          makes the local files and folders that the files name
       requirements_files.py PIP compare LIST OURS    a JSON of agreements and differences on the standard output

PIP is a wheel of pip, or a folder that has one installed. LIST has a file in each line, as `FOLDER<tab>NAME`; FOLDER is the
working directory. OURS is a JSON list with one element for each line of LIST (see `theirs` for its form).
"""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])

from pip._internal.exceptions import PipError
from pip._internal.index.collector import LinkCollector
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.format_control import FormatControl
from pip._internal.models.link import Link
from pip._internal.models.search_scope import SearchScope
from pip._internal.models.selection_prefs import SelectionPreferences
from pip._internal.models.target_python import TargetPython
from pip._internal.models.wheel import Wheel
from pip._internal.network.session import PipSession
from pip._internal.req.constructors import install_req_from_parsed_requirement
from pip._internal.req.req_file import parse_requirements
from pip._internal.utils.urls import path_to_url, url_to_path
from pip._vendor.packaging.markers import Marker
from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet
from pip._vendor.packaging.utils import canonicalize_name

DEFAULT_INDEX = "default"
SESSION = PipSession()
TARGET = TargetPython()


class Reader:
    """One file as pip reads it, with the options that it sets."""

    def __init__(self):
        scope = SearchScope.create(find_links=[], index_urls=[DEFAULT_INDEX], no_index=False)
        collector = LinkCollector(session=SESSION, search_scope=scope)
        preferences = SelectionPreferences(allow_yanked=False, format_control=FormatControl(set(), set()))
        self.finder = PackageFinder.create(link_collector=collector, selection_prefs=preferences, target_python=TARGET)
        SESSION.pip_trusted_origins = []

    def parsed(self, name):
        return parse_requirements(name, SESSION, finder=self.finder, options=None)


def shown_link(link):
    """A link in one spelling: the path of a local one, without its fragment."""
    if link.scheme == "file":
        return "file " + os.path.abspath(url_to_path(link.url_without_fragment))
    return link.url


def specifier(text):
    # `===` of a version that is one means the same as `==` to both.
    return sorted({str(clause).replace("===", "==").replace(" ", "") for clause in SpecifierSet(text)})


def marker(text):
    return str(Marker(text)) if text else ""


def theirs(name):
    """What pip says of a file, in the form that the other reader has to give too."""
    reader = Reader()
    requirements, constraints = [], []
    for parsed in reader.parsed(name):
        ireq = install_req_from_parsed_requirement(parsed, user_supplied=True)
        hashes = ireq.hashes(trust_internet=False)._allowed if not parsed.is_editable else {}
        found = {
            "name": canonicalize_name(ireq.req.name) if ireq.req else None,
            "extras": sorted({canonicalize_name(extra) for extra in ireq.extras}),
            "specifier": specifier(str(ireq.req.specifier)) if ireq.req and not ireq.link else [],
            "link": shown_link(ireq.link) if ireq.link else None,
            "marker": str(ireq.markers or ""),
            "editable": parsed.is_editable,
            "sha256": sorted(hashes.get("sha256", [])),
            "other_hashes": any(kind != "sha256" and values for kind, values in hashes.items()),
            "line": int(parsed.comes_from.rsplit("(line ", 1)[1].rstrip(")")),
        }
        (constraints if parsed.constraint else requirements).append(found)
    finder, release = reader.finder, reader.finder.release_control
    return {
        "requirements": requirements,
        "constraints": constraints,
        "index": finder.index_urls,
        "no_index": finder.search_scope.no_index,
        "find_links": sorted(finder.find_links),
        "no_binary": sorted(finder.format_control.no_binary),
        "only_binary": sorted(finder.format_control.only_binary),
        "pre": bool(release and ":all:" in release.all_releases),
        "trusted": sorted(f"{host}:{port}" if port else host for host, port in SESSION.pip_trusted_origins),
    }


def in_pips_words(ours):
    """The other reader's answer, its texts in pip's spelling."""
    for found in ours["requirements"] + ours["constraints"]:
        if found["editable"]:
            # What follows `-e` is taken apart where it is used: the lines for the resolver show how.
            continue
        found["extras"] = sorted({canonicalize_name(extra) for extra in found["extras"]})
        found["marker"] = marker(found["marker"])
        found["specifier"] = specifier(found["specifier"])
        location = found["link"]
        if location is not None:
            is_path = "://" not in location and not location.lower().startswith("file:")
            link = Link(path_to_url(os.path.abspath(location)) if is_path else location)
            if link.scheme == "file" and "../" in link.url:
                link = Link(path_to_url(os.path.abspath(link.path)))
            found["link"] = shown_link(link)
            if found["name"] is None and link.is_wheel:
                found["name"] = canonicalize_name(Wheel(link.filename).name)
    ours["find_links"] = sorted(ours["find_links"])
    ours["trusted"] = sorted(ours["trusted"])
    return ours


def line_differs(line, found):
    """Whether a line that the resolver is given says something else than pip's requirement."""
    before, _, after = line.partition(" ; ")
    if marker(after) != found["marker"]:
        return True
    try:
        said = Requirement(before)
    except InvalidRequirement:
        place = before[: before.rindex("[")] if before.endswith("]") else before
        shown = shown_link(Link(place)).split("#")[0]
        return found["link"] is None or found["link"].split("#")[0] != shown
    return (
        canonicalize_name(said.name) != found["name"]
        or sorted({canonicalize_name(extra) for extra in said.extras}) != found["extras"]
        or (found["link"] is None and specifier(str(said.specifier)) != found["specifier"])
        or (found["link"] is None) != (said.url is None)
    )


def is_same_editable(ours, pip):
    return isinstance(ours, dict) and ours["editable"] and pip["editable"] and ours["line"] == pip["line"]


def lines_differ(lines, found):
    if len(lines) != len(found):
        return True
    left = list(found)
    for line in lines:
        match = next((one for one in left if not line_differs(line, one)), None)
        if match is None:
            return True
        left.remove(match)
    return False


def difference(ours, pip):
    """The first thing in which the two readings differ, as a word, and both sides of it."""
    lines, constraint_lines = ours.pop("lines"), ours.pop("constraint_lines")
    for key, expected in pip.items():
        found = ours[key]
        if key == "find_links":
            found = [os.path.normpath(place) for place in found]
            expected = [place if "://" in place else os.path.abspath(place) for place in expected]
            found = [place.replace(":/", "://", 1) if ":/" in place else place for place in found]
        if found == expected:
            continue
        if isinstance(found, list) and key.endswith("s") and len(found) == len(expected):
            pairs = [(a, b) for a, b in zip(found, expected) if a != b and not is_same_editable(a, b)]
            if not pairs:
                continue
            if isinstance(pairs[0][0], dict):
                field = next(name for name in pairs[0][1] if pairs[0][0][name] != pairs[0][1][name])
                return field, pairs[0][0], pairs[0][1]
        return key, found, expected
    if lines_differ(lines, pip["requirements"]):
        return "lines", lines, pip["requirements"]
    if lines_differ(constraint_lines, pip["constraints"]):
        return "constraint lines", constraint_lines, pip["constraints"]
    return None


def compare(listed, answers):
    result = {"same": 0, "requirements": 0, "both_refuse": 0, "differences": []}
    start = os.getcwd()
    for (folder, name), ours in zip(listed, answers):
        os.chdir(os.path.join(start, folder))
        try:
            pip, refusal = theirs(name), None
        except (PipError, InvalidSpecifier, UnicodeDecodeError, LookupError) as error:
            pip, refusal = None, f"{type(error).__name__}: {error}"
        found = None
        if refusal and ours["refused"]:
            result["both_refuse"] += 1
        elif refusal:
            found = {"kind": "pip refuses", "pip": refusal}
        elif ours["refused"]:
            found = {"kind": "refused", "ours": ours["refused"]}
        else:
            differs = difference(in_pips_words(ours["read"]), pip)
            if differs:
                found = {"kind": differs[0], "ours": differs[1], "pip": differs[2]}
            else:
                result["same"] += 1
                result["requirements"] += len(pip["requirements"]) + len(pip["constraints"])
        if found:
            result["differences"].append({"file": os.path.join(folder, name), **found})
    json.dump(result, sys.stdout)


def make_places(listed):
    """Projects and archives where the files expect them, so that both readers find what they look for."""
    start = os.path.realpath(os.getcwd())
    for folder, name in listed:
        os.chdir(os.path.join(start, folder))
        try:
            for parsed in Reader().parsed(name):
                make_place(parsed.requirement, start)
        except (PipError, InvalidSpecifier, UnicodeDecodeError, LookupError):
            pass  # It is the comparison that speaks of it.


def make_place(text, start):
    path = text.split(";")[0].split(" @ ")[-1].strip().removeprefix("file:")
    if "://" in path or "@" in path or path.startswith("//"):
        return
    if path.endswith("]"):
        path = path[: path.rindex("[")]
    path = os.path.abspath(path)
    if not path.startswith(start + os.sep) or os.path.isfile(path):
        return
    if path.endswith((".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    elif os.sep in text or text.startswith("."):
        os.makedirs(path, exist_ok=True)
    if os.path.isdir(path):
        open(os.path.join(path, "setup.py"), "a").close()


def main():
    verb, arguments = sys.argv[2], sys.argv[3:]
    if verb == "generate":
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        from requirements_files_at_random import generate

        generate(arguments[0], int(arguments[1]))
        return
    with open(arguments[0]) as file:
        listed = [line.rstrip("\n").split("\t") for line in file]
    if verb == "places":
        make_places(listed)
    else:
        with open(arguments[1]) as file:
            compare(listed, json.load(file))


if __name__ == "__main__":
    main()

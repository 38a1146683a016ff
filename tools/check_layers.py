#!/usr/bin/env python3
"""Holds the sources to the order of the layers (docs/architecture.md). Prints each breach; exit 1 when there is one.

  tools/check_layers.py [ROOT]

What it refuses:
  - an include of a higher layer, or of another module of the same layer;
  - a store driver that knows another driver, an engine that knows another engine;
  - a library's header outside of the module that wraps the library;
  - an include that is not written from src/, or of a test's header outside of tests;
  - a CMake dependency against the order, or an include that no CMake dependency covers;
  - a source or a test that no CMakeLists.txt names (it would never be built or run).
"""

import re
import sys
from pathlib import Path

LAYERS = [
    ["base"],
    ["os", "crypto", "codec", "net"],
    ["store"],
    ["repo", "engine", "plan"],
    ["backup"],
    ["mount", "service"],
    ["cli"],
]
RANK = {module: rank for rank, modules in enumerate(LAYERS) for module in modules}

# Modules with parts that do not know each other. `shared` may be used by every part; `joins` knows them all.
PARTS = {
    "store": {"shared": {"cloud", "folder"}, "joins": {"store/open.cc"}, "outside": {"wrap"}},
    "engine": {"shared": set(), "joins": set(), "outside": None},
}

# A library's headers, and the folders that wrap it. Tests may use any: they are the independent witness.
LIBRARIES = [
    (r"sqlite3(ext)?\.h", ["engine/sqlite"]),
    (r"libpq-fe\.h|libpq/.*", ["engine/postgres"]),
    (r"mysql/.*|mariadb/.*|mysql\.h", ["engine/mariadb"]),
    (r"openssl/.*", ["crypto", "net"]),
    (r"sodium(/.*|\.h)", ["crypto"]),
    (r"(zstd.*|lz4.*|xxh.*)\.h", ["codec"]),
    (r"google/protobuf/.*|(.*/)?[^/]+\.pb\.h", ["repo", "engine"]),
    (r"CLI/.*", ["cli"]),
    (r"toml\+\+/.*|toml\.hpp", ["plan"]),
    (r"date/.*", ["base", "plan"]),
    (r"spdlog/.*", ["base"]),
    (r"curl/.*", ["net"]),
    (r"libssh2.*", ["net"]),
    (r"pugixml\.hpp", ["store"]),
    (r"fuse.*", ["mount"]),
]
LIBRARIES = [(re.compile(pattern + r"\Z"), places) for pattern, places in LIBRARIES]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
KEYWORDS = {"SOURCES", "DEPENDS", "LIBRARIES", "PROTOS", "TESTS"}


def is_test(path):
    """path: below src/, as text: foo_test.cc, and the headers test_foo.h and testing….h that tests share."""
    return re.search(r"_test\.(cc|h)$|/test_[^/]*\.h$|/testing[^/]*\.h$", path) is not None


def part_of(path):
    """'store/local/local.h' -> 'local'; 'store/store.h' -> ''."""
    pieces = path.split("/")
    return pieces[1] if len(pieces) > 2 else ""


class Targets:
    """What the CMakeLists.txt files declare by varve_module()."""

    def __init__(self, src):
        self.depends = {}   # target -> [targets]
        self.folder = {}    # target -> top folder below src/
        self.owner = {}     # file below src/ -> target
        self.mentioned = set()
        for lists in sorted(src.rglob("CMakeLists.txt")):
            here = lists.parent.relative_to(src).as_posix()
            text = re.sub(r"#.*", "", lists.read_text())
            for word in re.findall(r"[\w./+-]+\.cc\b", text):
                self.mentioned.add(word if here == "." else f"{here}/{word}")
            for name, words in re.findall(r"\b(?:set|list)\s*\(\s*(?:APPEND\s+)?(\w+)\s+([^)]*)\)", text):
                text = text.replace("${%s}" % name, f"{words} ${{{name}}}")  # more may be appended
            text = re.sub(r"\$\{\w+\}", "", text)
            for body in re.findall(r"varve_module\s*\(([^)]*)\)", text):
                self.add(here, body.split())

    def add(self, here, words):
        target, section, lists = words[0], None, {}
        for word in words[1:]:
            if word in KEYWORDS:
                section = word
            elif section:
                lists.setdefault(section, []).append(word)
        self.depends[target] = lists.get("DEPENDS", [])
        self.folder[target] = here.split("/")[0]
        for file in lists.get("SOURCES", []) + lists.get("TESTS", []):
            self.owner[f"{here}/{file}"] = target

    def reachable(self, target):
        seen, todo = set(), [target]
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += self.depends.get(at, [])
        return seen


def order_breach(module, other):
    """Why `module` may not use `other`; None when it may."""
    if module == other:
        return None
    if RANK[other] > RANK[module]:
        return f"{module} (layer {RANK[module]}) must not know {other} (layer {RANK[other]}): it is above"
    if RANK[other] == RANK[module]:
        return f"{module} must not know {other}: they stand side by side in layer {RANK[module]}"
    return None


def part_breach(path, included):
    """Drivers, decorators and engines: who may see whom."""
    module, other = path.split("/")[0], included.split("/")[0]
    theirs = part_of(included)
    if other not in PARTS or not theirs or is_test(path):
        return None
    rules = PARTS[other]
    if module != other:
        if rules["outside"] is not None and theirs not in rules["outside"]:
            return f"{included} is a driver; outside of {other}/ only open.h gives one"
        return None
    if path in rules["joins"] or theirs in rules["shared"] or part_of(path) == theirs:
        return None
    if part_of(path) == "" and not rules["joins"]:
        return f"{path} is common to all parts of {module}/ and must not know {theirs}/"
    return f"{path} must not know {theirs}/" + (f": only {', '.join(sorted(rules['joins']))} does" if rules["joins"] else "")


def check_include(src, path, bracket, included):
    """The breach of one include, or None. path: below src/."""
    module = path.split("/")[0]
    first = included.split("/")[0]
    if not is_test(path):
        for pattern, places in LIBRARIES:
            if pattern.match(included) and not any(path.startswith(place + "/") for place in places):
                return f"<{included}> stays within {' and '.join(places)}"
    if first in RANK and "/" in included:
        if bracket == "<" and (src / included).exists():
            return f"<{included}> is ours: write it with quotes"
        if bracket == "<":
            return None
        if is_test(included) and not is_test(path):
            return f"{included} is for tests only"
        return order_breach(module, first) or part_breach(path, included)
    if bracket == '"':
        if is_test(path) and (src.parent / "tests" / included).exists():
            return None
        return f'"{included}" is not written from src/'
    return None


def check_file(src, path, targets):
    text = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), (src / path).read_text(errors="replace"))
    target = targets.owner.get(path)
    reachable = targets.reachable(target) if target else set()
    for match in INCLUDE.finditer(text):
        bracket, included = match.groups()
        line = text.count("\n", 0, match.start(1)) + 1
        breach = check_include(src, path, bracket, included)
        first = included.split("/")[0]
        if not breach and target and bracket == '"' and first in RANK:
            if not any(targets.folder.get(t) == first for t in reachable):
                breach = f"{included} is used, but varve_module({target}) does not depend on {first}"
        if breach:
            yield f"src/{path}:{line}: {breach}"


def check_targets(targets):
    for target, depends in sorted(targets.depends.items()):
        module = targets.folder[target]
        for other in depends:
            if other not in targets.folder:
                if other not in RANK:
                    yield f"src/{module}/CMakeLists.txt: {target} depends on {other}, which is no module"
                    continue
                where = other
            else:
                where = targets.folder[other]
            breach = order_breach(module, where)
            if breach:
                yield f"src/{module}/CMakeLists.txt: DEPENDS {other}: {breach}"


def check(root):
    src = root / "src"
    targets = Targets(src)
    breaches = list(check_targets(targets))
    for file in sorted(src.rglob("*")):
        if file.suffix not in (".h", ".cc"):
            continue
        path = file.relative_to(src).as_posix()
        module = path.split("/")[0]
        if module not in RANK:
            breaches.append(f"src/{path}:1: {module} is in no layer")
            continue
        breaches += check_file(src, path, targets)
        if file.suffix == ".cc" and path not in targets.mentioned:
            breaches.append(f"src/{path}:1: no CMakeLists.txt names it")
    return breaches


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    if not (root / "src").is_dir():
        print(f"check_layers: {root}/src is no folder", file=sys.stderr)
        return 2
    breaches = check(root)
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

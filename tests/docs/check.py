#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares README.md and docs/ with the code that they describe; `make lint` calls it, after selftest.py."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROUTE = re.compile(r'\{\s*(?:\.method\s*=\s*)?"(GET|POST|PUT|PATCH|DELETE)",\s*(?:\.path\s*=\s*)?"(/[^"]*)"')
METHODS = ("get", "post", "put", "patch", "delete")
SUBJECT = re.compile(r'X\(\w+,\s*"([^"]+)",\s*(\w+)')
TABLE = re.compile(r"static const struct field (\w+)_fields\[\] = \{(.*?)\{\.name = NULL\}", re.DOTALL)
FIELD = re.compile(r'FIELD(?:_NAMED\("(\w+)", [\w ]+, [\w.]+|\([\w ]+, (\w+)),(.*?)(?=\bFIELD(?:_NAMED)?\(|\Z)', re.DOTALL)
FAILPOINT = re.compile(r'failpoint\("([\w.]+)"\)|"%s\.((?:write|relay|effect|listener|upkeep)\.\w+)"')
METRIC = re.compile(r'struct metric_family \w+ = \{\s*(?:\.name = )?"(\w+)",.*?\bMETRIC_(COUNTER|GAUGE|HISTOGRAM)\b(.*?)\};', re.DOTALL)
METRIC_FAMILIES = re.compile(r"\bstruct metric_family \w+ = ")
NAMED_FILE = re.compile(r"\b(?:common|services|infra|tests|tools|docs|examples)/[\w./-]*")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FUNCTION = re.compile(r"`(?:[^`\n]*\s)?([A-Za-z_]\w*)\(\)[^`\n]*`")
SOURCE_FOLDERS = ("common", "services", "tools", "infra", "tests")


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def matching(self, pattern: str) -> list[Path]:
        return sorted(path.relative_to(self.root) for path in self.root.glob(pattern))

    @property
    def pages(self) -> list[str]:
        return ["README.md", *map(str, self.matching("docs/*.md"))]

    def sources(self) -> str:
        """The C sources but for the tests, which name what they break."""
        paths = [path for folder in SOURCE_FOLDERS[:3] for path in self.matching(f"{folder}/**/*.[ch]")]
        return "\n".join(self.text(str(path)) for path in paths)

    def outline(self) -> dict[str, str]:
        """docs/openapi.yaml as a table from the way to each key ("paths//api/orders/get") to what is behind its colon.
        Block mappings are all that this understands, and all that it needs."""
        found: dict[str, str] = {}
        way: list[tuple[int, str]] = []
        for line in self.text("docs/openapi.yaml").splitlines():
            match = re.match(r"( *)'?([^\s#'-][^:']*)'?:(?: (.*))?$", line)
            if match:
                way = [step for step in way if step[0] < len(match[1])] + [(len(match[1]), match[2])]
                found["/".join(key for _, key in way)] = match[3] or ""
        return found


def differences(what: str, code: set[str], page: str, written: set[str]) -> Iterator[str]:
    for name in sorted(code - written):
        yield f"{page}: {what} {name} is missing"
    for name in sorted(written - code):
        yield f"{page}: {what} {name} is not in the code"


def check_routes(tree: Tree) -> Iterator[str]:
    files = [*map(str, tree.matching("services/*/routes.c")), "common/service/health.c"]
    code = {f"{method} {path}" for file in files for method, path in ROUTE.findall(tree.text(file))}
    outline = re.compile(r"paths/(/.*)/(\w+)")
    ways = [match for way in tree.outline() if (match := outline.fullmatch(way)) and match[2] in METHODS]
    written = {f"{match[2].upper()} {match[1].replace('{', ':').replace('}', '')}" for match in ways}
    yield from differences("the route", code, "docs/openapi.yaml", written)
    listed = set(re.findall(r"^\| `([A-Z]+ /[^`]*)`", tree.text("docs/API.md"), re.MULTILINE))
    yield from differences("the route", code, "docs/API.md", listed)


def catalogue_rows(tree: Tree) -> Iterator[tuple[set[str], str]]:
    """The subjects and the fields of each row of the table of events."""
    section = tree.text("docs/ARCHITECTURE.md").partition("## Event catalogue")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `.*\|$", section, re.MULTILINE):
        cells = row.strip("| ").split(" | ")
        yield set(re.findall(r"`([^`]+)`", cells[0])), cells[-1]


def entity_fields(tree: Tree) -> dict[str, dict[str, tuple[bool, bool, bool]]]:
    """For each table its fields: whether one is required, in answers, in events."""
    tables = {}
    for table, body in TABLE.findall(tree.text("common/events/entities.c")):
        fields = {}
        for named, member, rest in FIELD.findall(body):
            places = re.search(r"\.in = ([\w |]+)", rest)
            words = set(re.split(r"[ |]+", places[1])) if places else set()
            everywhere = bool(words & {"IN_ALL", "IN_PUBLIC"})
            fields[named or member] = (".required = true" in rest, everywhere or "IN_RESPONSE" in words,
                                       everywhere or "IN_EVENT" in words)
        tables[table] = fields
    return tables


def check_catalogue(tree: Tree) -> Iterator[str]:
    """Each subject has its row, with the fields of its entity; an optional one has a question mark."""
    page = "docs/ARCHITECTURE.md"
    subjects = dict(SUBJECT.findall(tree.text("common/events/catalogue.h")))
    rows = list(catalogue_rows(tree))
    written = {subject for names, _ in rows for subject in names if "<" not in subject}
    yield from differences("the subject", set(subjects), page, written)
    tables = entity_fields(tree)
    for names, cell in rows:
        entity = next((subjects[name] for name in names if name in subjects), None)
        if entity is None:
            continue
        code = {name if required else f"{name}?" for name, (required, _, event) in tables[entity].items() if event}
        top = re.sub(r"\{.*?\}", "", cell)
        listed = {word.strip() for word in top.split(",")} - {"id", "version"}
        yield from differences(f"{entity}'s field", code, page, listed)


def check_schemas(tree: Tree) -> Iterator[str]:
    """The entities of the HTTP API have the fields of their tables."""
    outline = tree.outline()
    tables = entity_fields(tree)
    for schema, table in (("Ticket", "ticket"), ("Order", "order"), ("OrderedTicket", "ordered_ticket")):
        way = f"components/schemas/{schema}"
        fields = {name: required for name, (required, answer, _) in tables[table].items() if answer}
        head = set() if "id" in fields else {"id", "version"}
        properties = {key.rpartition("/")[2] for key in outline if re.fullmatch(f"{way}/properties/\\w+", key)}
        required = set(re.findall(r"\w+", outline.get(f"{way}/required", "")))
        yield from differences(f"{schema}'s property", set(fields) | head, "docs/openapi.yaml", properties)
        needed = {name for name, is_required in fields.items() if is_required} | head
        yield from differences(f"{schema}'s required property", needed, "docs/openapi.yaml", required)


def check_failpoints(tree: Tree) -> Iterator[str]:
    code = {whole or f"<service>.{part}" for whole, part in FAILPOINT.findall(tree.sources())}
    section = tree.text("docs/ARCHITECTURE.md").partition("| failpoint |")[2].partition("\n## ")[0]
    written = set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))
    yield from differences("the failpoint", code, "docs/ARCHITECTURE.md", written)


def check_metrics(tree: Tree) -> Iterator[str]:
    """Each metric has its row, with its type and labels."""
    page = "docs/OPERATIONS.md"
    sources = tree.sources()
    code = {}
    for name, kind, rest in METRIC.findall(sources):
        labels = re.search(r"\.labels = \{(.*?)\}", rest, re.DOTALL)
        code[name] = (kind.lower(), re.findall(r'"(\w+)"', labels[1]) if labels else [])
    if len(code) != len(METRIC_FAMILIES.findall(sources)):
        yield f"{page}: there are metrics in the code that this check cannot read, or twice"
    section = tree.text(page).partition("## Metrics")[2].partition("\n## ")[0]
    written = {}
    for row in re.findall(r"^\| `\w+` \|.*\|$", section, re.MULTILINE):
        name, kind, labels, _ = row.strip("| ").split(" | ", 3)
        written[name.strip("`")] = (kind, re.findall(r"\w+", labels))
    yield from differences("the metric", set(code), page, set(written))
    for name in sorted(code.keys() & written.keys()):
        if code[name] != written[name]:
            yield f"{page}: the metric {name} is a {code[name][0]} with the labels {', '.join(code[name][1]) or '–'}"
    # Alarms, too, are about metrics that there are.
    for name in sorted(set(re.findall(r"\b(?:turnstile|process)_\w+", tree.text(page)))):
        if re.sub(r"_(bucket|sum|count)$", "", name) not in code and name not in code:
            yield f"{page}: {name} is not in the code"


def check_files(tree: Tree) -> Iterator[str]:
    """What is named is there."""
    for page in tree.pages:
        text = tree.text(page)
        for name in sorted(set(NAMED_FILE.findall(text))):
            if not (tree.root / name.rstrip(".")).exists():
                yield f"{page}: {name} does not exist"
        for target in sorted(set(LINK.findall(text))):
            if "://" not in target and not (tree.root / page).parent.joinpath(target).exists():
                yield f"{page}: the link {target} leads nowhere"


def check_functions(tree: Tree) -> Iterator[str]:
    names = set(re.findall(r"\b([A-Za-z_]\w*)\(", tree.sources()))
    for page in tree.pages:
        for name in sorted(set(FUNCTION.findall(tree.text(page))) - names):
            yield f"{page}: there is no function {name}()"


def check_tour(tree: Tree) -> Iterator[str]:
    """README.md shows what `make up` prints: the script without the lines about the file itself."""
    lines = tree.text("infra/local/tour.sh").splitlines()
    tour = "\n".join(lines[next(number for number, line in enumerate(lines) if not line.startswith("#")):])
    if f"```sh\n{tour}\n```" not in tree.text("README.md"):
        yield "README.md: its tour is not that of infra/local/tour.sh"


CHECKS: dict[str, Callable[[Tree], Iterator[str]]] = {
    "routes": check_routes,
    "catalogue": check_catalogue,
    "schemas": check_schemas,
    "failpoints": check_failpoints,
    "metrics": check_metrics,
    "files": check_files,
    "functions": check_functions,
    "tour": check_tour,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    tree = Tree(parser.parse_args().root)
    problems = [problem for check in CHECKS.values() for problem in check(tree)]
    for problem in problems:
        print(problem)
    print(f"  LINT   {'pages and code':<18} {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

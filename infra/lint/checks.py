# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, as functions of a source tree: each returns its problems, one line each."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SOURCE_FOLDERS = ("common", "services", "tools", "tests", "examples", "infra")
SKIPPED_FOLDERS = (".git", ".deps", ".secrets", "build", "run", "__pycache__")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_SUFFIXES = (".c", ".h", ".py", ".sh", ".js", ".in", ".conf", ".env", ".yaml", ".yml")
COMMAND_SECONDS_MAX = 120


@dataclass
class Tree:
    """What is checked, and what it is checked with."""

    root: Path
    build: Path = Path("build/release")
    services: list[str] = field(default_factory=list)
    compiler: str = "gcc"
    flags: list[str] = field(default_factory=list)

    @cached_property
    def files(self) -> list[Path]:
        """All files, relative to the root."""
        found: list[Path] = []
        for directory, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
            found += [(Path(directory) / name).relative_to(self.root) for name in sorted(names)]
        return found

    @property
    def c_files(self) -> list[Path]:
        return [path for path in self.files if path.suffix in (".c", ".h") and path.parts[0] in SOURCE_FOLDERS]

    @property
    def headers(self) -> list[Path]:
        return [path for path in self.c_files if path.suffix == ".h"]

    def text(self, path: Path) -> str:
        return (self.root / path).read_text(errors="replace")

    def run(self, command: list[str], text: str = "") -> tuple[int, str]:
        """Exit status and everything that was said."""
        result = subprocess.run(command, cwd=self.root, input=text, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS_MAX, errors="replace")
        return result.returncode, result.stdout


Check = Callable[[Tree], list[str]]


# What begins a problem; the lines after it, which quote the place or lead to it, belong to it.
DIAGNOSTIC = re.compile(r"[^\s:][^:]*:\d+:(\d+:)? (?!note:)")


def diagnostics(output: str, begin: re.Pattern[str] = DIAGNOSTIC) -> list[str]:
    """One text a problem, however many lines it has."""
    found: list[str] = []
    for line in output.splitlines():
        if found and not begin.match(line):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def spoken(tree: Tree, command: list[str], paths: list[Path], begin: re.Pattern[str] = DIAGNOSTIC) -> list[str]:
    """The problems that a tool tells, which is silent, and exits with 0, when there is nothing to say."""
    if not paths:
        return []
    status, output = tree.run([*command, *map(str, paths)])
    return diagnostics(output, begin) or ([f"{command[0]} failed with status {status}"] if status else [])


# ---- what tools check ----


def check_format(tree: Tree) -> list[str]:
    return spoken(tree, ["clang-format", "--dry-run", "-Werror"], tree.c_files)


def is_shell_script(tree: Tree, path: Path) -> bool:
    if path.suffix == ".sh":
        return True
    with open(tree.root / path, "rb") as file:
        return re.match(rb"#!.*\b(ba)?sh\b", file.readline(80)) is not None


def check_shell(tree: Tree) -> list[str]:
    any_line = re.compile("")
    return spoken(tree, ["shellcheck", "--format=gcc"], [path for path in tree.files if is_shell_script(tree, path)],
                  any_line)


def check_analysis(tree: Tree) -> list[str]:
    """cppcheck, without the checks that guess."""
    command = ["cppcheck", "--quiet", "--error-exitcode=1", "--inline-suppr", "--std=c11", "--language=c", "-j2", "-I.",
               "--enable=warning,performance,portability", "--suppress=missingIncludeSystem", "--template=gcc",
               *[flag for flag in tree.flags if flag.startswith("-D")]]
    return spoken(tree, command, [path for path in tree.c_files if path.suffix == ".c"])


def check_headers(tree: Tree) -> list[str]:
    """Every header compiles alone."""

    def compile_alone(path: Path) -> list[str]:
        command = [tree.compiler, *tree.flags, "-Werror", "-fsyntax-only", "-x", "c", "-"]
        status, output = tree.run(command, f'#include "{path}"\n')
        return [f"{path}: does not compile alone\n{output}".rstrip()] if status else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for lines in pool.map(compile_alone, tree.headers) for line in lines]


# ---- what the text says ----

COMMENT_OR_STRING = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
ALLOCATORS = ("malloc", "calloc", "realloc", "reallocarray", "strdup", "strndup", "free")
ENVIRONMENT = ("getenv", "secure_getenv")
NEVER = ("atoi", "atol", "atoll", "sprintf", "vsprintf", "strcpy", "stpcpy", "strcat", "strtok", "strncpy",
         "gets", "alloca")
NAMES_USED = re.compile(r"(?<![\w.])(?<!->)(" + "|".join((*NEVER, *ALLOCATORS, *ENVIRONMENT)) +
                        r")(?=\s*\()|(?<=[(,=&?:])\s*\b(" + "|".join((*ALLOCATORS, *ENVIRONMENT)) + r")(?=\s*[),;:])")


def without_comments_and_strings(text: str) -> str:
    """The same lines, with nothing between the quotes and in the comments."""

    def blank(match: re.Match[str]) -> str:
        kept = '""' if match[0][0] == '"' else "' '" if match[0][0] == "'" else " "
        return kept + "\n" * match[0].count("\n")

    return COMMENT_OR_STRING.sub(blank, text)


def check_banned(tree: Tree) -> list[str]:
    """Functions that cannot be used well, or that belong to one place."""
    problems = []
    for path in tree.c_files:
        for number, line in enumerate(without_comments_and_strings(tree.text(path)).splitlines(), 1):
            for match in NAMES_USED.finditer(line):
                name = match[1] or match[2]
                if name in ALLOCATORS and path.parts[:2] == ("common", "base"):
                    continue
                if name in ENVIRONMENT and path == Path("common/base/config.c"):
                    continue
                problems.append(f"{path}:{number}: {name} is not used here")
    return problems


def check_spdx(tree: Tree) -> list[str]:
    """The licence is named in the first line, or in the second after #!."""
    problems = []
    for path in tree.files:
        named = path.suffix in SPDX_SUFFIXES or path.name in ("Makefile", "Dockerfile", ".dockerignore") or is_shell_script(tree, path)
        lines = tree.text(path).splitlines()[:2] if named else []
        if lines and lines[0].startswith("#!"):
            lines = lines[1:]
        if named and not (lines and SPDX in lines[0]):
            problems.append(f"{path}: does not open with {SPDX}")
    return problems


# ---- layers ----

LEVELS = {"base": 1, "schema": 2, "http": 3, "store": 3, "bus": 3, "auth": 4, "events": 4, "service": 5}
TOOLS_MAY_USE = ("events", "bus", "store", "schema", "base")
# The folders that may know an engine, also by way of other headers. What tests know is their own business.
ENGINES = {
    "sqlite3.h": ("common/store/sqlite",),
    "nats.h": ("common/bus/nats", "common/bus/stan", "common/bus/jetstream"),
    "microhttpd.h": ("common/http",),
    "jwt.h": ("common/auth",),
    "sodium.h": ("common/auth",),
    "jansson.h": ("common/schema",),
    "mongoc.h": ("common/store/mongo",),
    "bson.h": ("common/store/mongo",),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)


def includes(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line, name, and whether it is one of the project's own."""
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[2], match[1] == '"'


def layer_problem(path: Path, included: Path) -> str | None:
    """Why path may not include the other file, if so."""
    ours, theirs = path.parts, included.parts
    if ours[0] == "tests" or ours[:2] == theirs[:2]:
        return None
    if theirs[0] in ("services", "tools", "examples"):
        return f"{'/'.join(theirs[:2])} is for nobody else to include"
    if theirs[0] != "common":
        return "includes are written from the root, and are of common/ or of one's own folder"
    level = LEVELS.get(theirs[1])
    if level is None:
        return f"common/{theirs[1]} has no place in the layers"
    if ours[0] == "tools":
        return None if theirs[1] in TOOLS_MAY_USE else f"tools do not use {theirs[1]}"
    if ours[0] == "common" and LEVELS.get(ours[1], 0) <= level:
        return f"{ours[1]} is not above {theirs[1]}"
    return None


def engines_reached(tree: Tree, path: Path, seen: set[Path]) -> set[str]:
    """The engines' headers that including path brings in."""
    seen.add(path)
    found: set[str] = set()
    for _, name, own in includes(tree.text(path)):
        if own:
            if Path(name) not in seen and (tree.root / name).exists():
                found |= engines_reached(tree, Path(name), seen)
        elif Path(name).name in ENGINES:
            found.add(Path(name).name)
    return found


def check_layers(tree: Tree) -> list[str]:
    problems = []
    for path in tree.c_files:
        for number, name, own in includes(tree.text(path)):
            if not own:
                continue
            why = layer_problem(path, Path(name))
            if why:
                problems.append(f'{path}:{number}: includes "{name}": {why}')
        if path.parts[0] != "tests":
            problems += [f"{path}: knows {engine}, which only {' and '.join(ENGINES[engine])} may"
                         for engine in sorted(engines_reached(tree, path, set()))
                         if not any(path.is_relative_to(folder) for folder in ENGINES[engine])]
    return problems


# ---- lists that must agree ----


def check_listed(tree: Tree) -> list[str]:
    """A file that the Makefile does not name is compiled, or tested, by nobody."""
    words = set(re.split(r"\s+", tree.text(Path("Makefile")))) if (tree.root / "Makefile").exists() else set()
    problems = []
    for path in tree.c_files:
        if path.suffix != ".c":
            continue
        if path.parts[0] in ("common", "services", "tools"):
            names = {str(Path(*path.parts[2:])), str(path)}
        elif path.parts[:2] in (("tests", "unit"), ("tests", "contract")):
            names = {path.stem, str(path)}
        else:
            continue
        if not names & words:
            problems.append(f"{path}: is not in the Makefile")
    return problems


def check_runner(tree: Tree) -> list[str]:
    """make up runs what make builds."""
    path = tree.root / "infra/local/runner/services.py"
    specification = importlib.util.spec_from_file_location("services_table", path)
    if specification is None or specification.loader is None:
        return [f"{path} cannot be read"]
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    run = sorted(service.name for service in module.SERVICES)
    if run == sorted(tree.services):
        return []
    return [f"infra/local/runner/services.py runs {' '.join(run)}; the Makefile builds {' '.join(sorted(tree.services))}"]


# ---- what came out of it ----

FORTIFIED = re.compile(r"\b__\w+_chk\b")


def hardening_problems(headers: str, symbols: str) -> Iterator[str]:
    """From what readelf says of a program: -h -l -d, and --dyn-syms."""
    if not re.search(r"^\s*Type:\s+DYN ", headers, re.MULTILINE) or "INTERP" not in headers:
        yield "is not position independent"
    if "GNU_RELRO" not in headers or not re.search(r"BIND_NOW|FLAGS_1\).*\bNOW\b", headers):
        yield "has no full RELRO"
    stack = re.search(r"GNU_STACK.*\n?.*?\b(RWE|RW)\b", headers)
    if stack is None or stack[1] != "RW":
        yield "has an executable stack"
    if "__stack_chk_fail" not in symbols:
        yield "has no stack protector"
    if not any(name != "__stack_chk" for name in FORTIFIED.findall(symbols)):
        yield "is not fortified"


def check_hardening(tree: Tree) -> list[str]:
    problems = []
    for service in tree.services:
        program = str(tree.build / service)
        status, headers = tree.run(["readelf", "-W", "-h", "-l", "-d", program])
        _, symbols = tree.run(["readelf", "-W", "--dyn-syms", program])
        found = [f"{program}: {why}" for why in hardening_problems(headers, symbols)]
        problems += [f"{program}: readelf cannot read it"] if status else found
    return problems


CHECKS: dict[str, Check] = {
    "format": check_format,
    "layers": check_layers,
    "banned functions": check_banned,
    "headers": check_headers,
    "analysis": check_analysis,
    "shell scripts": check_shell,
    "licence lines": check_spdx,
    "lists of sources": check_listed,
    "runner": check_runner,
    "hardening": check_hardening,
}

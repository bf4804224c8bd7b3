#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the system is deployed with: Dockerfiles, compose files, Kubernetes manifests, skaffold.yaml. `make lint`
calls it, after infra/lint/deployment_selftest.py."""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import compositions
import manifests
import references
from checks import Tree
from rendered import COMPOSE_SETS, KUSTOMIZATION, LOADER, Rendered, dig, render
from rules import IMAGE_PREFIX, image_problem

CONFIGURATION = Path("docs/CONFIGURATION.md")
DEPLOY = Path("docs/DEPLOY.md")
SKAFFOLD, SKAFFOLD_VERSION = Path("skaffold.yaml"), "skaffold/v4beta11"
SERVICE_DOCKERFILE = Path("Dockerfile")


# ---- Dockerfiles ----


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, instruction and what follows it; a comment may stand within an instruction of several lines."""
    kept, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        start = start if kept else number
        kept += line.strip()
        if kept.endswith("\\"):
            kept = kept[:-1]
            continue
        name, _, rest = kept.partition(" ")
        yield start, name.upper(), rest.strip()
        kept = ""


def dockerfile_problems(text: str, version: str) -> Iterator[tuple[int, str]]:
    users: dict[str, str] = {"scratch": ""}
    stage, last, entry = "", 1, ""
    for number, name, rest in instructions(text):
        last = number
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            why = None if base in users else image_problem(base, version)
            if why:
                yield number, why
            stage = alias.strip() or rest
            users[stage] = users.get(base, "")
        elif name == "USER":
            users[stage] = rest
        elif name in ("ENTRYPOINT", "CMD"):
            entry = rest
            if not rest.startswith("["):
                yield number, f"{name} runs a shell, which signals do not pass: write it as a list"
        elif name == "ADD":
            yield number, "ADD fetches and unpacks whatever it is given: use COPY"
        elif name == "RUN" and (rest.startswith("--") or "<<" in rest):
            yield number, "RUN has options or a here-document that the classic builder does not know"
        elif name == "RUN" and "apt-get install" in rest and "--no-install-recommends" not in rest:
            yield number, "apt-get install brings recommended packages, too (--no-install-recommends)"
    if not re.fullmatch(r"[1-9]\d*(:\d+)?", users.get(stage, "")):
        user = users.get(stage) or "root"
        yield last, f"ends as user {user}: Kubernetes wants the number of an unprivileged one (USER)"
    if not entry:
        yield last, "says nowhere what it runs (ENTRYPOINT)"


def check_dockerfiles(tree: Tree, rendered: Rendered) -> Iterator[str]:
    paths = [path for path in tree.files if path.name == "Dockerfile"]
    for path in paths:
        text = tree.text(path)
        for number, why in dockerfile_problems(text, rendered.facts.version):
            yield f"{path}:{number}: {why}"
        if re.search(r"^#\s*syntax\s*=", text, re.MULTILINE):
            yield f"{path}:1: asks for a builder of its own (syntax=)"
        for version in re.findall(r"^ARG VERSION=(\S+)", text, re.MULTILINE):
            if version != rendered.facts.version:
                yield f"{path}: VERSION is {version}, and {rendered.facts.version} in the Makefile"
    if SERVICE_DOCKERFILE not in paths:
        yield f"{SERVICE_DOCKERFILE}: is missing"
    elif not any(name == "HEALTHCHECK" and "--healthcheck" in rest
                 for _, name, rest in instructions(tree.text(SERVICE_DOCKERFILE))):
        yield f"{SERVICE_DOCKERFILE}: does not ask the service how it is (HEALTHCHECK with --healthcheck)"


# ---- skaffold ----


def kustomize_paths(data: Any) -> Iterator[str]:
    for part in [data, *dig(data, "profiles", default=[])]:
        yield from dig(part, "manifests", "kustomize", "paths", default=[])


def programs_of(artifact: Any) -> set[str]:
    """What is built, as each place says that has a say: the builder's argument, or a command and what it depends on."""
    places = [dig(artifact, "docker", "buildArgs", "PROGRAM")]
    if command := dig(artifact, "custom", "buildCommand"):
        places = [*re.findall(r"PROGRAM=(\S+)", command),
                  dig(artifact, "custom", "dependencies", "dockerfile", "buildArgs", "PROGRAM")]
    return {str(place) for place in places}


def check_skaffold(tree: Tree, rendered: Rendered) -> Iterator[str]:
    if not (tree.root / SKAFFOLD).exists():
        yield f"{SKAFFOLD}: is missing"
        return
    data = yaml.load(tree.text(SKAFFOLD), LOADER)
    if data.get("apiVersion") != SKAFFOLD_VERSION:
        yield f"{SKAFFOLD}: has apiVersion {data.get('apiVersion')}, not {SKAFFOLD_VERSION}"
    built = {dig(artifact, "image"): artifact for artifact in dig(data, "build", "artifacts", default=[])}
    for service in tree.services:
        image, program = f"{IMAGE_PREFIX}{service}", f"services/{service}"
        artifact = built.get(image)
        if artifact is None or programs_of(artifact) != {program}:
            yield f"{SKAFFOLD}: does not build {program} as {image}, or does not follow its files"
    for path in kustomize_paths(data):
        if not (tree.root / path / KUSTOMIZATION).exists():
            yield f"{SKAFFOLD}: {path} is no kustomization"


# ---- secrets and pages ----

COMPOSE_FILE = re.compile(r"docker-compose[\w.]*\.yml")
DEPLOYMENT_FILES = re.compile(rf"{COMPOSE_FILE.pattern}|skaffold\.yaml|(.*/)?Dockerfile|"
                              r"infra/(k8s|compose|debian|skaffold|mongo|nginx)/.*")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
# As openssl rand -hex and -base64 make them; a digest says what it is of, and a path begins with a slash.
KEY_LIKE = re.compile(r"(?<![\w/+.:-])(?:[0-9a-f]{32,}|"
                      r"(?=\S*\d)(?=\S*[A-Z])(?=\S*[a-z])[A-Za-z0-9+][A-Za-z0-9+/]{40,}={0,2})(?![\w/+.-])")


def check_kept_secrets(tree: Tree, rendered: Rendered) -> Iterator[str]:
    for path in tree.files:
        if not DEPLOYMENT_FILES.fullmatch(str(path)):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if PRIVATE_KEY.search(line) or KEY_LIKE.search(line):
                yield f"{path}:{number}: looks like a secret"
    ignored = tree.text(Path(".gitignore")).split() if (tree.root / ".gitignore").exists() else []
    if not {f"{compositions.SECRETS_FOLDER}/", f"/{compositions.SECRETS_FOLDER}/"} & set(ignored):
        yield f".gitignore: does not name {compositions.SECRETS_FOLDER}/"
    sent = tree.text(Path(".dockerignore")).split("\n") if (tree.root / ".dockerignore").exists() else []
    if "*" not in sent and f"{compositions.SECRETS_FOLDER}" not in [line.strip("/") for line in sent]:
        yield f".dockerignore: lets {compositions.SECRETS_FOLDER}/ get into an image"


# docs/CONFIGURATION.md tells what it is for, under "Power cuts".
DURABLE = ("sync_interval", "always")


def check_jetstream(tree: Tree, rendered: Rendered) -> Iterator[str]:
    """The servers of a cluster notice who is gone as the local one does, and confirm what is on the disk."""
    for path in tree.files:
        text = tree.text(path) if path.suffix == ".conf" else ""
        if not re.search(r"^\s*jetstream\s*:?\s*\{", text, re.MULTILINE):
            continue
        for name, value in (*rendered.facts.jetstream.items(), DURABLE):
            if not re.search(rf"^\s*{name}: {value}\s*$", text, re.MULTILINE):
                yield f"{path}: JetStream is not told {name}: {value}"


SECRETS_SCRIPT = Path("infra/compose/secrets.sh")


def check_made_secrets(tree: Tree, rendered: Rendered) -> Iterator[str]:
    """What compose takes for a secret, the script makes."""
    with tempfile.TemporaryDirectory() as scratch:
        status, output = tree.run(["env", "-u", "JWT_KEY", f"SECRETS_DIR={scratch}", str(tree.root / SECRETS_SCRIPT)])
        if status != 0:
            yield f"{SECRETS_SCRIPT}: {output.strip()}"
        made = set(os.listdir(scratch))
    for composition in rendered.compositions:
        for secret in dig(composition.data, "secrets", default={}).values():
            name = os.path.basename(dig(secret, "file", default=""))
            if name not in made:
                yield f"{composition.name}: the secret {name} is none that {SECRETS_SCRIPT} makes"


INTERPOLATED = re.compile(r"(?<!\$)\$\{?([A-Z][A-Z0-9_]*)")


def words_in(tree: Tree, page: Path) -> set[str]:
    return set(re.findall(r"[\w-]+", tree.text(page))) if (tree.root / page).exists() else set()


# Where the page goes on with what services do not read.
MAKE_SECTION = "\n## make\n"
TABLE_ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)`.*\|$", re.MULTILINE)


def check_pages(tree: Tree, rendered: Rendered) -> Iterator[str]:
    """What people have to set or to make is written about: each key of a service in a row of a table, which tells its
    values and its default."""
    page = tree.text(CONFIGURATION) if (tree.root / CONFIGURATION).exists() else ""
    rows = set(TABLE_ROW.findall(page.partition(MAKE_SECTION)[0]))
    for service, keys in rendered.facts.keys.items():
        yield from (f"{CONFIGURATION}: {key}, which {service} reads, is missing: it has no row of a table"
                    for key in keys if key not in rows)
    known = words_in(tree, CONFIGURATION) | words_in(tree, DEPLOY)
    for path in tree.files:
        if COMPOSE_FILE.fullmatch(str(path)):
            for name in sorted(set(INTERPOLATED.findall(tree.text(path))) - known):
                yield f"{path}: {name} is neither in {CONFIGURATION} nor in {DEPLOY}"
    for name in references.SECRETS.keys() - words_in(tree, DEPLOY):
        yield f"{DEPLOY}: the Secret {name} is missing"


def check_compose_sets(tree: Tree, rendered: Rendered) -> Iterator[str]:
    """A file that is in no set is rendered, and tried, by nobody."""
    known = {name for files in COMPOSE_SETS for name in files}
    yield from (f"{path}: is read together with nothing" for path in tree.files
                if COMPOSE_FILE.fullmatch(str(path)) and str(path) not in known)


# ---- all of it ----


def in_short(places: list[str], everywhere: int) -> str:
    """Where a problem was found that may be the same in several places."""
    if len(places) == everywhere:
        return "everywhere"
    return ", ".join(places)


def overlay_problems(rendered: Rendered, check: manifests.Check) -> list[str]:
    found: dict[str, list[str]] = {}
    for overlay in rendered.overlays:
        for manifest, why in check(overlay, rendered.facts):
            found.setdefault(f"{manifest} {why}", []).append(overlay.name)
    return [f"{problem} (overlay {in_short(list(dict.fromkeys(places)), len(rendered.overlays))})"
            for problem, places in found.items()]


def composition_problems(rendered: Rendered, check: compositions.Check) -> list[str]:
    """A problem is told of the first set of files that has it: those after it have the same files and more."""
    found: dict[str, str] = {}
    for composition in rendered.compositions:
        for service, why in check(composition, rendered.facts):
            found.setdefault(f"{service} {why}", composition.name)
    return [f"{files}: {problem}" for problem, files in found.items()]


FILE_CHECKS: dict[str, Callable[[Tree, Rendered], Iterator[str]]] = {
    "Dockerfiles": check_dockerfiles,
    "skaffold": check_skaffold,
    "kept secrets": check_kept_secrets,
    "JetStream": check_jetstream,
    "made secrets": check_made_secrets,
    "pages": check_pages,
    "compose sets": check_compose_sets,
}


def all_problems(tree: Tree, rendered: Rendered) -> Iterator[tuple[str, list[str]]]:
    """Check by check."""
    yield "rendering", rendered.problems
    for name, check in (manifests.CHECKS | references.CHECKS).items():
        yield f"manifests: {name}", overlay_problems(rendered, check)
    for name, compose_check in compositions.CHECKS.items():
        yield f"compose: {name}", composition_problems(rendered, compose_check)
    for name, file_check in FILE_CHECKS.items():
        yield name, list(file_check(tree, rendered))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build/release"), help="where the programs are")
    parser.add_argument("--services", default="", help="the services that the Makefile builds")
    options = parser.parse_args()

    start = time.monotonic()
    tree = Tree(Path(__file__).resolve().parents[2], options.build, options.services.split())
    rendered = render(tree)
    failed, count, checks = [], 0, 0
    for name, problems in all_problems(tree, rendered):
        checks += 1
        for problem in problems:
            print(f"{problem} [{name}]")
        count += len(problems)
        failed += [name] if problems else []
    print(f"  LINT   {'deployment':<18} {count or 'no'} problem{'s' * (count != 1)} in {checks} checks of "
          f"{len(rendered.overlays)} overlays and {len(rendered.compositions)} sets of compose files, "
          f"{time.monotonic() - start:.1f} s", flush=True)
    if failed:
        print(f"lint: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

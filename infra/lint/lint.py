#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the tree against the rules of the house; `make lint` calls it, after infra/lint/selftest.py."""

import argparse
import shlex
import sys
import time
from pathlib import Path

from checks import CHECKS, Tree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build/release"), help="where the programs are")
    parser.add_argument("--services", default="", help="the services that the Makefile builds")
    parser.add_argument("--cc", default="gcc", help="the compiler")
    parser.add_argument("--flags", default="", help="the flags that headers are compiled with")
    options = parser.parse_args()

    root = Path(__file__).resolve().parents[2]
    tree = Tree(root, options.build, options.services.split(), options.cc, shlex.split(options.flags))
    failed = []
    for name, check in CHECKS.items():
        start = time.monotonic()
        problems = check(tree)
        for problem in problems:
            print(problem)
        if problems:
            failed.append(name)
        print(f"  LINT   {name:<18} {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}, {time.monotonic() - start:.1f} s", flush=True)
    if failed:
        print(f"lint: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Turnstile on this machine, without containers: `make up` and `make down` call it."""

import sys

from runner.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

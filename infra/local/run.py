#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Turnstile on this machine, without containers: `make up` and `make down` call it."""

import signal
import sys

# Until the supervisor listens to it, Ctrl-C just ends this: nothing has been started that would have to be stopped.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from runner.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m tests.otherkernel [--deadline SECONDS] -- COMMAND...``: run a command on the stock kernel, in this directory.

Its output is printed as it comes, and its exit code is ours. What it writes to files is lost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lbctl.errors import LbctlError
from tests.otherkernel.machine import run

DEADLINE_S = 600.0
DESCRIPTION = "Run a command on Debian's stock kernel under emulation, in this directory."


def main() -> None:
    """Parse, run, exit."""
    parser = argparse.ArgumentParser(prog="python -m tests.otherkernel", description=DESCRIPTION)
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="with its arguments, after --")
    chosen = parser.parse_args()
    try:
        outcome = run(chosen.command, cwd=Path.cwd(), deadline_s=chosen.deadline, output=sys.stdout.buffer)
    except LbctlError as error:
        sys.exit(str(error))
    print(f"exit code {outcome.code} after {outcome.seconds:.1f} s", file=sys.stderr)
    if outcome.tainted:
        print(f"the kernel warned (tainted {outcome.tainted}):\n{outcome.console}", file=sys.stderr)
    sys.exit(outcome.code)


if __name__ == "__main__":
    main()

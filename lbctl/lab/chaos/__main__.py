"""``python -m lbctl.lab.chaos``: the seeded fault run. Exit code 0 if the ledger has nothing to say."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from pathlib import Path


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="lbctl.lab.chaos", description="Faults and changes, drawn from a seed, under live connections."
    )
    parser.add_argument("--seed", type=int, help="the same seed takes the same steps (default: a fresh one)")
    parser.add_argument("--steps", type=int, default=300, help="how many (300)")
    parser.add_argument("--sessions", type=int, default=550, help="connections that are held all the time (550)")
    parser.add_argument("--json", type=Path, default=Path("build/chaos.json"), help="where the figures go")
    chosen = parser.parse_args()
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    try:
        from lbctl.lab.chaos.play import play  # takes a moment, in which Ctrl-C may strike already

        return play(seed=seed, steps=chosen.steps, sessions=chosen.sessions, figures=chosen.json)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

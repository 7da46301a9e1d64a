"""``python -m lbctl.lab.demo [NAME]``: run a demonstration. Exit code 0 if every expectation was met."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

_FIGURES = {"images": Path("build/demo.json"), "life": Path("build/demo-life.json")}


def main() -> int:
    """Parse the command line and play."""
    parser = argparse.ArgumentParser(
        prog="lbctl.lab.demo", description="Real servers and clients behind one virtual address."
    )
    parser.add_argument("name", nargs="?", choices=_FIGURES, default="images", help="which demonstration (images)")
    parser.add_argument("--json", type=Path, help="where the figures go (under build/)")
    arguments = parser.parse_args()
    try:
        from lbctl.lab.demo.play import play  # half a second, in which Ctrl-C may strike already

        demonstration = importlib.import_module(f"lbctl.lab.demo.{arguments.name}").DEMONSTRATION
        return play(demonstration, arguments.json or _FIGURES[arguments.name])
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

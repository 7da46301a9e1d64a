"""``python -m lbctl.lab.demo``: run the demonstration. Exit code 0 if every expectation was met."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path


def main() -> int:
    """Parse the command line and play."""
    parser = argparse.ArgumentParser(
        prog="lbctl.lab.demo", description="Real DICOM archives behind one virtual address."
    )
    parser.add_argument("--json", type=Path, default=Path("build/demo.json"), help="where the figures go")
    arguments = parser.parse_args()
    try:
        from lbctl.lab.demo.play import play  # half a second, in which Ctrl-C may strike already

        return play(arguments.json)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

"""``python -m lbctl.lab.demo``: run the demonstration. Exit code 0 if every expectation was met."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from lbctl.errors import LbctlError
from lbctl.lab.demo.acts import ACTS
from lbctl.lab.demo.display import Display
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.report import print_report, write_figures
from lbctl.lab.demo.stage import Stage, set_stage
from lbctl.lab.studies import SENTINEL_ID, SENTINEL_NAME
from lbctl.lab.topology import Lab, plan_lab


def main() -> int:
    """Run every act, report, and return the exit code."""
    parser = argparse.ArgumentParser(description="Real DICOM archives behind one virtual address.")
    parser.add_argument("--json", type=Path, default=Path("build/demo.json"), help="where the figures go")
    arguments = parser.parse_args()
    console, ledger = Console(), Ledger()
    try:
        _play(ledger, console)
    except LbctlError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_code
    except KeyboardInterrupt:
        console.print("interrupted; nothing was left behind")
        return 130
    print_report(ledger, console)
    write_figures(ledger, arguments.json)
    return 0 if ledger.has_passed else 1


def _play(ledger: Ledger, console: Console) -> None:
    # The display is inside the lab, so that a failure there, or Ctrl-C, takes the lab down as well.
    with (
        Lab(plan_lab(backends=3, clients=3)) as lab,
        Display(ledger, console) as display,
        set_stage(lab, ledger, say=display.say) as stage,
        display.following(stage),
    ):
        for title, act in ACTS:
            with stage.phase(title) as phase:
                act(stage, phase)
            display.tell(phase)
        _check_confidentiality(stage, ledger.phases[-1])


def _check_confidentiality(stage: Stage, phase: Phase) -> None:
    """The sentinel patient of the studies must not turn up in anything that lbctl wrote."""
    written = stage.daemon.log.read_text(errors="replace")
    silent = SENTINEL_NAME not in written and SENTINEL_ID not in written
    phase.expect(silent, "no patient's name or number in lbctl's log")


if __name__ == "__main__":
    sys.exit(main())

"""A demonstration from its first line to its last: set the stage, play every act, report, leave nothing behind."""

from __future__ import annotations

import signal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lbctl.errors import LbctlError
from lbctl.lab import session, wiring
from lbctl.lab.demo.display import Display
from lbctl.lab.demo.ledger import Ledger
from lbctl.lab.demo.programme import Demonstration, StageT
from lbctl.lab.demo.report import print_report, write_figures
from lbctl.lab.topology import Lab, LabPlan


def play(demonstration: Demonstration[StageT], figures: Path) -> int:
    """Run every act, report, write the figures, and return the exit code.

    0 if every expectation was met, 1 if one was not, 128 and the signal's number if Ctrl-C or SIGTERM ended it.
    """
    console, ledger, plan = Console(), Ledger(), demonstration.plan()
    try:
        session.remove_abandoned()
        code = _played(demonstration, plan, ledger, console, figures)
    except (KeyboardInterrupt, SystemExit) as stop:  # the latter is how a lab unwinds on SIGTERM
        console.print("\ninterrupted", style="bold")
        code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 128 + signal.SIGINT
    return code if _nothing_is_left(plan, console) else code or 1


def _played(
    demonstration: Demonstration[StageT], plan: LabPlan, ledger: Ledger, console: Console, figures: Path
) -> int:
    failure: LbctlError | None = None
    try:
        _play(demonstration, plan, ledger, console)
    except LbctlError as error:
        failure = error
    if ledger.phases:
        print_report(demonstration, ledger, console, figures=figures)
        write_figures(ledger, figures)
    if failure is not None:
        console.print(Text(f"error: {failure}", style="bold red"))
        return failure.exit_code
    return 0 if ledger.has_passed else 1


def _play(demonstration: Demonstration[StageT], plan: LabPlan, ledger: Ledger, console: Console) -> None:
    # The display is inside the lab, so that a failure there, or Ctrl-C, takes the lab down as well.
    with (
        Lab(plan) as lab,
        Display(ledger, demonstration, console) as display,
        demonstration.set_stage(lab, ledger, display.say) as stage,
        display.following(stage),
    ):
        for act in demonstration.acts:
            ledger.pools = act.pools
            with stage.phase(act.name, title=act.title, why=act.why) as phase:
                act.play(stage, phase)
            display.tell(phase)


def _nothing_is_left(plan: LabPlan, console: Console) -> bool:
    left = wiring.leftovers(plan.prefix, plan.directory)
    if left:
        console.print(Text("left behind: " + ", ".join(left), style="bold red"))
    else:
        console.print("namespaces, processes, mounts and files of the lab are gone", style="dim")
    return not left

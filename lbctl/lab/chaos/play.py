"""A run from its first line to its last: set the stage, take every step, report, leave nothing behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lbctl.errors import LabError
from lbctl.lab import session, wiring
from lbctl.lab.chaos.report import print_report, write_figures
from lbctl.lab.chaos.run import Run, lab_plan, set_stage
from lbctl.lab.chaos.screen import Screen
from lbctl.lab.chaos.steps import steps
from lbctl.lab.topology import Lab, LabPlan


def play(*, seed: int, steps: int, sessions: int, figures: Path) -> int:
    """Run, report, write the figures; 0 if all is well, 1 if not, 128 and the signal's number if Ctrl-C or SIGTERM ended it."""
    console, plan = Console(), lab_plan()
    try:
        session.remove_abandoned()
        code = _played(plan, console, seed=seed, steps=steps, sessions=sessions, figures=figures)
    except (KeyboardInterrupt, SystemExit) as stop:  # the latter is how a lab unwinds on SIGTERM
        console.print(f"\ninterrupted; the seed was {seed}", style="bold")
        code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 128 + signal.SIGINT
    left = wiring.leftovers(plan.prefix, plan.directory)
    if left:
        console.print(Text("left behind: " + ", ".join(left), style="bold red"))
    return code or int(bool(left))


def _played(plan: LabPlan, console: Console, *, seed: int, steps: int, sessions: int, figures: Path) -> int:
    screen, run = Screen(console, seed=seed, steps=steps), None
    try:
        with (
            Lab(plan) as lab,
            screen.shown(),
            set_stage(lab, seed=seed, sessions=sessions, say=screen.say) as run,
        ):
            screen.follow(run)
            _take_all(run, screen, seed=seed, count=steps)
    except LabError as error:
        if run is None:
            raise
        run.tally.failures.append(error.message)
    print_report(run, console, figures=figures)
    write_figures(run, figures)
    return int(not run.tally.has_passed)


def _take_all(run: Run, screen: Screen, *, seed: int, count: int) -> None:
    began = time.monotonic()
    run.open(screen.say)
    try:
        for step in steps(seed, count):
            screen.taking(step)
            goes_on = run.take(step)
            screen.taken(step, run)
            if not goes_on:
                return
        screen.say("back to the beginning: enable, bring back, declare as at first, twenty reloads")
        run.close()
    finally:
        run.tally.elapsed_s = time.monotonic() - began

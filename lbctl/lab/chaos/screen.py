"""The run as it goes on: a live screen on a terminal, a line for each step anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lbctl.lab.chaos.run import Run
from lbctl.lab.chaos.step import Kind, Step

_WIDEST = 110
_TITLE = "lbctl: faults and changes under live connections"


class Screen:
    """Its height does not change, so that nothing jumps."""

    def __init__(self, console: Console, *, seed: int, steps: int) -> None:
        self._console, self._seed, self._steps = console, seed, steps
        self._began_s = time.monotonic()
        self._saying = ""
        self._run: Run | None = None
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """On a terminal, the live screen."""
        if self._console.is_interactive:
            self._live.start()
        try:
            yield
        finally:
            self._live.stop()

    def follow(self, run: Run) -> None:
        """Show this run's figures from now on."""
        self._run = run

    def say(self, words: str) -> None:
        """What is being set up."""
        self._saying = words
        if not self._console.is_interactive:
            self._console.print(f"set-up: {words}", highlight=False)

    def taking(self, step: Step) -> None:
        """A step is about to be taken."""
        self._saying = str(step)

    def taken(self, step: Step, run: Run) -> None:
        """It was."""
        if not self._console.is_interactive:
            mark = "✓" if run.tally.has_passed else "✗"
            took_s = run.tally.recovered_s[step.kind][-1]
            line = f"{mark} {took_s:5.1f} s  {step}"
            self._console.print(f"{line}  ({len(run.ledger.live)} connections)", highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self._saying, style="yellow", no_wrap=True), Text()]
        if self._run is not None:
            parts += [_kinds(self._run), Text(), _figures(self._run)]
        elapsed_s = time.monotonic() - self._began_s
        done = self._run.tally.taken.total() if self._run else 0
        told = f"seed {self._seed}, {done} of {self._steps} steps, {elapsed_s:.0f} s"
        return Panel(Group(*parts), title=_TITLE, subtitle=told, width=min(self._console.width, _WIDEST))


def _kinds(run: Run) -> Table:
    """Two columns of kinds, each with how often and the worst recovery."""
    table = Table.grid(padding=(0, 2))
    cells = [_kind(run, kind) for kind in Kind]
    half = -(-len(cells) // 2)
    for left, right in zip(cells[:half], [*cells[half:], ("", "", "")], strict=False):
        table.add_row(*left, *right)
    return table


def _kind(run: Run, kind: Kind) -> tuple[str, str, str]:
    times = run.tally.recovered_s.get(kind)
    return str(kind), str(run.tally.taken[kind]), f"{max(times):.1f} s" if times else "-"


def _figures(run: Run) -> Table:
    table = Table.grid(padding=(0, 2))
    fates, visits = run.ledger.fates, run.ledger.visits
    table.add_row("connections", f"{len(run.ledger.live)} held, {fates['kept to their end']} kept to their end")
    table.add_row(
        "", f"{fates['may end, and told']} of dead servers told, {fates['broken']} broken that were protected"
    )
    table.add_row("new ones", f"{visits['succeeded']} answered, {visits['failed']} failed that should not")
    table.add_row("messages", f"{run.crowd.messages}, the slowest answer {run.crowd.slowest_s:.1f} s")
    return table

"""The demonstration as it goes on: a live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lbctl.errors import LbctlError
from lbctl.lab.capture import Direction, Kind, Tally, Traffic
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.stage import Stage

_REFRESH_S = 1.0


class Display:
    """Shows a ledger while it is being written."""

    def __init__(self, ledger: Ledger, console: Console) -> None:
        self._ledger = ledger
        self._console = console
        self._setting_up = ""
        self._traffic: Traffic | None = None
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, step: str) -> None:
        """Tell a step of the set-up."""
        self._setting_up = step
        self._print(step)

    def tell(self, phase: Phase) -> None:
        """Tell how a phase ended, where there is no live screen."""
        self._print(_phase_line(phase))
        for line in _expectation_lines(phase):
            self._print(line)

    @contextmanager
    def following(self, stage: Stage) -> Iterator[None]:
        """Keep the figures of the live screen fresh while the acts go on."""
        self._setting_up = ""
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stage, ended), daemon=True)
        if self._console.is_terminal:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()

    def _follow(self, stage: Stage, ended: threading.Event) -> None:
        while not ended.wait(_REFRESH_S):
            self._traffic = stage.counter.read()
            try:
                stage.connections()
            except LbctlError:
                continue  # the daemon may be busy; the next look will tell

    def _print(self, line: RenderableType) -> None:
        if not self._console.is_terminal:
            self._console.print(line)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        for phase in self._ledger.phases:
            parts.append(_phase_line(phase))
            if not phase.is_over or not phase.has_passed:
                parts.extend(_expectation_lines(phase))
        if self._setting_up:
            parts.append(Text(f"… {self._setting_up}", style="yellow"))
        if self._ledger.backends:
            parts.append(_backend_table(self._ledger))
        if self._traffic is not None:
            parts.append(_traffic_line(self._traffic))
        elapsed = time.monotonic() - self._ledger.began_s
        return Panel(Group(*parts), title="one virtual address, three archives", subtitle=f"{elapsed:.0f} s")


def _phase_line(phase: Phase) -> Text:
    if not phase.is_over:
        return Text(f"▶ {phase.title}: {phase.step}", style="yellow")
    mark, style = ("✓", "green") if phase.has_passed else ("✗", "bold red")
    return Text(f"{mark} {phase.title} ({phase.elapsed_s:.1f} s)", style=style)


def _expectation_lines(phase: Phase) -> list[Text]:
    return [
        Text(
            f"    {'✓' if expectation.met else '✗'} {expectation.text}"
            + (f": {expectation.measured}" if expectation.measured else ""),
            style="" if expectation.met else "red",
        )
        for expectation in phase.expectations
    ]


def _backend_table(ledger: Ledger) -> Table:
    table = Table("archive", "state", "weight", "share", "flows", "connections", "MB in", "MB returned", box=None)
    for row in ledger.backends:
        table.add_row(
            row["name"],
            row["state"],
            f"{row['effective_weight']:g}",
            f"{row['share']:.1%}",
            str(row["flows"]),
            str(row["new_connections"]),
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['returned'] / 1e6:.1f}",
        )
    return table


def _traffic_line(traffic: Traffic) -> Text:
    def amount(tally: Tally) -> str:
        return f"{tally.octets / 1e6:.2f} MB"

    data = amount(traffic.of(Direction.RECEIVED, Kind.CLIENT_DATA))
    acknowledgements = amount(traffic.acknowledgements)
    return Text(
        f"director's NIC: client data {data}, acknowledgements {acknowledgements}, "
        f"server-to-client frames {traffic.returned.frames}"
    )

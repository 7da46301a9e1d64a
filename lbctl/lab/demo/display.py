"""A demonstration as it goes on: a live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lbctl.errors import LbctlError
from lbctl.lab.capture import Direction, Kind, Traffic
from lbctl.lab.demo.ledger import Exhibit, Expectation, Ledger, Phase
from lbctl.lab.demo.programme import Demonstration, StageT
from lbctl.lab.demo.scene import Scene
from lbctl.lab.demo.words import amount

_REFRESH_S = 1.0
_WIDEST = 110
_COLOURS = {"up": "green", "draining": "cyan", "standby": "cyan", "down": "red", "halted": "red"}


class Display:
    """Shows a ledger while it is being written. Its height does not change, so that nothing jumps."""

    def __init__(self, ledger: Ledger, demonstration: Demonstration[StageT], console: Console) -> None:
        self._ledger = ledger
        self._acts = tuple(act.title for act in demonstration.acts)
        self._title = demonstration.title
        self._lab = f"Setting up: {demonstration.setting_up}"
        self._most_backends = demonstration.most_backends
        self._console = console
        self._setting_up = ""
        self._traffic: Traffic | None = None
        self._rate_bps = 0.0
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self._console.is_interactive:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, step: str) -> None:
        """Tell a step of the set-up."""
        self._setting_up = step
        if not self._console.is_interactive:
            heading = Table.grid(padding=(0, 1))
            heading.add_row("set-up:", step)
            self._console.print(heading)

    def tell(self, phase: Phase) -> None:
        """Tell how a phase ended: above the live screen, so that it can be read at leisure."""
        heading = Table.grid(padding=(0, 1))
        heading.add_row(Text(f"{phase.title}:", "bold"), phase.why)
        self._console.print(heading)
        for expectation in phase.expectations:
            self._console.print(expectation_line(expectation))
        for exhibit in phase.exhibits:
            self._console.print(exhibit_table(exhibit))

    @contextmanager
    def following(self, stage: Scene) -> Iterator[None]:
        """Keep the figures of the live screen fresh while the acts go on."""
        self._setting_up = ""
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stage, ended), daemon=True)
        if self._console.is_interactive:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()

    def _follow(self, stage: Scene, ended: threading.Event) -> None:
        while True:
            self._look(stage)
            if ended.wait(_REFRESH_S):
                return

    def _look(self, stage: Scene) -> None:
        before, self._traffic = self._traffic, stage.counter.read()
        if before is not None:
            self._rate_bps = (self._traffic - before).total(Direction.RECEIVED).octets * 8 / _REFRESH_S
        try:
            stage.look()
        except LbctlError:
            return  # the daemon may be busy; the next look will tell

    def _render(self) -> RenderableType:
        width = min(self._console.width, _WIDEST)
        parts = (self._programme(), Text(), *self._now(width - 4), Text(), self._backends(), Text(), self._nic())
        elapsed_s = time.monotonic() - self._ledger.began_s
        return Panel(Group(*parts), title=self._title, subtitle=f"{elapsed_s:.0f} s", width=width)

    def _programme(self) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(width=15, no_wrap=True)
        table.add_column(width=6, justify="right")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        phases = list(self._ledger.phases)
        for number, title in enumerate(self._acts):
            if number < len(phases):
                table.add_row(*_row(phases[number]))
            else:
                table.add_row("·", title, style="dim")
        return table

    def _now(self, width: int) -> tuple[Text, Text]:
        """Why this is shown, on two lines whatever its length, and what is happening."""
        phase = next((phase for phase in self._ledger.phases if not phase.is_over), None)
        why, step = (self._lab, self._setting_up) if phase is None else (phase.why, phase.step)
        lines = [*textwrap.wrap(why, width), "", ""][:2]
        return Text("\n".join(lines), style="bold", no_wrap=True), Text(f"now: {step}", style="yellow", no_wrap=True)

    def _backends(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("backend", width=10)
        table.add_column("state", width=10)
        for heading in ("weight", "share", "connections", "sent to it"):
            table.add_column(heading, justify="right", width=max(len(heading), 10))
        rows = list(self._ledger.backends)[: self._most_backends]
        for row in rows:
            state = Text(row["state"], style=_COLOURS.get(row["state"], "yellow"))
            weight, share = f"{row['effective_weight']:g}", f"{row['share']:.1%}"
            table.add_row(row["name"], state, weight, share, str(row["new_connections"]), amount(row["bytes"]))
        for _ in range(self._most_backends - len(rows)):
            table.add_row("-")
        return table

    def _nic(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        if self._traffic is None:
            table.add_row("director's NIC", "-")
            table.add_row("")
            return table
        data = amount(self._traffic.of(Direction.RECEIVED, Kind.CLIENT_DATA).octets)
        acknowledged, rate = amount(self._traffic.acknowledgements.octets), f"{self._rate_bps / 1e6:.0f} Mbit/s"
        table.add_row("director's NIC", f"{data} from clients, {acknowledged} of pure ACKs; now {rate}")
        table.add_row("", f"{self._traffic.returned.frames} frames from backends to clients")
        return table


def expectation_line(expectation: Expectation, *, of: str = "") -> RenderableType:
    """One expectation (of a phase), what was seen, and what was expected where that is not the same."""
    table = Table.grid(padding=(0, 1))
    if expectation.met:
        told = f"{expectation.text}: {expectation.seen}"
        differs = expectation.expected != expectation.seen
        table.add_row(" ", Text("✓", "green"), told + (f"; expected: {expectation.expected}" if differs else ""))
        return table
    told = f"{of and f'{of}: '}{expectation.text}\nexpected: {expectation.expected}\n    seen: {expectation.seen}"
    table.add_row(" ", "✗", told, style="bold red")
    return table


def exhibit_table(exhibit: Exhibit) -> RenderableType:
    """What an act has produced, indented below what it says."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(exhibit.headings))
    for heading in exhibit.headings or ("",):
        table.add_column(heading, header_style="dim")
    for row in exhibit.rows:
        table.add_row(*map(Text, row))
    return Padding(Group(Text(exhibit.title, "bold"), table), (1, 2))


def _row(phase: Phase) -> tuple[Text, Text, Text, Text]:
    elapsed_s = time.monotonic() - phase.began_s if phase.elapsed_s is None else phase.elapsed_s
    mark, style = ("✓", "green") if phase.has_passed else ("✗", "bold red")
    if not phase.is_over:
        mark, style = "▶", "yellow"
    told = phase.progress() if phase.progress and not phase.is_over else phase.result
    return Text(mark, style), Text(phase.title, style), Text(f"{elapsed_s:.1f} s", style), Text(told)

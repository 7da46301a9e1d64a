"""Tables that stay readable on a narrow screen: columns are left out by rank, long IPv6 addresses are broken where a group
ends; nothing is cut to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2
_REASON_WIDTH = 36
"""What a column of reasons needs at least; longer ones are folded."""
_ADDRESS_WIDTH = 22
"""An address that is longer can be broken: half of an IPv6 one without abbreviation, and its port, fit in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A heading and a cell for each row. Where the screen is too narrow, columns of the highest ``rank`` go first; those of
    rank 0 stay."""

    heading: str
    cells: Sequence[str | Text]
    rank: int = 0
    is_number: bool = False
    is_address: bool = False

    @property
    def width(self) -> int:
        """Of the longest line."""
        lines = [line for cell in self.cells for line in str(cell).splitlines()]
        return max(len(self.heading), *map(len, lines)) if lines else len(self.heading)

    def broken(self) -> Column:
        """With long addresses in two lines."""
        return replace(self, cells=[_broken(str(cell)) for cell in self.cells]) if self.is_address else self


def _broken(cell: str) -> str:
    """Each address in two lines, the first ending in a colon, if it is long."""
    return "\n".join(_halves(line) if len(line) > _ADDRESS_WIDTH else line for line in cell.splitlines())


def _halves(line: str) -> str:
    at = line.rfind(":", 0, _ADDRESS_WIDTH) + 1
    return f"{line[:at]}\n{line[at:]}" if at else line


def print_table(out: Console, columns: Sequence[Column], *, reasons: Sequence[str] = ()) -> None:
    """Print as many columns as fit. ``reasons``, one a row and perhaps empty, are the last column, or, where there is no
    room for it, lines below the table that begin with the row's first cell."""
    has_reasons = any(reasons)
    room = out.width - (min(_REASON_WIDTH, max(map(len, reasons))) + _GAP if has_reasons else 0)
    is_beside = has_reasons and _width(columns) <= room
    shown = list(columns) if is_beside else _fitting(columns, out.width)
    out.print(_table(shown, reasons if is_beside else ()))
    if has_reasons and not is_beside:
        for name, reason in zip(columns[0].cells, reasons, strict=True):
            if reason:
                out.print(Padding(Text(f"{name}: {reason}"), (0, 0, 0, 2)))


def _fitting(columns: Sequence[Column], room: int) -> list[Column]:
    """Columns go first, and only then are addresses broken."""
    fitting = list(columns)
    while _width(fitting) > room and any(column.rank for column in fitting):
        fitting.remove(max(fitting, key=lambda column: column.rank))
    if _width(fitting) > room:
        fitting = [column.broken() for column in fitting]
    return fitting


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _table(columns: Sequence[Column], reasons: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column.is_number else "left"
        table.add_column(column.heading, justify=justify, no_wrap=column.is_number, overflow="fold")  # type: ignore[arg-type]
    if reasons:
        table.add_column("REASON")
    rows = zip(*(column.cells for column in columns), *([reasons] if reasons else []), strict=True)
    for row in rows:
        # Not as bare strings: an address may look like rich's markup, or one of its emoji.
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table

"""What a row of the table of mistakes is: a file with one mistake in it, where, and what must be said about it."""

from __future__ import annotations

from dataclasses import dataclass

MARK = "§"
"""Stands, in the text of a row, before the place that the error must name."""

GOOD = """\
interfaces:
  eth0:
    address: 192.0.2.10/24
services:
  pacs:
    vip: 192.0.2.100
    preset: dicom
    pool: archives
pools:
  archives:
    kind: archive
    storage: shared
    backends:
      pacs1: {address: 192.0.2.11}
      pacs2: {address: 192.0.2.12}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A file that must be refused. ``line`` and ``column`` are ``None`` when the whole file is meant."""

    id: str
    yaml: str
    line: int | None
    column: int | None
    says: tuple[str, ...]
    hint: str


def whole(id_: str, yaml: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """A row from a whole file."""
    before, found, after = yaml.partition(MARK)
    line = before.count("\n") + 1 if found else None
    column = len(before) - before.rfind("\n") if found else None
    return Wrong(id=id_, yaml=before + after, line=line, column=column, says=says, hint=hint)


def edited(id_: str, old: str, new: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """A row from the good file with one passage replaced."""
    assert GOOD.count(old) == 1, f"{id_}: {old!r} must stand in the good file once"
    return whole(id_, GOOD.replace(old, new), says=says, hint=hint)

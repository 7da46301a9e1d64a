"""How a plan looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbctl.cli.render import duration
from lbctl.core.changes import ChangeKind
from lbctl.core.effects.effect import EffectKind
from lbctl.daemon.models import Change, Effect, PlanReport, StepPrice

_MOST = 60
"""Lines of a section: more is for a script (``--json``)."""
_SIGNS = {ChangeKind.ADDED: ("+", "green"), ChangeKind.REMOVED: ("-", "red"), ChangeKind.CHANGED: ("~", "yellow")}
_MARKS = {
    EffectKind.LIVE_SESSIONS: ("!", "bold red"),
    EffectKind.NEW_CONNECTIONS: (">", ""),
    EffectKind.DIRECTOR: ("·", "dim"),
}
_ALIKE = 3
"""So many backends that change alike are told one by one."""


def show(report: PlanReport, out: Console) -> None:
    """The whole report, what matters most last: there the eye is when it has scrolled by."""
    if report.changes:
        against = f"what is in force (generation {report.generation})" if report.generation else "the other file"
        out.print(Text(f"{report.source} against {against}\n", "dim"))
        _section("Changes", _change_rows(report.changes), out)
        _section("Effects", [_effect_row(effect) for effect in report.effects], out)
        _section("Steps", [_step_row(number, step) for number, step in enumerate(report.steps, start=1)], out)
    if report.drift:
        rows = [(Text("≠", "red"), Text(drift.text)) for drift in report.drift]
        _section("Drift: not as lbctl wrote it in the kernel's tables", rows, out)
    for warning in report.warnings:
        out.print(Text(f"warning: {warning}", "yellow"))
    if report.warnings:
        out.print()
    out.print(_verdict(report))


def _section(heading: str, rows: Sequence[tuple[Text, ...]], out: Console) -> None:
    """Marks in a column of their own, so that long lines are folded beside them. Nothing if there are no lines."""
    if not rows:
        return
    out.print(Text(heading, "bold"))
    table = Table.grid(padding=(0, 1))
    for row in rows[:_MOST]:
        table.add_row(Text(" "), *row)
    out.print(table)
    if len(rows) > _MOST:
        out.print(Text(f"    and {len(rows) - _MOST:,} more: lbctl plan --json", "dim"))
    out.print()


# Changes --------------------------------------------------------------------------------------------------------------


def _change_rows(changes: Iterable[Change]) -> list[tuple[Text, ...]]:
    return [_change_row(group) for group in _alike(changes)]


def _alike(changes: Iterable[Change]) -> list[list[Change]]:
    """Backends of a pool of which the same key changes in the same way, where these are many, together; else each alone."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        place = change.key.split(".backends.")
        key = place[1].partition(".")[2] if len(place) > 1 else ""
        alike = (place[0], key, change.before or "", change.after or "") if key else (change.key,)
        groups.setdefault(alike, []).append(change)
    return [
        part for found in groups.values() for part in ([found] if len(found) > _ALIKE else [[one] for one in found])
    ]


def _change_row(group: Sequence[Change]) -> tuple[Text, ...]:
    change = group[0]
    sign, style = _SIGNS[change.kind]
    values = {
        ChangeKind.ADDED: change.after,
        ChangeKind.REMOVED: change.before,
        ChangeKind.CHANGED: f"{change.before} → {change.after}",
    }[change.kind]
    return Text(sign, style), Text(f"{_key(group)}: {values}", style if change.kind is ChangeKind.REMOVED else "")


def _key(group: Sequence[Change]) -> str:
    if len(group) == 1:
        return group[0].key
    pool, _, rest = group[0].key.partition(".backends.")
    names = [change.key.partition(".backends.")[2].partition(".")[0] for change in group]
    return f"{pool}.backends.({', '.join(names[:_ALIKE])} and {len(names) - _ALIKE:,} more).{rest.partition('.')[2]}"


# Effects and steps ----------------------------------------------------------------------------------------------------


def _effect_row(effect: Effect) -> tuple[Text, ...]:
    mark, style = _MARKS[effect.kind]
    return Text(mark, style), Text(
        effect.text.replace(" %", "\N{NO-BREAK SPACE}%"), "red" if effect.kind is EffectKind.LIVE_SESSIONS else ""
    )


def _step_row(number: int, step: StepPrice) -> tuple[Text, ...]:
    price = [f"{step.writes:,} {'write' if step.writes == 1 else 'writes'}"] if step.writes else []
    price += [f"about {duration(step.takes_s)}"] if step.takes_s else []
    told = Text(step.text)
    if price:
        told.append(f"  ({', '.join(price)})", "dim")
    return Text(f"{number:>2}", "dim"), told


def _verdict(report: PlanReport) -> Text:
    """The last line."""
    if not report.changes:
        return Text(_nothing(report), "red" if report.drift else "")
    touched = [effect for effect in report.effects if effect.kind is EffectKind.LIVE_SESSIONS]
    counts = [effect.sessions for effect in touched]
    writes = sum(step.writes for step in report.steps)
    cost = f"{writes:,} writes, each atomic." if writes else "Nothing is written to the kernel's tables."
    if not touched:
        return Text(f"No live session is touched. {cost}", "bold")
    known = sum(count or 0 for count in counts)
    if not known and None not in counts:
        return Text(f"No live session is touched as of now, for there is none where it would be. {cost}", "bold")
    who = f"{known:,} or more live sessions" if None in counts and known else f"{known:,} live sessions"
    who = "Live sessions" if None in counts and not known else "1 live session" if who == "1 live sessions" else who
    return Text(f"{who} {'is' if who.startswith('1 ') else 'are'} touched, as said above. {cost}", "bold red")


def _nothing(report: PlanReport) -> str:
    if report.drift:
        return f"{report.source} declares what is in force, but the kernel's tables hold something else."
    if report.base == report.proposed:
        return "Nothing to do: the text is the same."
    return "Nothing to do: the text differs, but it declares the same."

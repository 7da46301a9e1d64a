"""``lbctl maintenance``: hosts are taken out and brought back, one after the other."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from lbctl.cli.client import get, post, target_resource
from lbctl.cli.options import Duration, socket_option
from lbctl.cli.render import duration
from lbctl.cli.waiting import REMOVED, Emptying, Waiter, no_longer_drained, too_late, undrained
from lbctl.core.targets import Host, OneBackend, Target, WholePool, named, typed
from lbctl.daemon.models import Done, PoolStatus, Status, TargetBackend, TargetStatus
from lbctl.errors import DaemonUnreachableError, LbctlError, UnansweredError, UsageError

LOOK_S = 2.0
"""How often one looks after a host that is held."""
_WELL = frozenset(("up", "busy", "full", "misconfigured", "standby"))
"""The states of a backend that takes new connections, or would if it were its turn."""


class Phase(StrEnum):
    """How far one got."""

    WAITING = "not begun"
    ASKED = "perhaps drained, for the daemon has not answered"
    DRAINED = "drained, with connections"
    EMPTY = "drained and empty"
    ASKED_BACK = "perhaps enabled, for the daemon has not answered"
    ENABLED = "enabled, but not all of it is back"
    DONE = "done"


_OUT = (Phase.ASKED, Phase.DRAINED, Phase.EMPTY, Phase.ASKED_BACK)


@dataclass(slots=True, kw_only=True)
class Stage:
    """One host (or one backend, if that was named); ``backends`` as they were before."""

    target: Target
    backends: tuple[TargetBackend, ...]
    phase: Phase = Phase.WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How it is done; no ``hold_s``: until somebody presses Enter."""

    hold_s: float | None
    timeout_s: float
    slow_start_s: float | None
    is_forced: bool


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--hold", "hold_s", type=Duration("0s", "24h"), metavar="DURATION", help="In place of until Enter.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration("1s", "7d"),
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="For each to become empty, and for each to be up again.",
)
@click.option(
    "--slow-start",
    "slow_start_s",
    type=Duration("1s", "24h"),
    metavar="DURATION",
    help="Let the share of each grow in that time when it is back.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether to begin.")
@click.option("--force", is_flag=True, help="Also where nobody else takes connections, or what was drained before.")
@socket_option
def maintenance(
    *,
    targets: tuple[str, ...],
    hold_s: float | None,
    timeout_s: float,
    slow_start_s: float | None,
    yes: bool,
    force: bool,
    socket: Path,
) -> None:
    """Take hosts out and bring them back, one after the other: drain, wait until empty, hold, enable, wait until up.

    TARGET is the address of a host, a POOL (each of its hosts, in all their pools), or POOL/BACKEND (only that). The next one
    is begun when the one before takes its full share again. It stops, and says in what state each is, when one is not empty in
    time, is enabled by somebody else, is not up again in time, or on Ctrl-C: nothing is undone by itself. A host without which
    nobody of a pool would take new connections is not drained.
    """
    if not (yes and hold_s is not None) and not sys.stdin.isatty():
        raise UsageError("nobody can be asked: this is no terminal", hint="say --yes, and --hold DURATION")
    manner = Manner(hold_s=hold_s, timeout_s=timeout_s, slow_start_s=slow_start_s, is_forced=force)
    stages = _stages(socket, targets)
    if not force:
        for stage in stages:
            _require_enabled(stage.target, stage.backends)
    _announce(socket, stages, manner)
    if not yes and not click.confirm("Begin?"):
        raise LbctlError("nothing was changed")
    _carry_out(socket, stages, manner)


def _stages(socket: Path, targets: Sequence[str]) -> list[Stage]:
    """Each once, in the order in which they were named."""
    found: dict[Target, tuple[TargetBackend, ...]] = {}
    for target in map(named, targets):
        rows = _look(socket, target)
        declared = [row for row in rows if row.state != REMOVED]
        hosts = [Host(row.address) for row in declared] if isinstance(target, WholePool) else [target]
        for host in hosts:
            if host not in found:
                found[host] = rows if host is target else _look(socket, host)
    return [Stage(target=target, backends=rows) for target, rows in found.items()]


def _look(socket: Path, target: Target) -> tuple[TargetBackend, ...]:
    return get(socket, target_resource(target), TargetStatus).backends


def _require_enabled(target: Target, backends: Sequence[TargetBackend]) -> None:
    """Who was drained or halted before is so for a reason, and would be enabled in the end."""
    for row in backends:
        if row.override:
            raise LbctlError(
                f"{row.pool}/{row.name} is {row.override} already, and would be enabled in the end",
                hint=f"enable it first, leave {target} out, or take it in with --force",
            )


def _announce(socket: Path, stages: Sequence[Stage], manner: Manner) -> None:
    pools = {pool.name: pool for pool in get(socket, "/v1/status", Status).pools}
    click.echo(f"maintenance of {len(stages)} host{'' if len(stages) == 1 else 's'}, one after the other:")
    for number, stage in enumerate(stages, start=1):
        click.echo(f"  {number}. {_who(stage)}")
        for note in _notes(stage, pools):
            click.echo(f"     note: {note}")
    hold = "until you press Enter" if manner.hold_s is None else f"for {duration(manner.hold_s)}"
    slowly = f" with a slow start of {duration(manner.slow_start_s)}" if manner.slow_start_s else ""
    click.echo(f"Each is drained, waited for ({duration(manner.timeout_s)} at most), held {hold}, and enabled{slowly}.")


def _who(stage: Stage) -> str:
    if isinstance(stage.target, OneBackend):
        return str(stage.target)
    return f"{stage.target}: {', '.join(f'{row.pool}/{row.name}' for row in stage.backends)}"


def _notes(stage: Stage, pools: dict[str, PoolStatus]) -> Iterator[str]:
    """What is not as in any drain."""
    for row in stage.backends:
        pool = pools.get(row.pool)
        if pool is not None and pool.policy == "failover":
            is_active = "is the active one of" if pool.active == row.name else "may then be the active one of"
            yield f"{row.name} {is_active} pool {row.pool}: another takes over, and its connections are reset"
        if pool is not None and pool.storage == "private":
            yield f"the sources assigned to {row.pool}/{row.name} are refused meanwhile: nobody else has their studies"
        if not _is_awaited(row):
            yield f"{row.pool}/{row.name} is {row.state} ({row.reason}): that it comes up is not waited for"


def _carry_out(socket: Path, stages: Sequence[Stage], manner: Manner) -> None:
    """All of it, or as far as it gets; then in what state each is."""
    try:
        for number, stage in enumerate(stages, start=1):
            click.echo(f"[{number}/{len(stages)}] {_who(stage)}")
            _take_out(socket, stage, manner)
            _hold(socket, stage, manner)
            _bring_back(socket, stage, manner)
    except KeyboardInterrupt:
        _tell_states(stages)
        raise LbctlError("maintenance was stopped; nothing is undone by itself", hint=_hint(stages)) from None
    except LbctlError as error:
        _tell_states(stages)
        raise LbctlError(f"maintenance stopped: {error.message}", hint=_hint(stages) or error.hint) from error
    whose = f"all {len(stages)} take their" if len(stages) > 1 else f"{stages[0].target} takes its"
    rest = [f"{row.pool}/{row.name}" for stage in stages for row in stage.backends if not _is_awaited(row)]
    but = f", but for what was not up before: {', '.join(rest)}" if rest else ""
    click.echo(f"maintenance is over: {whose} full share again{but}")


def _is_awaited(before: TargetBackend) -> bool:
    """Whether this one is to be up in the end. What was drained before, by force, shows only then whether it can be."""
    return before.state in _WELL or before.override is not None


def _take_out(socket: Path, stage: Stage, manner: Manner) -> None:
    if not manner.is_forced:  # it was not when all began, but that may be hours ago
        _require_enabled(stage.target, _look(socket, stage.target))
    click.echo(_drain(socket, stage, manner))
    stage.phase = Phase.DRAINED
    emptying = Emptying()
    found = Waiter(socket).wait(stage.target, emptying.is_over, emptying.said, timeout_s=manner.timeout_s)
    if found is None:
        raise too_late(socket, stage.target, emptying, timeout_s=manner.timeout_s)
    if undrained(found):
        raise no_longer_drained(found)
    stage.phase = Phase.EMPTY


def _drain(socket: Path, stage: Stage, manner: Manner) -> str:
    query = f"?spare_last={'false' if manner.is_forced else 'true'}"
    try:
        return post(socket, f"{target_resource(stage.target)}/drain{query}", Done).message
    except UnansweredError:
        stage.phase = Phase.ASKED
        raise


def _hold(socket: Path, stage: Stage, manner: Manner) -> None:
    """Somebody is at work there: who gives it new connections meanwhile is to be known at once."""
    leave = "(Ctrl-C leaves it drained)"
    if manner.hold_s is None:
        click.echo(f"{stage.target} is empty: work on it now, then press Enter to bring it back {leave}")
    else:
        click.echo(f"{stage.target} is empty and held for {duration(manner.hold_s)} {leave}")
    until = None if manner.hold_s is None else time.monotonic() + manner.hold_s
    while not _is_over(until):
        with suppress(DaemonUnreachableError):
            found = get(socket, target_resource(stage.target), TargetStatus)
            if undrained(found):
                raise no_longer_drained(found)


def _is_over(until: float | None) -> bool:
    """Whether the hold is, after a moment; `KeyboardInterrupt` if nobody is there any more to end it."""
    if until is not None:
        time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
        return time.monotonic() >= until
    if not select.select([sys.stdin], [], [], LOOK_S)[0]:
        return False
    if not sys.stdin.readline():
        raise KeyboardInterrupt
    return True


def _bring_back(socket: Path, stage: Stage, manner: Manner) -> None:
    click.echo(_enable(socket, stage, manner))
    stage.phase = Phase.ENABLED
    expected = {(row.pool, row.name) for row in stage.backends if _is_awaited(row)}

    def awaited(found: TargetStatus) -> list[TargetBackend]:
        return [row for row in found.backends if (row.pool, row.name) in expected and row.state != REMOVED]

    found = Waiter(socket).wait(
        stage.target,
        lambda found: all(_is_back(row) or row.override for row in awaited(found)),
        lambda found: [_return_line(row) for row in awaited(found)],
        timeout_s=manner.timeout_s + (manner.slow_start_s or 0.0),
    )
    if found is None or not all(map(_is_back, awaited(found))):
        raise _not_back(found or get(socket, target_resource(stage.target), TargetStatus))
    stage.phase = Phase.DONE


def _enable(socket: Path, stage: Stage, manner: Manner) -> str:
    query = f"?slow_start_s={manner.slow_start_s}" if manner.slow_start_s else ""
    try:
        return post(socket, f"{target_resource(stage.target)}/enable{query}", Done).message
    except UnansweredError:
        stage.phase = Phase.ASKED_BACK
        raise


def _is_back(row: TargetBackend) -> bool:
    return row.state in _WELL and row.slow_start_percent is None and row.override is None


def _return_line(row: TargetBackend) -> str:
    told = row.state if row.state in _WELL else f"{row.state}: {row.reason}"
    slowly = "" if row.slow_start_percent is None else f", slow start, {row.slow_start_percent} %"
    return f"{row.pool}/{row.name}: {told}{slowly}"


def _not_back(found: TargetStatus) -> LbctlError:
    rest = "; ".join(_return_line(row) for row in found.backends if not _is_back(row))
    return LbctlError(f"it is enabled, but not back ({rest})", hint="see what is wrong with it: lbctl status")


def _tell_states(stages: Sequence[Stage]) -> None:
    for stage in stages:
        click.echo(f"{stage.target}: {stage.phase}")


def _hint(stages: Sequence[Stage]) -> str:
    """How to bring back what is drained."""
    drained = [typed(stage.target) for stage in stages if stage.phase in _OUT]
    return "; ".join(f"lbctl enable {target}" for target in drained)

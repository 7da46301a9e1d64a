"""The act of the HL7 feed: one receiver at a time, whatever happens to it, and nothing lost that was acknowledged."""

from __future__ import annotations

import time
from itertools import groupby, pairwise

from lbctl.lab.demo.ledger import Exhibit, Phase
from lbctl.lab.demo.life.configuration import ENGINES
from lbctl.lab.demo.life.stage import Stage
from lbctl.lab.demo.scene import undone_by
from lbctl.lab.hl7 import Event, Sender, merged
from lbctl.lab.topology import VIP

_SOME = 60
"""Messages enough to see who gets them."""


def fail_over_and_back(stage: Stage, phase: Phase) -> None:
    """The active receiver crashes; when it is back it stands by, until an operator says so."""
    first, second = (stage.engines[name] for name in ENGINES)
    sender = Sender(stage.clients[2], VIP, log=stage.directory / "feed.log")
    with undone_by(sender.end):
        phase.now("numbered messages, each sent when the one before was acknowledged", lambda: _progress(sender))
        sender.wait_acknowledged(_SOME)
        phase.now("engine1 crashes", lambda: _progress(sender))
        crashed_s = time.monotonic()
        first.kill()
        sender.wait_acknowledged(_SOME)
        failed_over_s = second.messages()[0].at_s - crashed_s
        first.start()
        phase.now("engine1 is back and stands by: failback is for an operator", lambda: _progress(sender))
        stage.daemon.wait_states("engines", {"engine1": "standby"})
        sender.wait_acknowledged(_SOME)
        phase.now("lbctl activate engines/engine1", lambda: _progress(sender))
        activated_s = time.monotonic()
        stage.daemon.ctl("activate", "engines/engine1")
        first.wait_messages(_SOME)
    failed_back_s = next(event.at_s for event in first.messages() if event.at_s > activated_s) - activated_s
    taken = [(event, _name(stage, node)) for event, node in merged(stage.engines.values())]
    _expect_order(phase, taken)
    lost = _expect_nothing_lost(phase, taken, sender.acknowledged())
    phase.fates.update({"told": len(sender.lost()), "served": len(sender.lost()) + 1})
    phase.exhibits.append(_table(taken, crashed_s))
    phase.result = (
        f"{len(sender.acknowledged()):,} acknowledged, {lost} lost; over after {failed_over_s:.1f} s, "
        f"back after {failed_back_s:.1f} s"
    )


def _progress(sender: Sender) -> str:
    return f"{len(sender.acknowledged())} acknowledged"


def _name(stage: Stage, node: str) -> str:
    return next(name for name, engine in stage.engines.items() if engine.node.name == node)


def _expect_order(phase: Phase, taken: list[tuple[Event, str]]) -> None:
    runs = [name for name, _ in groupby(taken, key=lambda row: row[1])]
    phase.expect_equal("one receiver at a time", expected="engine1, engine2, engine1", seen=", ".join(runs) or "none")
    numbers = [event.number for event, _ in taken]
    backwards = sum(later < earlier for earlier, later in pairwise(numbers))
    phase.expect_equal("the messages arrive in order", expected="0 out of order", seen=f"{backwards} out of order")


def _expect_nothing_lost(phase: Phase, taken: list[tuple[Event, str]], acknowledged: list[Event]) -> int:
    received = {event.number for event, _ in taken}
    lost = {event.number for event in acknowledged} - received
    phase.expect(
        not lost and bool(acknowledged),
        "no acknowledged message is lost",
        expected=f"0 of {len(acknowledged):,}",
        seen=f"{len(lost)} of {len(acknowledged):,}",
    )
    twice = len(taken) - len(received)
    phase.expect(
        twice <= 2,
        "at most the one under way at each switch is sent a second time",
        expected="2 at most",
        seen=twice,
    )
    return len(lost)


def _table(taken: list[tuple[Event, str]], crashed_s: float) -> Exhibit:
    """Who had the feed, and when."""
    rows = []
    for name, run in groupby(taken, key=lambda row: row[1]):
        events = [event for event, _ in run]
        numbers = f"{events[0].number} to {events[-1].number}"
        rows.append((name, numbers, *(f"{event.at_s - crashed_s:+.2f}" for event in (events[0], events[-1]))))
    headings = ("receiver", "messages", "first (s)", "last (s)")
    return Exhibit(title="Who had the feed, in seconds after the crash", headings=headings, rows=tuple(rows))

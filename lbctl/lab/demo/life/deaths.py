"""Acts in which connections end, and both sides learn of it: a host that vanishes, and one that is halted."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from lbctl.lab.demo.ledger import Exhibit, Phase
from lbctl.lab.demo.life.configuration import NEVER_PORT, WEB_PORT
from lbctl.lab.demo.life.stage import Stage
from lbctl.lab.lines import Line, line_to, spread
from lbctl.lab.vanishing import Timeline, moment_of, talk, vanished
from lbctl.lab.wait import wait_until

_OWN_TIMEOUT_S = 9.0
"""What the clients wait at most if nobody tells them. Real ones wait for minutes."""
_AT_ONCE_S = 0.25
"""Five times the 50 ms that lbctl aims at."""
_HALTED_WITHIN_S = 2.0
"""With the start of the command's own process."""


def vanish(stage: Stage, phase: Phase) -> None:
    """A host is gone. Its clients are told in one pool, and left alone in the other."""
    client, victim = stage.clients[0], "server1"
    with ExitStack() as closing:
        told = [closing.enter_context(line_to(client, victim, port=WEB_PORT)) for _ in range(2)]
        alone = [closing.enter_context(line_to(client, victim, port=NEVER_PORT)) for _ in range(2)]
        bystander = closing.enter_context(line_to(client, "server2", port=WEB_PORT))
        phase.now(f"{victim}'s cable is pulled: no answer, no FIN, no RST")
        began = time.monotonic()
        failed = _Failures(stage=stage, name=victim)
        silence = _Silence.of(waiting=alone[0], sending=alone[1])
        with vanished(
            stage.lab,
            stage.host(victim),
            waiting=told[0],
            sending=told[1],
            declared=lambda: failed.follow(phase),
        ) as timeline:
            phase.now("the clients that were told have gone on; the others wait for their own time-out")
            new = spread(client, 12, port=WEB_PORT)
            gave_up_s = silence.waiting.result(timeout=2 * _OWN_TIMEOUT_S) - began
            _expect_told(phase, timeline)
            _expect_left_alone(phase, silence, gave_up_s)
        phase.expect_equal(f"none of {new.total()} new connections goes to {victim}", expected=0, seen=new[victim])
        phase.expect_equal("a connection to another server goes on", expected="server2", seen=bystander.ask())
    phase.exhibits.append(_table(victim, timeline, checks_s=failed.checks_s - began, gave_up_s=gave_up_s))
    phase.fates.update({"told": 2, "left waiting": 2, "went on": 1, "served": new.total()})
    phase.now(f"{victim}'s cable is back; its checks let it in")
    for pool in ("web", "web-never", "licensed", "regional"):
        stage.daemon.wait_states(pool, {victim: "up"})
    slowest_s = max(timeline.after_declaration_s(who) for who in timeline.told_s)
    phase.result = f"told within {1000 * slowest_s:.0f} ms of the declaration; else they wait for a time-out"


def halt(stage: Stage, phase: Phase) -> None:
    """An operator cuts a server off that is alive: its clients are told, and so is the server."""
    client, name = stage.clients[0], "server2"
    server = stage.servers[name, WEB_PORT]
    with ExitStack() as closing:
        lines = [closing.enter_context(line_to(client, name, port=WEB_PORT)) for _ in range(5)]
        bystander = closing.enter_context(line_to(client, "server3", port=WEB_PORT))
        before, began = len(server.resets), time.monotonic()
        moments = [moment_of(partial(line.wait, timeout_s=20)) for line in lines]
        phase.now(f"lbctl halt web/{name}")
        with stage.told("halt", "web", name):
            clients_s = max(moment.result(timeout=20) for moment in moments) - began
            wait_until(lambda: len(server.resets) - before >= len(lines), deadline_s=20, what="the server to be told")
            server_s = max(server.resets) - began
            for who, at_s in (("client", clients_s), ("server", server_s)):
                phase.expect(
                    at_s <= _HALTED_WITHIN_S,
                    f"each of {len(lines)} idle connections is reset at its {who}'s end",
                    expected=f"within {_HALTED_WITHIN_S:g} s of the command",
                    seen=f"{at_s:.2f} s",
                )
            new = spread(client, 12, port=WEB_PORT)
            phase.expect_equal(f"none of 12 new connections goes to {name}", expected=0, seen=new[name])
            phase.expect_equal("a connection to another server goes on", expected="server3", seen=bystander.ask())
    phase.fates.update({"told": len(lines), "went on": 1, "served": new.total()})
    apart_ms = 1000 * abs(server_s - clients_s)
    phase.result = f"{len(lines)} clients and their server were told, {apart_ms:.0f} ms apart"


@dataclass(slots=True, kw_only=True)
class _Failures:
    """When each of the two things is noticed that a host which vanishes does no more."""

    stage: Stage
    name: str
    checks_s: float = 0.0

    def follow(self, phase: Phase) -> float:
        """Wait until it is declared dead, first by its checks and then by its silence to ARP; the latter moment."""
        self.checks_s = self._moment("down")
        phase.now(f"{self.name} fails its checks and gets no new connections; its host may yet be alive")
        return self._moment("unresolved")

    def _moment(self, state: str) -> float:
        """When ``status`` was last asked and did not say so yet: what follows was no later than it seems."""
        asked_s = time.monotonic()

        def is_so() -> bool:
            nonlocal asked_s
            now_s = time.monotonic()
            if self.stage.backend("web", self.name)["state"] == state:
                return True
            asked_s = now_s
            return False

        wait_until(is_so, deadline_s=20, pause_s=0.001, what=f"{self.name} to be {state}")
        return asked_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    """What becomes of two clients that nobody tells: when the waiting one gives up, and whether the sending one is reset."""

    waiting: Future[float]
    sending: Future[float]

    @classmethod
    def of(cls, *, waiting: Line, sending: Line) -> _Silence:
        def until_own_timeout() -> None:
            with suppress(TimeoutError):
                waiting.wait(timeout_s=_OWN_TIMEOUT_S)
                return
            raise ConnectionResetError  # so that `moment_of` takes the time

        return cls(
            waiting=moment_of(until_own_timeout), sending=moment_of(lambda: talk(sending, for_s=3 * _OWN_TIMEOUT_S))
        )


def _expect_told(phase: Phase, timeline: Timeline) -> None:
    for who in ("waiting", "sending"):
        after_s = timeline.after_declaration_s(who)
        phase.expect(
            0 <= after_s <= _AT_ONCE_S,
            f"the {who} client is told by a reset",
            expected=f"within {1000 * _AT_ONCE_S:.0f} ms of the declaration",
            seen=f"{1000 * after_s:.1f} ms",
        )


def _expect_left_alone(phase: Phase, silence: _Silence, gave_up_s: float) -> None:
    phase.expect(
        gave_up_s >= _OWN_TIMEOUT_S,
        "with reset_on_down: never, the waiting client waits on",
        expected=f"until its own time-out of {_OWN_TIMEOUT_S:g} s",
        seen=f"{gave_up_s:.1f} s",
    )
    is_told = silence.sending.done()
    seen = "told" if is_told else "not told"
    phase.expect(not is_told, "and the sending one sends into the void", expected="not told", seen=seen)


def _table(victim: str, timeline: Timeline, *, checks_s: float, gave_up_s: float) -> Exhibit:
    """The same cut, as the clients of the two pools lived through it."""
    both = (
        (0.0, "cable pulled"),
        (checks_s, "fails its checks: no new ones"),
        (timeline.declared_s, "no answer to ARP: declared dead"),
    )
    rows = [(at_s, what, what) for at_s, what in both]
    rows += [(at_s, f"{who} client: told by a reset", "") for who, at_s in timeline.told_s.items()]
    rows.append((gave_up_s, "", "waiting client: gives up by itself"))
    rows.append((gave_up_s, "", "sending client: still not told"))
    told = tuple((f"{1000 * at_s:,.0f}", left, right) for at_s, left, right in sorted(rows, key=lambda row: row[0]))
    headings = ("ms", "as lbctl does it", "with reset_on_down: never")
    return Exhibit(title=f"{victim} vanishes, and two clients of each pool", headings=headings, rows=told)

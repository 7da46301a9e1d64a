"""Acts in which the choice of a backend is not free: connection limits with a fallback, and storage that is private."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from ipaddress import IPv4Address

from lbctl.lab.demo.ledger import Exhibit, Phase
from lbctl.lab.demo.life.configuration import LICENSED_PORT, LIMIT, REGIONAL_PORT, configuration
from lbctl.lab.demo.life.stage import Stage
from lbctl.lab.demo.words import by_name
from lbctl.lab.lines import Line
from lbctl.lab.node import PREFIX_LENGTH, Node
from lbctl.lab.topology import SUBNET
from lbctl.lab.wait import wait_until

_REFUSED_WITHIN_S = 0.5
_SOURCES, _NEWCOMERS = 12, 8
_VISITS = 4
_MOST = 5
"""So many of the newcomers at least go where 98 % of the slots are, but once in a hundred thousand runs."""
_SKEWED = {"server1": 1, "server2": 1, "server3": 100}


def fill(stage: Stage, phase: Phase) -> None:
    """Two servers of 10 connections each, and a spare. Then without the spare."""
    client, room = stage.clients[0], 2 * LIMIT
    with ExitStack() as closing:
        phase.now(f"{room + 1} connections, one after the other, each stays")
        lines = [closing.enter_context(Line(client, port=LICENSED_PORT)) for _ in range(room + 1)]
        _expect_filled(stage, phase, [line.backend for line in lines])
        with stage.reloaded(configuration(stage.lab, has_fallback=False)):
            phase.now("the file names no fallback any more; one more connection")
            outcome, took_s = _try(client)
            phase.expect(
                outcome == "refused" and took_s <= _REFUSED_WITHIN_S,
                "without a fallback, the next one is refused at once",
                expected=f"refused within {1000 * _REFUSED_WITHIN_S:.0f} ms",
                seen=f"{outcome} after {1000 * took_s:.1f} ms",
            )
            leaver = lines[0]
            leaver.close()
            taker = wait_until(lambda: _served(client), deadline_s=10, what="a connection to be taken again")
            phase.expect_equal("one leaves, and the next one gets its place", expected=leaver.backend, seen=taker)
        alive = sum(line.is_alive for line in lines[1:])
        phase.expect_equal("all the others went on meanwhile", expected=room, seen=alive)
    phase.fates.update({"went on": alive, "served": room + 2, "refused": 1})
    phase.result = f"{room} on two servers, number {room + 1} at the spare, or refused in {1000 * took_s:.1f} ms"


def keep_private(stage: Stage, phase: Phase) -> None:
    """Each source keeps to the archive that it was given first: that is where its studies are."""
    client = stage.clients[1]
    sources = [SUBNET[221 + number] for number in range(_SOURCES + _NEWCOMERS)]
    client.ip(*(f"address add {source}/{PREFIX_LENGTH} dev {client.interface}" for source in sources))
    known, newcomers = sources[:_SOURCES], sources[_SOURCES:]
    phase.now(f"{_SOURCES} modalities store for the first time")
    home = {source: _visit(client, source) for source in known}
    phase.expect(
        len(set(home.values())) > 1,
        f"{_SOURCES} sources are given archives by weight",
        expected="2 or 3 archives",
        seen=by_name(Counter(home.values())),
    )
    wait_until(lambda: _listed(stage) == _SOURCES, deadline_s=20, what="the assignments to be kept")
    with stage.reloaded(configuration(stage.lab, weights=_SKEWED)):
        phase.now("weights of 1, 1 and 100; every source comes again")
        _expect_faithful(phase, client, home, "after the weights changed to 1, 1 and 100")
        phase.now("the daemon is stopped and started; every source comes again")
        stage.daemon.stop()
        stage.start_daemon()
        _expect_faithful(phase, client, home, "after a restart of the daemon")
        shown = stage.daemon.ctl("assign", "list", "regional").stdout
        given = Counter(_visit(client, source) for source in newcomers)
        phase.expect(
            given["server3"] >= _MOST,
            f"{_NEWCOMERS} sources that come for the first time follow the weights",
            expected=f"{_MOST} or more to server3",
            seen=by_name(given),
        )
    phase.exhibits.append(Exhibit.of_text("$ lbctl assign list regional", shown))
    phase.fates["served"] += (1 + 2 * _VISITS) * _SOURCES + _NEWCOMERS
    phase.result = f"{_SOURCES} sources, {2 * _VISITS * _SOURCES} visits: each at its own archive"


def _expect_filled(stage: Stage, phase: Phase, backends: list[str]) -> None:
    first, last = Counter(backends[:-1]), backends[-1]
    phase.expect_equal(
        f"{len(backends) - 1} connections fill two servers, none above its limit",
        expected=f"server1 {LIMIT}, server2 {LIMIT}",
        seen=by_name(first),
    )
    states = {name: stage.backend("licensed", name)["state"] for name in ("server1", "server2")}
    phase.expect_equal("both are shown as full", expected="full, full", seen=", ".join(states.values()))
    phase.expect_equal(f"number {len(backends)} goes to the fallback pool", expected="server3", seen=last)


def _try(client: Node) -> tuple[str, float]:
    began = time.monotonic()
    try:
        Line(client, port=LICENSED_PORT).close()
    except ConnectionRefusedError:
        return "refused", time.monotonic() - began
    except OSError as error:
        return type(error).__name__, time.monotonic() - began
    return "served", time.monotonic() - began


def _served(client: Node) -> str:
    """Who serves a new connection; empty if nobody does."""
    try:
        with Line(client, port=LICENSED_PORT) as line:
            return line.backend
    except OSError:
        return ""


def _visit(client: Node, source: IPv4Address) -> str:
    with Line(client, port=REGIONAL_PORT, source=source) as line:
        return line.backend


def _listed(stage: Stage) -> int:
    return next(int(pool["assigned_sources"]) for pool in stage.daemon.status()["pools"] if pool["name"] == "regional")


def _expect_faithful(phase: Phase, client: Node, home: dict[IPv4Address, str], when: str) -> None:
    strays = sum(_visit(client, source) != archive for source, archive in home.items() for _ in range(_VISITS))
    count = _VISITS * len(home)
    phase.expect(
        not strays,
        f"every source finds its own archive {when}",
        expected=f"{count} of {count} visits",
        seen=f"{count - strays} of {count} visits",
    )

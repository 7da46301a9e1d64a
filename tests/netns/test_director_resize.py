"""A flow table of another size: the daemon that begins with it takes the live connections along."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import cycle, pairwise

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import RARE, Line, configuration, directing, reload, spread, status

CONNECTIONS = 200
LATE, TALKERS = 60, 20
_PAUSE_S = 0.005
SMALL, USUAL, LARGE = 4096, 131_072, 262_144


def written(lab: Lab, *, tcp_flows: int, weights: Mapping[str, int]) -> str:
    """A file with a flow table of that size."""
    file = json.loads(configuration(*lab.backends, check=RARE, weights=weights))
    return json.dumps({**file, "director": {"tcp_flows": tcp_flows}})


@contextmanager
def talking(lines: list[Line]) -> Iterator[list[str]]:
    """On these connections somebody talks all the time; the answers of other servers than before, or none."""
    wrong: list[str] = []
    is_over = threading.Event()

    def talk() -> None:
        for line in cycle(lines):
            if is_over.wait(_PAUSE_S):
                return
            try:
                answered = line.ask()
            except OSError as error:
                answered = repr(error)
            if answered != line.backend:
                wrong.append(f"port {line.client_port} of {line.backend}: {answered}")
                return

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    yield wrong
    is_over.set()
    thread.join()


def start_again(daemon: Daemon, config: str) -> None:
    """With another file."""
    assert daemon.stop() == 0
    daemon.config.write_text(config)
    daemon.start()


def capacity(daemon: Daemon) -> int:
    """How many flows there is room for, by the first sweep."""
    return wait_until(lambda: status(daemon).flow_table.capacity, deadline_s=20, what="the tables to be swept")


def test_connections_stay_at_their_servers_when_the_flow_table_grows_and_shrinks(lab: Lab) -> None:
    """Half of them talk all the time; the others say nothing until the very end."""
    first, second = (node.name for node in lab.backends)
    even, uneven = {first: 100, second: 100}, {first: 250, second: 1}
    with directing(lab, written(lab, tcp_flows=USUAL, weights=even)) as daemon, ExitStack() as connections:
        lines = [connections.enter_context(Line(lab.clients[0])) for _ in range(CONNECTIONS)]
        servers = Counter(line.backend for line in lines)
        capacities = [capacity(daemon)]
        assert reload(daemon, written(lab, tcp_flows=USUAL, weights=uneven)).endswith(f"reloaded {daemon.config}")
        for size in (LARGE, SMALL):
            with talking(lines[::2]) as wrong:
                start_again(daemon, written(lab, tcp_flows=size, weights=uneven))
            assert wrong == []
            capacities.append(capacity(daemon))
        assert [after - before for before, after in pairwise(capacities)] == [LARGE - USUAL, SMALL - LARGE]
        assert min(servers[first], servers[second]) > CONNECTIONS // 4
        assert spread(lab.clients[0])[second] < 5  # 4 of 1,021 slots are left to it
        assert [line for line in lines if not line.is_alive] == []


def test_connections_that_are_made_while_a_daemon_begins_with_another_table_stay_at_their_servers(lab: Lab) -> None:
    """They begin behind the program before, after its flows were copied; and the file gives most of their slots away."""
    first, second = (node.name for node in lab.backends)
    even, uneven = {first: 100, second: 100}, {first: 250, second: 1}
    with directing(lab, written(lab, tcp_flows=USUAL, weights=even)) as daemon, ExitStack() as opened:
        opened.enter_context(Line(lab.clients[0]))
        log_before = daemon.log.read_text()
        lines: list[Line] = []
        talkers: list[list[str]] = []

        def connect() -> None:
            wait_until(
                lambda: "flows taken along" in daemon.log.read_text().removeprefix(log_before),
                deadline_s=60,
                what="the flows to be copied",
            )
            lines.extend(opened.enter_context(Line(lab.clients[0])) for _ in range(LATE))
            talkers.extend(opened.enter_context(talking(lines[i::TALKERS])) for i in range(TALKERS))

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        start_again(daemon, written(lab, tcp_flows=LARGE, weights=uneven))
        thread.join()
        wait_until(lambda: spread(lab.clients[0])[second] < 5, deadline_s=20, what="the new weights to be in force")
        assert [line for line in lines if not line.is_alive] == []
        assert talkers == [[]] * TALKERS


def test_connections_that_end_while_tables_change_are_not_counted_as_live_ones_afterwards(lab: Lab) -> None:
    weights = {node.name: 100 for node in lab.backends}
    with directing(lab, written(lab, tcp_flows=USUAL, weights=weights)) as daemon, Line(lab.clients[0]) as kept:
        with churning(lab) as ended:
            start_again(daemon, written(lab, tcp_flows=LARGE, weights=weights))
        assert kept.is_alive
        assert ended[0] > 10
        wait_until(
            lambda: connections(daemon) == {kept.backend: 1},
            deadline_s=20,
            what=lambda: f"one connection to be counted; {connections(daemon)} are, {ended[0]} ended",
        )


@contextmanager
def churning(lab: Lab) -> Iterator[list[int]]:
    """Somebody makes connections one after another, and ends each a moment later; the number of those that ended."""
    ended = [0]
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.wait(_PAUSE_S):
            with ExitStack() as few:
                for _ in range(10):
                    few.enter_context(Line(lab.clients[0]))
            ended[0] += 10

    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    yield ended
    is_over.set()
    thread.join()


def connections(daemon: Daemon) -> dict[str, int]:
    """How many each backend has, as the program counts them, if it has some."""
    (pool,) = status(daemon).pools
    return {row.name: row.connections for row in pool.backends if row.connections}

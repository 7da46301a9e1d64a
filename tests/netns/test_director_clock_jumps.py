"""The wall clock jumps by a day and by years, back and forth, and nothing of the director's work notices."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.lines import LineServer
from lbctl.lab.topology import Lab
from tests.netns.director_rig import QUICK, Line, configuration, line_to, spread, status, wait_state
from tests.netns.test_director_resize import connections, talking

LIBRARY = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1")
CHECK_PORT = 9_100
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
"""The library takes an end by the monotonic clock, which Python's ``sleep`` waits for, to be one by the wall clock."""
JUMPS = ("+1d", "-1d", "-3650d", "+0")


class Clock:
    """The daemon's wall clock. The other clocks are the kernel's."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "clock"
        self._modules = directory
        (directory / "sitecustomize.py").write_text(SLEEP)
        self.set("+0")

    def set(self, offset: str) -> None:
        """From now on it is so much ahead or behind."""
        self._path.write_text(f"{offset}\n")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "PYTHONPATH": str(self._modules),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def jumping(lab: Lab, clock: Clock) -> Iterator[Daemon]:
    """A daemon that lives by that clock, with a port of its own to be probed."""
    config = configuration(
        *lab.backends, check={**QUICK, "port": CHECK_PORT, "fall": 2}, pool={"reset_on_down": "never"}
    )
    daemon = Daemon(lab, config=config)
    daemon.environment = clock.environment
    with ExitStack() as stack:
        stack.callback(lambda: daemon.is_running and daemon.stop())
        stack.callback(LineServer(lab.backends[1], port=CHECK_PORT).close)
        daemon.start()
        yield daemon


def days_off(daemon: Daemon) -> float:
    """How far ahead the daemon took its clock to be when it noted the latest change."""
    noted = json.loads((daemon.state / "audit.jsonl").read_text().splitlines()[-1])
    return (datetime.fromisoformat(noted["time"]) - datetime.now(UTC)).total_seconds() / 86_400


def test_probes_drains_and_live_connections_go_on_when_the_wall_clock_jumps(
    lab: Lab, jumping: Daemon, clock: Clock
) -> None:
    client, (probed, other) = lab.clients[0], lab.backends
    with ExitStack() as opened:
        server = LineServer(probed, port=CHECK_PORT)
        for node in lab.backends:
            wait_state(jumping, node, "up")
        lines = [opened.enter_context(Line(client)) for _ in range(20)]
        lines.append(opened.enter_context(line_to(client, probed)))
        before = connections(jumping)
        for jump in JUMPS:
            with talking(lines) as wrong:
                clock.set(jump)
                server.close()
                wait_state(jumping, probed, "down")
                assert spread(client, 10).keys() == {other.name}
                server = LineServer(probed, port=CHECK_PORT)
                wait_state(jumping, probed, "up")
                jumping.ctl("drain", f"servers/{other.name}")
                assert spread(client, 10).keys() == {probed.name}
                jumping.ctl("enable", f"servers/{other.name}")
                wait_state(jumping, other, "up")
            assert wrong == []
            assert days_off(jumping) == pytest.approx(float(jump.rstrip("d")), abs=0.1)  # it did jump
            assert 0 < status(jumping).daemon.uptime_s < 600
            rows = [row for pool in status(jumping).pools for row in pool.backends]
            assert all(row.since_s is not None and 0 <= row.since_s < 600 for row in rows)
        assert connections(jumping) == before
        server.close()

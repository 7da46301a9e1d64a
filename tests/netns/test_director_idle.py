"""How long a silent connection is remembered: as long as its service says, and no longer. Time is advanced, not waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbctl.config.presets import HOUR_S
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import VIP, Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import TCP_PORT, Line, line_to, spread, status, wait_state
from tests.netns.pinned import PinnedFlow, hz_of

LIMIT_S = HOUR_S
"""Of a TCP service for which the file says nothing else."""
MARGIN_S = 1.0


@contextmanager
def drained(lab: Lab, daemon: Daemon, name: str) -> Iterator[None]:
    """New connections go elsewhere, and so would one that is forgotten."""
    wait_until(lambda: status(daemon).flow_table.age_s is not None, deadline_s=60, what="the first sweep")
    daemon.ctl("drain", f"servers/{name}")
    try:
        wait_until(lambda: hz_of(lab.pins) > 0, deadline_s=20, what="the daemon to have measured the kernel's clock")
        assert name not in spread(lab.clients[0])
        yield
    finally:
        daemon.ctl("enable", f"servers/{name}")
        wait_state(daemon, name, "up")


def flow_of(lab: Lab, line: Line) -> PinnedFlow:
    """The flow of a connection that is talking right now."""
    assert line.is_alive
    return PinnedFlow(lab.pins, client=lab.clients[0].address, port=line.port, vip=VIP, vip_port=TCP_PORT)


def test_flow_idle_for_just_less_than_its_limit_goes_on_at_its_draining_backend_and_one_beyond_it_is_ended(
    lab: Lab, daemon: Daemon
) -> None:
    client, draining = lab.clients[0], lab.backends[0]
    with line_to(client, draining) as within, line_to(client, draining) as beyond, drained(lab, daemon, draining.name):
        flow, ended = flow_of(lab, within), flow_of(lab, beyond)

        def is_swept() -> bool:
            """The sweep that ends one of them has looked at the other, too."""
            flow.make_idle(LIMIT_S - MARGIN_S)
            ended.make_idle(LIMIT_S + MARGIN_S)
            return not ended.exists

        wait_until(is_swept, deadline_s=60, what="a sweep to end the flow beyond its limit")
        assert flow.exists
        flow.make_idle(LIMIT_S - MARGIN_S)  # once more, as the next packet finds it
        assert within.ask() == draining.name
        with pytest.raises(ConnectionResetError):  # at the other backend, which knows nothing of it
            beyond.ask()
        assert within.is_alive

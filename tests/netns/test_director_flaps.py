"""An interface that comes and goes, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from lbctl.dataplane import loader
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import Line, asks_for, connects, spread, status
from tests.netns.wide_rig import directing_wide, wait_all_up, wide_configuration

FLAPS = 15
BOTH = (VIP, VIP6)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, ipv6=True)) as built:
        yield built


def by_cable(lab: Lab, is_up: bool) -> None:
    (lab.mend if is_up else lab.cut)(lab.director)


def by_hand(lab: Lab, is_up: bool) -> None:
    lab.director.set_link(up=is_up)


@pytest.mark.parametrize("flap", [by_cable, by_hand])
def test_interface_that_flaps_again_and_again_serves_with_the_connections_it_had(
    lab: Lab, flap: Callable[[Lab, bool], None]
) -> None:
    client = lab.clients[0]
    with directing_wide(lab, wide_configuration(lab)) as daemon, ExitStack() as opened:
        wait_all_up(daemon)
        lines = [opened.enter_context(Line(client, vip=vip, timeout_s=60)) for vip in BOTH for _ in range(10)]
        links = [path.name for path in lab.pins.glob(f"{loader.LINK_PREFIX}*")]
        for _ in range(FLAPS):
            flap(lab, False)
            flap(lab, True)
        for vip in BOTH:
            wait_until(partial(connects, client, vip=vip), deadline_s=30, what=f"{vip} to be answered for")
        wait_all_up(daemon)
        assert [line for line in lines if not line.is_alive] == []
        assert [path.name for path in lab.pins.glob(f"{loader.LINK_PREFIX}*")] == links
        assert asks_for(client, VIP) == [lab.director.mac]
        for vip in BOTH:
            assert spread(client, 40, vip=vip).keys() == {node.name for node in lab.backends}
        wait_until(lambda: status(daemon).daemon.last_error is None, deadline_s=30, what="nothing to be wrong")
        assert status(daemon).daemon.warnings == ()

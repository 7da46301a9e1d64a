"""What is known of neighbours while the kernel asks them anew."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.tables import Tables
from lbctl.daemon.neighbourhood import Neighbourhood
from tests.unit.daemon.rig import LINK, VIP, neighbour

ETH1 = replace(LINK, ifindex=4, name="eth1")


def test_neighbour_that_answered_on_one_interface_is_not_known_on_another() -> None:
    """As when the file, or the machine, gives a segment another interface: no packet leaves for what nobody confirmed there."""
    known = Neighbourhood(Tables())
    known.met({"eth0": LINK, "eth1": ETH1})
    known.seen(neighbour(VIP), {VIP: "eth0"})
    known.seen(neighbour(VIP, state="incomplete"), {VIP: "eth0"})
    assert known.neighbours[VIP].usable
    known.seen(replace(neighbour(VIP, state="incomplete"), ifindex=ETH1.ifindex), {VIP: "eth1"})
    assert not known.neighbours[VIP].usable
    known.seen(replace(neighbour(VIP), ifindex=ETH1.ifindex), {VIP: "eth1"})
    assert known.neighbours[VIP].usable

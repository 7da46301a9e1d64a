"""Backends that the file no longer has, and that have connections still: their MACs are followed as before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lbctl.core.model import Address
from lbctl.core.tables import BackendState
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.fake import FakeNetwork
from tests.unit.daemon.rig import IFINDEX, LINK, Rig, declared, neighbour

ONLY_B = declared("b address=192.0.2.12")
ANOTHER_MAC = bytes.fromhex("02aaaaaaaaaa")


def with_a_removed() -> Rig:
    rig = Rig(declared("a", "b")).up()
    rig.flow_to("a")
    rig.sweep()
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconcile()
    return rig


def test_removed_backend_with_another_mac_keeps_its_connections() -> None:
    rig = Rig(declared("a", "b")).up()
    number, address = rig.number("a"), rig.row("a").address
    rig.flow_to("a")
    rig.sweep()
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconcile()
    assert rig.reconciler.neighbour_seen(neighbour(address, mac=ANOTHER_MAC))
    rig.reconcile()
    row = rig.dataplane.backends[number]
    assert (row.mac, row.state) == (ANOTHER_MAC, BackendState.DRAINING)


def test_removed_backend_is_a_neighbour_as_long_as_it_has_a_row() -> None:
    rig = with_a_removed()
    assert [str(address) for address in rig.reconciler.lingering()] == ["192.0.2.11"]
    assert set(rig.reconciler.lingering().values()) == set(rig.reconciler.index.interfaces.values())
    rig.dataplane.live_flows.clear()
    for _ in range(30):
        rig.now += 10
        rig.sweep()
        rig.reconcile()
    assert rig.reconciler.lingering() == {}


async def managed(*, is_known: bool) -> set[str]:
    """Who is a managed neighbour after a reload without a, whether it is known who lingers or not."""
    rig, network = with_a_removed(), FakeNetwork([LINK])
    surroundings, links = Surroundings(network), {"eth0": LINK}
    await surroundings.manage_neighbours(declared("a", "b", "c"), links, lingering={})
    await surroundings.manage_neighbours(ONLY_B, links, lingering=rig.reconciler.lingering() if is_known else None)
    return {str(address) for address in await network.owned_neighbours(IFINDEX)}


def test_neighbours_of_removed_backends_are_managed_while_they_linger() -> None:
    assert asyncio.run(managed(is_known=True)) == {"192.0.2.11", "192.0.2.12"}


def test_neighbours_are_not_let_go_before_it_is_known_who_lingers() -> None:
    assert asyncio.run(managed(is_known=False)) == {"192.0.2.11", "192.0.2.12", "192.0.2.13"}


class Asked(FakeNetwork):
    """Remembers whom it was asked to manage: those are watched."""

    def __init__(self) -> None:
        super().__init__([LINK])
        self.asked: set[str] = set()

    async def manage_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        self.asked |= set(map(str, addresses))
        await super().manage_neighbours(ifindex, addresses)


async def after_a_restart() -> tuple[set[str], set[str]]:
    """Whom a daemon watches, and whom the kernel has, if it was started between a's removal and the end of its connections."""
    rig, network, links = with_a_removed(), Asked(), {"eth0": LINK}
    await Surroundings(network).manage_neighbours(declared("a", "b", "c"), links, lingering={})
    network.asked.clear()
    surroundings = Surroundings(network)
    await surroundings.manage_neighbours(ONLY_B, links)
    await surroundings.manage_neighbours(ONLY_B, links, lingering=rig.reconciler.lingering())
    return network.asked, {str(address) for address in await network.owned_neighbours(IFINDEX)}


def test_neighbours_that_linger_are_watched_by_the_next_daemon_too() -> None:
    both = {"192.0.2.11", "192.0.2.12"}
    assert asyncio.run(after_a_restart()) == (both, both)

"""Taking the data plane down: links, pins, probe paths, neighbours, groups. Nothing of lbctl stays in the kernel."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from lbctl.daemon.instance import alone_in_network, only_instance
from lbctl.dataplane.links import detach
from lbctl.network.kernel import KernelNetwork


def tear_down(pins: Path) -> int:
    """Returns from how many interfaces the program was taken. `SystemRequirementError` while a daemon holds the pins, or is at
    work in this network namespace with others."""
    if not pins.is_dir():
        return 0
    with only_instance(pins), alone_in_network():
        asyncio.run(_clear_network())
        return detach(pins)


async def _clear_network() -> None:
    """What lbctl has on an interface carries its mark, also on the VLAN sub-interfaces of a device."""
    network = KernelNetwork()
    try:
        for ifindex, _ in socket.if_nameindex():
            await network.release_neighbours(ifindex, tuple(await network.owned_neighbours(ifindex)))
            await network.listen_for(ifindex, frozenset())
        await network.set_probe_paths(frozenset())
    finally:
        await network.close()

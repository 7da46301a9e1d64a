"""Which device and tags belong to a VLAN interface, from the messages of kernels that can make them."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from lbctl.network.links import read_link, read_links

ETH0 = 2


def message(index: int, name: str, *, parent: int = 0, vid: int = 0, namespace: int | None = None) -> Any:
    """RTM_NEWLINK, through the bytes of the wire and back."""
    attributes: list[Any] = [["IFLA_IFNAME", name], ["IFLA_MTU", 1500]]
    if vid:
        data = {"attrs": [["IFLA_VLAN_ID", vid]]}
        kind = {"attrs": [["IFLA_INFO_KIND", "vlan"], ["IFLA_INFO_DATA", data]]}
        attributes += [["IFLA_LINK", parent], ["IFLA_LINKINFO", kind]]
    if namespace is not None:
        attributes.append(["IFLA_LINK_NETNSID", namespace])
    sent = ifinfmsg()
    sent.setvalue({"index": index, "attrs": attributes})
    sent.encode()
    received = ifinfmsg(sent.data)
    received.decode()
    return received


class Kernel:
    """Has these interfaces."""

    def __init__(self, *messages: Any) -> None:
        self.messages = messages

    async def dump(self, subject: str, **_: Any) -> list[Any]:
        return list(self.messages) if subject == "link" else []

    async def request(self, subject: str, command: str, **wanted: Any) -> list[Any]:
        assert (subject, command) == ("link", "get")
        for message in self.messages:
            if wanted in ({"index": message["index"]}, {"ifname": message.get_attr("IFLA_IFNAME")}):
                return [message]
        raise NetlinkError(errno.ENODEV)


def places(*messages: Any) -> dict[str, tuple[int, int]]:
    """Device and tags by name; the dump and the single look must agree."""

    async def read() -> dict[str, tuple[int, int]]:
        kernel: Any = Kernel(*messages)
        links = await read_links(kernel)
        assert {index: await read_link(kernel, index) for index in links} == links
        return {link.name: (link.device, link.vlan) for link in links.values()}

    return asyncio.run(read())


def test_vlan_interface_is_on_its_parent_whatever_its_name() -> None:
    found = places(message(ETH0, "eth0"), message(3, "imaging", parent=ETH0, vid=20))
    assert found == {"eth0": (0, 0), "imaging": (ETH0, 20)}


def test_vlan_interface_named_as_another_vlan_is_what_the_kernel_says() -> None:
    assert places(message(ETH0, "eth0"), message(3, "eth0.99", parent=ETH0, vid=20))["eth0.99"] == (ETH0, 20)


def test_vlan_interface_on_a_vlan_interface_has_both_tags_and_the_device_at_the_bottom() -> None:
    found = places(
        message(ETH0, "eth0"), message(3, "outer", parent=ETH0, vid=20), message(4, "inner", parent=3, vid=30)
    )
    assert found["inner"] == (ETH0, 20 * 4096 + 30)


def test_vlan_interface_made_in_user_space_on_one_of_the_kernels_has_both_tags() -> None:
    found = places(message(ETH0, "eth0"), message(3, "outer", parent=ETH0, vid=20), message(4, "outer.30"))
    assert found["outer.30"] == (ETH0, 20 * 4096 + 30)


def test_vlan_interface_whose_parent_is_in_another_namespace_is_its_own() -> None:
    """The index means another interface here."""
    assert places(message(ETH0, "eth0"), message(3, "v20", parent=ETH0, vid=20, namespace=0))["v20"] == (0, 0)


def test_vlan_interfaces_in_a_circle_end() -> None:
    """A name can say what the kernel would not allow."""
    found = places(message(3, "a", parent=4, vid=20), message(4, "a.30"))
    assert found["a"][1] > 1 << 24


@pytest.mark.parametrize("name", ["eth1.20", "eth0.0", "eth0.4095", "eth0.020", "eth0.20a", ".20", "eth0."])
def test_interface_that_is_only_named_alike_is_its_own(name: str) -> None:
    assert places(message(ETH0, "eth0"), message(3, name))[name] == (0, 0)

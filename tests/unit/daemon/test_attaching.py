"""The program on devices: once on each, with their VLAN tags, in the mode declared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from lbctl.core.model import AttachMode, Declaration, Interface
from lbctl.daemon.attaching import Attacher
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Attachment
from lbctl.errors import LbctlError, NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link
from tests.unit.daemon.rig import LINK

ETH0 = LINK
VLAN20 = replace(LINK, ifindex=20, name="eth0.20", device=ETH0.ifindex, vlan=20, addresses=())
VLAN30 = replace(VLAN20, ifindex=30, name="eth0.30", vlan=30)
ETH1 = replace(LINK, ifindex=3, name="eth1", addresses=())
ALL = (ETH0, VLAN20, VLAN30, ETH1)


class Counting(FakeDataplane):
    def __init__(self) -> None:
        super().__init__()
        self.attached: list[tuple[int, AttachMode]] = []

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        self.attached.append((ifindex, mode))
        return super().attach(ifindex, mode)


class Bench:
    """An attacher on fakes."""

    def __init__(self) -> None:
        self.dataplane, self.network = Counting(), FakeNetwork(ALL)
        self.exchanging = asyncio.Lock()
        self.attacher = Attacher(self.dataplane, self.network, exchanging=self.exchanging)

    def attach(self, *links: Link, **modes: AttachMode) -> Mapping[str, Attachment]:
        """``eth0=AttachMode.NATIVE``; points in names are underscores."""
        interfaces = tuple(
            Interface(
                name=link.name,
                address=IPv4Interface("192.0.2.10/24"),
                mode=modes.get(link.name.replace(".", "_"), AttachMode.AUTO),
            )
            for link in links
        )
        declaration = Declaration(interfaces=interfaces, services=(), pools=())
        asyncio.run(self.attacher.attach(declaration, {link.name: link for link in links}))
        return self.attacher.attachments

    def forget_lost(self) -> bool:
        return asyncio.run(self.attacher.forget_lost())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_sub_interfaces_share_the_program_of_their_device(bench: Bench) -> None:
    found = bench.attach(ETH0, VLAN20, VLAN30, ETH1)
    assert bench.dataplane.attached == [(ETH0.ifindex, AttachMode.AUTO), (ETH1.ifindex, AttachMode.AUTO)]
    assert {name: attachment.ifindex for name, attachment in found.items()} == {
        "eth0": 2,
        "eth0.20": 2,
        "eth0.30": 2,
        "eth1": 3,
    }
    assert bench.network.untagged == {ETH0.ifindex, ETH1.ifindex}


@pytest.mark.parametrize("mode", AttachMode)
def test_tags_are_left_in_the_frames_of_every_device_in_every_mode(bench: Bench, mode: AttachMode) -> None:
    bench.attach(ETH0, eth0=mode)
    assert bench.network.untagged == {ETH0.ifindex}


@pytest.mark.parametrize("mode", AttachMode)
def test_device_that_hides_its_tags_is_refused_where_vlans_are_declared(bench: Bench, mode: AttachMode) -> None:
    bench.network.taggers[ETH0.ifindex] = "eth0 keeps VLAN tags from XDP"
    with pytest.raises(LbctlError, match=r"eth0\.20: its VLANs cannot be told apart: eth0 keeps"):
        bench.attach(VLAN20, eth0_20=mode)
    assert bench.dataplane.attached == []


def test_device_that_hides_its_tags_serves_where_no_vlan_is_declared_and_that_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.network.taggers[ETH0.ifindex] = "eth0 keeps VLAN tags from XDP"
    assert "eth0" in bench.attach(ETH0)
    assert "frames of other VLANs look untagged here" in caplog.text


def test_vlan_that_is_new_on_a_device_is_seen_to(bench: Bench) -> None:
    bench.attach(ETH0)
    bench.attach(ETH0, VLAN20)
    assert bench.network.untagged == {ETH0.ifindex}
    assert len(bench.dataplane.attached) == 2


@pytest.mark.parametrize("named", ["eth0", "eth0_20"])
def test_mode_that_one_of_them_names_holds_for_the_device(bench: Bench, named: str) -> None:
    bench.attach(ETH0, VLAN20, **{named: AttachMode.GENERIC})
    assert bench.dataplane.attached == [(ETH0.ifindex, AttachMode.GENERIC)]


def test_modes_that_contradict_each_other_on_one_device_are_refused(bench: Bench) -> None:
    with pytest.raises(NetworkError, match=r"eth0 and eth0\.20 are on one device, which cannot run in native and in"):
        bench.attach(ETH0, VLAN20, eth0=AttachMode.NATIVE, eth0_20=AttachMode.GENERIC)


def test_device_made_anew_is_attached_anew_for_all_that_is_on_it(bench: Bench) -> None:
    bench.attach(ETH0, VLAN20)
    anew = (replace(ETH0, ifindex=7), replace(VLAN20, ifindex=27, device=7))
    bench.network.links |= {link.ifindex: link for link in anew}
    bench.attacher.forget_absent({link.name: link for link in anew})
    assert bench.attacher.attachments == {}
    found = bench.attach(*anew)
    assert {name: attachment.ifindex for name, attachment in found.items()} == {"eth0": 7, "eth0.20": 7}


def test_device_whose_last_sub_interface_went_is_let_go_of(bench: Bench) -> None:
    bench.attach(ETH0, VLAN20, ETH1)
    bench.attacher.keep_only({"eth0.20": VLAN20})
    assert set(bench.dataplane.attachments) == {ETH0.ifindex}
    assert set(bench.attacher.attachments) == {"eth0.20"}
    bench.attacher.keep_only({})
    assert bench.dataplane.attachments == {}


def test_program_that_somebody_took_off_is_forgotten_for_all_that_is_on_the_device(bench: Bench) -> None:
    bench.attach(ETH0, VLAN20, ETH1)
    assert not bench.forget_lost()
    del bench.dataplane.attachments[ETH0.ifindex]
    assert bench.forget_lost()
    assert set(bench.attacher.attachments) == {"eth1"}


def test_program_that_is_being_exchanged_is_not_missed(bench: Bench) -> None:
    bench.attach(ETH0)
    bench.dataplane.attachments.clear()

    async def scene() -> None:
        async with bench.exchanging:
            assert not await bench.attacher.forget_lost()
        assert await bench.attacher.forget_lost()

    asyncio.run(scene())


def test_tags_that_somebody_hides_again_are_told_until_they_can_be_kept(bench: Bench) -> None:
    bench.attach(ETH0, VLAN20)
    bench.network.taggers[ETH0.ifindex] = "somebody switched it on"
    assert bench.forget_lost()
    with pytest.raises(LbctlError, match="somebody switched it on"):
        bench.attach(ETH0, VLAN20)
    del bench.network.taggers[ETH0.ifindex]
    assert "eth0.20" in bench.attach(ETH0, VLAN20)
    assert not bench.forget_lost()

"""`KernelNetwork` against a real kernel: a director, two peers and a stranger on one switch."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from types import SimpleNamespace

import pytest

from lbctl.errors import NetworkError
from lbctl.network import arp
from lbctl.network.fake import FakeNetwork
from lbctl.network.kernel import KernelNetwork
from lbctl.network.port import Link, LinkChanged, Neighbour, NeighbourChanged, Network, NetworkEvent, ProbePath
from tests.netns.ns_helpers import Host, LoopInside, eventually, hosts_on_a_switch

VIP = IPv4Address("10.77.0.100")
OTHER_VIP = IPv4Address("10.77.0.101")
ETH_P_ARP = 0x0806


@dataclass
class Director:
    """A `KernelNetwork` inside the first host, its events recorded as they come."""

    host: Host
    loop: LoopInside
    network: KernelNetwork
    link: Link
    events: list[NetworkEvent] = field(default_factory=list)

    async def follow(self) -> None:
        async for event in self.network.events():
            self.events.append(event)

    def manage(self, address: str) -> None:
        self.loop.run(self.network.manage_neighbour(self.link.ifindex, IPv4Address(address)))

    def entry(self, address: str) -> Neighbour | None:
        """The last state told of a neighbour."""
        told = [event.neighbour for event in tuple(self.events) if isinstance(event, NeighbourChanged)]
        return next((entry for entry in reversed(told) if entry.address == IPv4Address(address)), None)

    def await_entry(self, address: str, fits: Callable[[Neighbour], bool], *, within_s: float = 10) -> Neighbour:
        return eventually(lambda: (entry := self.entry(address)) and fits(entry) and entry, within_s=within_s)

    def await_mac(self, address: str, mac: bytes) -> Neighbour:
        return self.await_entry(address, lambda entry: entry.mac == mac and entry.usable)

    def unplug(self) -> None:
        """Take the carrier away, at the switch."""
        self.host.set_port("down")

    def plug_in(self) -> None:
        self.host.set_port("up")

    def last_link_event(self) -> Link | None:
        told = [event.link for event in tuple(self.events) if isinstance(event, LinkChanged)]
        return told[-1] if told else None

    def set_paths(self, *paths: ProbePath) -> None:
        self.loop.run(self.network.set_probe_paths(frozenset(paths)))

    def path(self, mark: int, via: Host, *vips: IPv4Address) -> ProbePath:
        return ProbePath(mark=mark, vips=frozenset(vips), via=IPv4Address(via.address), ifindex=self.link.ifindex)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, ...]]:
    with hosts_on_a_switch(4) as made:
        yield made


def started(host: Host, **settings: float) -> Director:
    loop = LoopInside(host)

    async def start() -> Director:
        network = KernelNetwork(**settings)  # type: ignore[arg-type]
        return Director(host=host, loop=loop, network=network, link=await network.link("eth0"))

    director = loop.run(start())

    async def follow() -> asyncio.Task[None]:
        return asyncio.create_task(director.follow())

    director.task = loop.run(follow())  # type: ignore[attr-defined]
    return director


def stopped(director: Director) -> None:
    async def stop() -> None:
        director.task.cancel()  # type: ignore[attr-defined]
        with suppress(asyncio.CancelledError):
            await director.task  # type: ignore[attr-defined]
        await director.network.close()

    director.loop.run(stop())
    director.loop.close()


@pytest.fixture
def director(hosts: tuple[Host, ...]) -> Iterator[Director]:
    made = started(hosts[0])
    yield made
    stopped(made)


@pytest.fixture
def peer(hosts: tuple[Host, ...]) -> Host:
    return hosts[1]


def gratuitous_arp(host: Host, address: str) -> None:
    host.run(f"arping -U -c 1 -I eth0 {address}")


# Links


def test_link_existing_tells_what_the_kernel_has(director: Director) -> None:
    assert director.link.mac == director.host.mac
    assert director.link.addresses == (IPv4Interface("10.77.0.1/24"),)
    assert director.link.is_up
    assert director.link.mtu == 1500


def test_link_unknown_error_names_it_and_those_that_exist(director: Director) -> None:
    with pytest.raises(NetworkError) as caught:
        director.loop.run(director.network.link("eth7"))
    assert "eth7" in caught.value.message
    assert "eth0, lo" in caught.value.hint


def test_link_going_down_and_up_is_told(director: Director) -> None:
    director.host.run("ip link set eth0 down")
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.host.run("ip link set eth0 up")
    eventually(lambda: (link := director.last_link_event()) and link.is_up)


def test_link_new_mac_and_address_are_told(director: Director) -> None:
    director.host.set_mac("02:00:00:00:0a:0a")
    director.host.run("ip addr add 10.78.0.1/24 dev eth0")
    link = eventually(lambda: (link := director.last_link_event()) and len(link.addresses) == 2 and link)
    assert link.mac == bytes.fromhex("020000000a0a")
    assert IPv4Interface("10.78.0.1/24") in link.addresses


def test_link_removed_is_told_as_none(director: Director) -> None:
    director.host.run("ip link del eth0")
    eventually(lambda: LinkChanged(ifindex=director.link.ifindex, link=None) in director.events)


# Neighbours


def test_manage_neighbour_cold_is_resolved_and_flagged(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    shown = director.host.run(f"ip neigh show {peer.address}")
    assert "managed extern_learn" in shown
    director.manage(peer.address)
    assert director.host.run("ip neigh show").count(peer.address) == 1


def test_manage_neighbour_failed_before_is_resolved(director: Director, peer: Host) -> None:
    director.host.set_sysctl("net.ipv4.neigh.eth0.retrans_time_ms", 50)
    peer.run("ip link set eth0 down")
    director.host.run(f"ip neigh replace {peer.address} dev eth0 use nud none")
    director.await_entry(peer.address, lambda entry: entry.state == "failed")
    peer.run("ip link set eth0 up")
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)


def test_manage_neighbour_permanent_is_left_alone(director: Director, peer: Host) -> None:
    pinned = f"{peer.address} dev eth0 lladdr 02:00:00:00:00:99"
    director.host.run(f"ip neigh add {pinned} nud permanent")
    director.manage(peer.address)
    assert f"{pinned} PERMANENT" in director.host.run("ip neigh show")
    director.loop.run(director.network.release_neighbour(director.link.ifindex, IPv4Address(peer.address)))
    assert f"{pinned} PERMANENT" in director.host.run("ip neigh show")


def test_release_neighbour_managed_is_deleted_and_stays_so(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    for _ in range(2):
        director.loop.run(director.network.release_neighbour(director.link.ifindex, IPv4Address(peer.address)))
    director.await_entry(peer.address, lambda entry: entry.state == "deleted" and entry.mac is None)
    assert peer.address not in director.host.run("ip neigh show")


def test_manage_neighbour_unknown_interface_is_refused(director: Director) -> None:
    with pytest.raises(NetworkError, match="index 4711"):
        director.loop.run(director.network.manage_neighbour(4711, VIP))


def test_events_first_tell_the_neighbours_that_exist(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    second = started(director.host)
    try:
        second.await_mac(peer.address, peer.mac)
    finally:
        stopped(second)


def test_mac_change_with_gratuitous_arp_is_told(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    peer.set_mac("02:00:00:00:00:77")
    gratuitous_arp(peer, peer.address)
    director.await_mac(peer.address, bytes.fromhex("020000000077"))


def test_mac_change_without_a_word_is_found(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    peer.set_mac("02:00:00:00:00:78")
    director.await_mac(peer.address, bytes.fromhex("020000000078"))
    assert "managed extern_learn" in director.host.run(f"ip neigh show {peer.address}")


def test_mac_change_that_the_kernel_ignores_for_its_locktime_is_found(director: Director, peer: Host) -> None:
    an_hour_of_ticks = 360_000
    director.host.set_sysctl("net.ipv4.neigh.eth0.locktime", an_hour_of_ticks)
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    peer.set_mac("02:00:00:00:00:79")
    director.await_mac(peer.address, bytes.fromhex("020000000079"))
    assert "managed extern_learn" in director.host.run(f"ip neigh show {peer.address}")


def test_peer_vanished_is_told_as_failed_and_its_return_as_usable(hosts: tuple[Host, ...]) -> None:
    peer = hosts[1]
    hosts[0].set_sysctl("net.ipv4.neigh.eth0.retrans_time_ms", 100)
    director = started(hosts[0], confirm_interval_s=0.05)
    try:
        director.manage(peer.address)
        director.await_mac(peer.address, peer.mac)
        peer.run("ip link set eth0 down")
        failed = director.await_entry(peer.address, lambda entry: entry.state == "failed")
        assert (failed.mac, failed.usable) == (None, False)
        assert "managed extern_learn" in hosts[0].run(f"ip neigh show {peer.address}")
        peer.run("ip link set eth0 up")
        director.await_mac(peer.address, peer.mac)
    finally:
        stopped(director)


def test_managed_neighbour_returns_after_the_link_was_down(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    director.host.run("ip link set eth0 down")
    director.await_entry(peer.address, lambda entry: not entry.usable)
    director.host.run("ip link set eth0 up")
    director.await_mac(peer.address, peer.mac)
    assert "managed extern_learn" in director.host.run(f"ip neigh show {peer.address}")


def test_managed_neighbour_returns_after_the_carrier_was_lost(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    director.unplug()
    director.await_entry(peer.address, lambda entry: not entry.usable)
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.plug_in()
    director.await_mac(peer.address, peer.mac)


def test_managed_neighbour_returns_after_an_operator_flushed_it(director: Director, peer: Host) -> None:
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    told = len(director.events)
    director.host.run("ip neigh flush dev eth0")
    eventually(
        lambda: (
            len(director.events) > told
            and (entry := director.entry(peer.address))
            and entry.usable
            and "managed extern_learn" in director.host.run(f"ip neigh show {peer.address}")
        )
    )


def test_requests_at_the_same_time_do_not_disturb_each_other(director: Director, peer: Host) -> None:
    async def all_at_once() -> None:
        path = frozenset([director.path(0x11, peer, VIP)])
        await asyncio.gather(
            *(director.network.neighbours(director.link.ifindex) for _ in range(10)),
            *(director.network.link("eth0") for _ in range(10)),
            *(director.network.set_probe_paths(path) for _ in range(10)),
            *(director.network.manage_neighbour(director.link.ifindex, IPv4Address(peer.address)) for _ in range(10)),
        )

    director.loop.run(all_at_once())
    assert director.host.run("ip rule").count("fwmark") == 1


def test_events_flooded_beyond_the_buffer_end_with_the_truth(hosts: tuple[Host, ...]) -> None:
    director = started(hosts[0], receive_buffer_bytes=16_384)
    addresses = [f"10.77.0.{last}" for last in range(10, 210)]
    memory_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        flood = "".join(
            f"neigh replace {address} lladdr 02:00:00:00:00:{turn:02x} nud permanent dev eth0\n"
            for turn in range(1, 101)
            for address in addresses
        )
        hosts[0].run("ip -batch -", stdin=flood)
        last_mac = bytes.fromhex("020000000064")
        for address in addresses:
            director.await_mac(address, last_mac)
        assert director.network.overruns > 0
        hosts[0].run(f"ip neigh del {addresses[0]} dev eth0")
        director.await_entry(addresses[0], lambda entry: entry.state == "deleted")
    finally:
        stopped(director)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before_kib < 32 * 1024


# Probe paths


def rules_and_routes(host: Host) -> str:
    return host.run("ip rule") + host.run("ip route show table all")


def test_probe_paths_added_changed_removed_leave_no_trace(director: Director, hosts: tuple[Host, ...]) -> None:
    _, first, second, _ = hosts
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, first, VIP), director.path(0x12, second, VIP, OTHER_VIP))
    both = rules_and_routes(director.host)
    assert both.count("fwmark") == 2
    assert f"{VIP} via {first.address} dev eth0 table" in both
    assert f"{OTHER_VIP} via {second.address} dev eth0 table" in both

    director.set_paths(director.path(0x12, first, VIP))
    one = rules_and_routes(director.host)
    assert one.count("fwmark") == 1
    assert f"{VIP} via {first.address} dev eth0 table" in one
    assert second.address not in one
    assert str(OTHER_VIP) not in one

    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_set_again_change_nothing(director: Director, peer: Host) -> None:
    path = director.path(0x11, peer, VIP)
    director.set_paths(path)
    with closing(director.host.call(subscribed_to_routes)) as listener:
        director.set_paths(path)
        director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
        assert bytes([198, 51, 100, 0]) in listener.recv(4096), "the first change seen must be the marker, not lbctl's"


def subscribed_to_routes() -> socket.socket:
    ipv4_routes, ipv4_rules = 0x40, 0x80
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.settimeout(10)
    listener.bind((0, ipv4_routes | ipv4_rules))
    return listener


def test_probe_paths_of_an_earlier_run_are_removed(director: Director, peer: Host) -> None:
    director.set_paths(director.path(0x11, peer, VIP))
    second = started(director.host)
    try:
        second.set_paths(second.path(0x22, peer, VIP))
    finally:
        stopped(second)
    rules = director.host.run("ip rule")
    assert "0x22" in rules
    assert "0x11" not in rules


def test_probe_paths_other_peoples_rules_stay(director: Director, peer: Host) -> None:
    director.host.run("ip rule add fwmark 0x33 table 100 priority 108")
    director.host.run("ip rule add fwmark 0x34 table 1818361890 priority 200")
    director.host.run(f"ip route add {VIP} via {peer.address} table 100")
    director.host.run(f"ip route add {VIP} via {peer.address} table 1818361890")
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, peer, VIP))
    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_with_marks_that_collide_are_refused(director: Director, peer: Host) -> None:
    with pytest.raises(NetworkError, match="0x0011"):
        director.set_paths(director.path(0x11, peer, VIP), director.path(0x10011, peer, OTHER_VIP))


def serve_vip(host: Host) -> socket.socket:
    """Put the VIP on the loopback as a real server does, and answer every connection to it with the host's address."""
    host.set_sysctl("net.ipv4.conf.all.arp_ignore", 1)
    host.set_sysctl("net.ipv4.conf.all.arp_announce", 2)
    host.run(f"ip addr add {VIP}/32 dev lo")
    listener = host.call(lambda: socket.create_server((str(VIP), 104)))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(host.address.encode())

    threading.Thread(target=answer, daemon=True).start()
    return listener


def ask_vip(director: Director, mark: int) -> str:
    def connect() -> str:
        with socket.socket() as client:
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            client.connect((str(VIP), 104))
            return client.recv(100).decode()

    return director.host.call(connect)


def test_marked_connection_reaches_the_vip_on_the_backend_of_its_mark(
    director: Director, hosts: tuple[Host, ...]
) -> None:
    _, first, second, _ = hosts
    for host in hosts:
        host.run("ethtool -K eth0 tx off")
    with closing(serve_vip(first)), closing(serve_vip(second)):
        director.set_paths(director.path(0x11, first, VIP), director.path(0x12, second, VIP))
        assert [ask_vip(director, mark) for mark in (0x11, 0x12, 0x11)] == [
            first.address,
            second.address,
            first.address,
        ]
        director.set_paths(director.path(0x11, second, VIP))
        assert ask_vip(director, 0x11) == second.address


def test_marked_connection_with_its_link_down_goes_nowhere_else(director: Director, peer: Host) -> None:
    director.set_paths(director.path(0x11, peer, VIP))
    director.host.run("ip link set eth0 down")
    director.host.run("ip link add elsewhere type veth peer name far")
    director.host.run("ip addr add 10.77.0.200/24 dev elsewhere")
    director.host.run("ip link set elsewhere up")
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, 0x11)
    director.set_paths(director.path(0x11, peer, VIP))
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, 0x11)


# Announcements and duplicates


def arp_listener(host: Host) -> socket.socket:
    def open_it() -> socket.socket:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        listener.bind(("eth0", ETH_P_ARP))
        listener.settimeout(10)
        return listener

    return host.call(open_it)


def test_announce_is_seen_by_a_peer_as_gratuitous_arp(director: Director, peer: Host) -> None:
    with closing(arp_listener(peer)) as listener:
        director.loop.run(director.network.announce(director.link, VIP))
        frame = listener.recv(2048)
    assert frame[:6] == arp.BROADCAST
    assert arp.parse(frame) == arp.ArpPacket(
        operation=arp.REQUEST, sender_mac=director.link.mac, sender=VIP, target=VIP
    )


def test_announce_moves_the_vip_in_a_peers_cache(director: Director, peer: Host) -> None:
    peer.run(f"ip neigh add {VIP} lladdr 02:00:00:00:00:01 dev eth0 nud reachable")
    director.loop.run(director.network.announce(director.link, VIP))
    eventually(lambda: director.link.mac.hex(":") in peer.run(f"ip neigh show {VIP}"))


def test_announce_on_a_link_that_is_down_is_refused(director: Director) -> None:
    director.host.run("ip link set eth0 down")
    with pytest.raises(NetworkError, match=f"announce {VIP} on eth0"):
        director.loop.run(director.network.announce(director.link, VIP))


def test_find_duplicate_address_taken_tells_the_mac(director: Director, peer: Host) -> None:
    peer.run(f"ip addr add {VIP}/24 dev eth0")
    assert director.loop.run(director.network.find_duplicate(director.link, VIP)) == peer.mac


def test_find_duplicate_address_free_tells_none(director: Director, hosts: tuple[Host, ...]) -> None:
    with closing(arp_listener(hosts[1])) as listener:
        assert director.loop.run(director.network.find_duplicate(director.link, VIP)) is None
        seen = [arp.parse(listener.recv(2048)) for _ in range(3)]
    probe = arp.ArpPacket(operation=arp.REQUEST, sender_mac=director.link.mac, sender=arp.UNSPECIFIED, target=VIP)
    assert seen == [probe] * 3


def test_find_duplicate_own_address_is_no_conflict(director: Director) -> None:
    own = director.link.addresses[0].ip
    assert director.loop.run(director.network.find_duplicate(director.link, own)) is None


def test_find_duplicate_rival_that_probes_too_is_told(director: Director, peer: Host) -> None:
    rival = bytes.fromhex("020000000042")
    with closing(arp_listener(peer)) as wire:

        async def probe_against_a_rival() -> bytes | None:
            probing = asyncio.create_task(director.network.find_duplicate(director.link, VIP, spacing_s=5))
            await asyncio.to_thread(wire.recv, 2048)
            wire.send(arp.probe(mac=rival, address=VIP))
            return await probing

        assert director.loop.run(probe_against_a_rival()) == rival


# The contract, on the kernel and on its twin


@pytest.fixture(params=["kernel", "fake"])
def either(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A network with one peer that answers ARP, and the loop to run it in."""
    if request.param == "kernel":
        director: Director = request.getfixturevalue("director")
        peer: Host = request.getfixturevalue("peer")
        yield SimpleNamespace(
            run=director.loop.run, network=director.network, peer=IPv4Address(peer.address), peer_mac=peer.mac
        )
        return
    peer_address, peer_mac = IPv4Address("10.77.0.2"), bytes.fromhex("020000000002")
    link = Link(
        ifindex=2,
        name="eth0",
        mac=bytes.fromhex("020000000001"),
        addresses=(IPv4Interface("10.77.0.1/24"),),
        is_up=True,
        mtu=1500,
    )
    with asyncio.Runner() as runner:
        network = FakeNetwork([link], macs={peer_address: peer_mac})
        yield SimpleNamespace(run=runner.run, network=network, peer=peer_address, peer_mac=peer_mac)


async def entry_of(network: Network, address: IPv4Address) -> Neighbour | None:
    link = await network.link("eth0")
    return next((entry for entry in await network.neighbours(link.ifindex) if entry.address == address), None)


async def resolved(network: Network, address: IPv4Address) -> Neighbour:
    async with asyncio.timeout(10):
        while True:
            entry = await entry_of(network, address)
            if entry is not None and entry.usable:
                return entry
            await asyncio.sleep(0.01)  # the pause between two looks


async def first_news_of(network: Network, address: IPv4Address) -> Neighbour:
    async with asyncio.timeout(10):
        async for event in network.events():
            if isinstance(event, NeighbourChanged) and event.neighbour.address == address:
                return event.neighbour
    raise AssertionError("the stream ended")


def test_contract_managed_neighbour_is_resolved_and_released(either: SimpleNamespace) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        await either.network.manage_neighbour(link.ifindex, either.peer)
        await either.network.manage_neighbour(link.ifindex, either.peer)
        assert (await resolved(either.network, either.peer)).mac == either.peer_mac
        assert (await first_news_of(either.network, either.peer)).mac == either.peer_mac
        await either.network.release_neighbour(link.ifindex, either.peer)
        await either.network.release_neighbour(link.ifindex, either.peer)
        assert await entry_of(either.network, either.peer) is None

    either.run(scenario())


def test_contract_unknown_link_and_index_are_refused(either: SimpleNamespace) -> None:
    with pytest.raises(NetworkError, match="nic9"):
        either.run(either.network.link("nic9"))
    with pytest.raises(NetworkError, match="4711"):
        either.run(either.network.manage_neighbour(4711, either.peer))


def test_contract_free_vip_has_no_duplicate_and_can_be_announced(either: SimpleNamespace) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        assert await either.network.find_duplicate(link, VIP) is None
        await either.network.announce(link, VIP)

    either.run(scenario())

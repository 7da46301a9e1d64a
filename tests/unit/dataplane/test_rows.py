"""Rows and map entries: there and back, and the hashes by which user space places what the program looks up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import ROUTED, BackendRow, BackendState, InterfaceRow, Lan, PoolRow, ServiceKey
from lbctl.dataplane import rows
from lbctl.dataplane.addresses import wide_words
from lbctl.dataplane.connections import NO_LIMIT
from lbctl.dataplane.layout import (
    BACKEND,
    INTERFACE,
    INTERFACE_PROBES,
    INTERFACES,
    POOL,
    SERVICE_PROBES,
    SERVICE_ROWS,
)
from lbctl.errors import LayoutError

FIBONACCI = 0x9E3779B1
FIBONACCI_INVERSE = pow(FIBONACCI, -1, 1 << 32)

MACS = st.binary(min_size=6, max_size=6).filter(any)
ADDRESSES4 = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
ADDRESSES6 = st.integers(1 << 64, (1 << 128) - 1).map(IPv6Address)
"""Without those that have an IPv4 one in them, which are on no wire."""
ADDRESSES = ADDRESSES4 | ADDRESSES6
LANS = st.builds(Lan, st.integers(1, (1 << 31) - 1), st.integers(0, (1 << 24) - 1))
KEYS = st.builds(ServiceKey, vip=ADDRESSES, port=st.integers(0, 65_535), protocol=st.sampled_from(Protocol))
BACKENDS = st.builds(
    BackendRow,
    generation=st.integers(0, 65_535),
    identity=st.integers(0, (1 << 64) - 1),
    address=ADDRESSES,
    lan=LANS,
    state=st.sampled_from(BackendState),
    mac=st.none() | MACS,
)
LIMITS = st.just((0, 0)) | st.integers(1, NO_LIMIT - 1).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


def key_at(home: int, port: int, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    """A service whose first row is ``home``: the hash, backwards."""
    folded = (home << 17 | 5) * FIBONACCI_INVERSE & 0xFFFFFFFF
    high = rows.service_word(ServiceKey(vip=IPv4Address(0), port=port, protocol=protocol)) >> 32
    vip = IPv4Address((folded ^ high).to_bytes(4, "little"))
    return ServiceKey(vip=vip, port=port, protocol=protocol)


def colliding(home: int, count: int) -> list[int]:
    """The words of so many services with the same first row."""
    words = [rows.service_word(key_at(home, port)) for port in range(1, count + 1)]
    assert {rows.service_home(word) for word in words} == {home}
    return words


def placed(words: list[int]) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], list[int]]:
    """A table with these words put in one after the other, and where they went."""
    table, places = np.zeros(SERVICE_ROWS, np.uint64), []
    for word in words:
        place = rows.service_place(table, word)
        assert place is not None
        table[place] = word
        places.append(place)
    return table, places


# There and back ------------------------------------------------------------------------------------------------------


@given(st.none() | MACS)
def test_mac_there_and_back(mac: bytes | None) -> None:
    assert rows.mac_bytes(rows.mac_word(mac)) == mac


def test_mac_word_holds_the_bytes_as_a_frame_does() -> None:
    assert rows.mac_word(bytes.fromhex("0a0b0c0d0e0f")).to_bytes(8, "little") == bytes.fromhex("0a0b0c0d0e0f0000")


@given(BACKENDS, LIMITS)
def test_backend_there_and_back(found: BackendRow, limits: tuple[int, int]) -> None:
    row = replace(found, limit=limits[0], resume=limits[1])
    entry = np.zeros(1, BACKEND)
    entry["link"], entry["identity"] = rows.link_word(row), row.identity
    entry["address"], entry["lan"] = wide_words(row.address), rows.lan_word(row.lan)
    entry["state"], entry["is_limited"] = row.state, row.limit > 0

    assert rows.backend_row(entry[0], limit=row.limit or NO_LIMIT, resume=row.resume) == row


def test_backend_address_lies_in_memory_as_on_the_wire() -> None:
    entry = np.zeros(1, BACKEND)
    entry["address"] = wide_words(IPv4Address("192.0.2.11"))

    assert entry.tobytes()[24:40] == IPv6Address("::ffff:192.0.2.11").packed


def test_backend_in_a_state_that_nobody_knows_is_told_of_another_version() -> None:
    entry = np.zeros(1, BACKEND)
    entry["state"] = len(BackendState)

    with pytest.raises(LayoutError, match="a backend in state 6") as caught:
        rows.backend_row(entry[0], limit=0, resume=0)
    assert "lbctl detach" in caught.value.hint


@given(LANS)
def test_lan_there_and_back(lan: Lan) -> None:
    assert rows.lan_of(rows.lan_word(lan)) == lan


@pytest.mark.parametrize(
    ("lan", "word"),
    [(Lan(2), 2), (Lan(2, 20), 2 | 20 << 32), (Lan(3, 100 * 4096 + 20), 3 | 100 << 44 | 20 << 32), (ROUTED, 0)],
)
def test_lan_word_is_the_interface_and_above_it_the_vlan(lan: Lan, word: int) -> None:
    assert rows.lan_word(lan) == word


POOLS = st.builds(
    PoolRow,
    identity=st.integers(0, (1 << 64) - 1),
    base=st.integers(0, (1 << 32) - 1),
    size=st.integers(0, (1 << 32) - 1),
    on_empty=st.sampled_from(OnEmpty),
    is_private=st.booleans(),
)


@given(POOLS)
def test_pool_there_and_back(row: PoolRow) -> None:
    entry = np.zeros(1, POOL)
    entry["table"], entry["identity"] = rows.table_word(row), row.identity
    entry["on_empty"], entry["is_private"] = rows.on_empty_number(row.on_empty), row.is_private

    assert rows.pool_row(entry[0]) == row


@given(LANS, MACS, st.none() | ADDRESSES4.filter(int), st.none() | ADDRESSES6)
def test_interface_there_and_back(
    lan: Lan, mac: bytes, address: IPv4Address | None, address6: IPv6Address | None
) -> None:
    row = InterfaceRow(mac=mac, address=address, address6=address6)
    entry = np.array([rows.interface_entry(lan, row)], INTERFACE)

    assert (rows.interface_row(entry[0]), rows.lan_of(int(entry[0]["lan"]))) == (row, lan)


def test_interface_addresses_lie_in_memory_as_on_the_wire() -> None:
    row = InterfaceRow(mac=bytes(6), address=IPv4Address("192.0.2.10"), address6=IPv6Address("2001:db8::10"))
    memory = np.array([rows.interface_entry(Lan(1), row)], INTERFACE).tobytes()

    assert (memory[16:20], memory[24:40]) == (bytes((192, 0, 2, 10)), IPv6Address("2001:db8::10").packed)


@given(KEYS)
def test_service_key_there_and_back(key: ServiceKey) -> None:
    word = rows.service_word(key)
    numbers = {rows.vip_number(key.vip): key.vip} if isinstance(key.vip, IPv6Address) else {}

    assert rows.service_key(word, numbers.__getitem__) == key
    assert rows.is_service6(word) == bool(numbers)
    assert word != 0
    assert 0 <= rows.service_home(word) < SERVICE_ROWS


def test_service_word_lies_in_memory_as_vip_port_protocol_nought() -> None:
    key = ServiceKey(vip=IPv4Address("192.0.2.100"), port=11112, protocol=Protocol.UDP)

    assert rows.service_word(key).to_bytes(8, "little") == bytes((192, 0, 2, 100, 0x2B, 0x68, 17, 0))


def test_service_word_of_ipv6_has_the_number_of_the_vip_and_says_so() -> None:
    key = ServiceKey(vip=IPv6Address("2001:db8::100"), port=11112, protocol=Protocol.TCP)
    number = rows.vip_number(key.vip).to_bytes(4, "little")

    assert rows.service_word(key).to_bytes(8, "little") == number + bytes((0x2B, 0x68, 6, 6))


def test_vip_number_is_the_same_for_ever() -> None:
    """Services of an earlier version are found by it."""
    assert rows.vip_number(IPv4Address("192.0.2.100")) == 0x640200C0
    assert rows.vip_number(IPv6Address("2001:db8::100")) == 0x25231F14


@given(ADDRESSES6)
def test_vip_number_of_ipv6_is_never_nought(vip: IPv6Address) -> None:
    assert 0 < rows.vip_number(vip) < 1 << 32


@pytest.mark.parametrize("tail", [bytes((132, 0)), bytes((6, 4)), bytes((0, 6))])
def test_service_key_that_nobody_knows_is_told_of_another_version(tail: bytes) -> None:
    word = int.from_bytes(bytes((192, 0, 2, 100, 0, 104)) + tail, "little")

    with pytest.raises(LayoutError, match="a service with protocol number"):
        rows.service_key(word, IPv6Address)


# Where a service stands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", [0, 77, SERVICE_ROWS - 2, SERVICE_ROWS - 1])
def test_service_place_of_colliding_keys_is_one_behind_the_other_round_the_end(home: int) -> None:
    _, places = placed(colliding(home, SERVICE_PROBES))

    assert places == [(home + probe) % SERVICE_ROWS for probe in range(SERVICE_PROBES)]


def test_service_place_beyond_the_probes_is_none() -> None:
    table, _ = placed(colliding(SERVICE_ROWS - 1, SERVICE_PROBES))

    assert rows.service_place(table, colliding(SERVICE_ROWS - 1, SERVICE_PROBES + 1)[-1]) is None


def test_service_place_of_a_key_that_is_there_is_where_it_is_although_a_nearer_row_got_free() -> None:
    words = colliding(9, 3)
    table, places = placed(words)
    table[places[0]] = 0

    assert rows.service_place(table, words[2]) == places[2]


def test_service_place_freed_row_is_used_again() -> None:
    words = colliding(9, SERVICE_PROBES + 1)
    table, places = placed(words[:-1])
    table[places[1]] = 0

    assert rows.service_place(table, words[-1]) == places[1]


# Where a segment stands ----------------------------------------------------------------------------------------------


def colliding_lans(home: int, count: int) -> list[int]:
    """The words of so many segments with the same first row."""
    words = (rows.lan_word(Lan(ifindex, 20)) for ifindex in range(1, 1 << 16))
    found = [word for word in words if rows.interface_home(word) == home]
    return found[:count]


@given(LANS)
def test_interface_home_is_the_fibonacci_hash_of_the_folded_word(lan: Lan) -> None:
    assert rows.interface_home(rows.lan_word(lan)) == ((lan.ifindex ^ lan.vlan) * FIBONACCI % (1 << 32)) >> 22


@pytest.mark.parametrize("home", [0, 77, INTERFACES - 2, INTERFACES - 1])
def test_interface_place_of_colliding_segments_is_one_behind_the_other_round_the_end(home: int) -> None:
    *words, one_more = colliding_lans(home, INTERFACE_PROBES + 1)
    table = np.zeros(INTERFACES, np.uint64)
    for probe, word in enumerate(words):
        place = rows.interface_place(table, word)
        assert place == (home + probe) % INTERFACES
        table[place] = word

    assert rows.interface_place(table, one_more) is None
    table[(home + 1) % INTERFACES] = 0
    assert rows.interface_place(table, one_more) == (home + 1) % INTERFACES
    assert rows.interface_place(table, words[3]) == (home + 3) % INTERFACES

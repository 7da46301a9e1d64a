"""Rows and map entries: there and back, and the two hashes by which user space places what the program looks up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, PoolRow, ServiceKey
from lbctl.dataplane import rows
from lbctl.dataplane.connections import NO_LIMIT
from lbctl.dataplane.layout import BACKEND, CONNECTIONS, FILTER_WORDS, INTERFACE, POOL, SERVICE_PROBES, SERVICE_ROWS

FIBONACCI = 0x9E3779B1
FIBONACCI_INVERSE = pow(FIBONACCI, -1, 1 << 32)

MACS = st.binary(min_size=6, max_size=6).filter(any)
ADDRESSES = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
KEYS = st.builds(ServiceKey, vip=ADDRESSES, port=st.integers(0, 65_535), protocol=st.sampled_from(Protocol))
BACKENDS = st.builds(
    BackendRow,
    generation=st.integers(0, 65_535),
    identity=st.integers(0, (1 << 64) - 1),
    address=ADDRESSES,
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
    entry, connections = np.zeros(1, BACKEND), np.zeros(1, CONNECTIONS)
    entry["link"], entry["identity"] = rows.link_word(row), row.identity
    entry["address"], entry["state"], entry["is_limited"] = int(row.address), row.state, row.limit > 0
    connections["limit"], connections["resume"] = row.limit or NO_LIMIT, row.resume

    assert rows.backend_row(entry[0], connections[0]) == row


def test_backend_address_lies_in_memory_as_on_the_wire() -> None:
    entry = np.zeros(1, BACKEND)
    entry["address"] = int(IPv4Address("192.0.2.11"))

    assert entry.tobytes()[8:12] == bytes((192, 0, 2, 11))


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


@given(st.integers(1, (1 << 31) - 1), MACS, ADDRESSES)
def test_interface_there_and_back(ifindex: int, mac: bytes, address: IPv4Address) -> None:
    row = InterfaceRow(mac=mac, address=address)
    entry = np.array([rows.interface_entry(ifindex, row)], INTERFACE)

    assert (rows.interface_row(entry[0]), int(entry[0]["ifindex"])) == (row, ifindex)


@given(KEYS)
def test_service_key_there_and_back(key: ServiceKey) -> None:
    word = rows.service_word(key)

    assert rows.service_key(word) == key
    assert word != 0
    assert 0 <= rows.service_home(word) < SERVICE_ROWS


def test_service_word_lies_in_memory_as_vip_port_protocol_nought() -> None:
    key = ServiceKey(vip=IPv4Address("192.0.2.100"), port=11112, protocol=Protocol.UDP)

    assert rows.service_word(key).to_bytes(8, "little") == bytes((192, 0, 2, 100, 0x2B, 0x68, 17, 0))


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


# The filter ----------------------------------------------------------------------------------------------------------


@given(ADDRESSES)
def test_filter_bit_is_the_fibonacci_hash_of_the_address_in_memory(address: IPv4Address) -> None:
    word, bit = rows.filter_bit(address)

    assert word * 64 + bit == (int.from_bytes(address.packed, "little") * FIBONACCI % (1 << 32)) >> 16


@given(st.sets(ADDRESSES, max_size=20))
def test_filter_words_hold_the_bit_of_every_vip_and_no_other(vips: set[IPv4Address]) -> None:
    words = rows.filter_words(vips)
    expected = {rows.filter_bit(vip) for vip in vips}

    assert words.shape == (FILTER_WORDS,)
    assert {
        (i, bit) for i in np.flatnonzero(words).tolist() for bit in range(64) if int(words[i]) >> bit & 1
    } == expected

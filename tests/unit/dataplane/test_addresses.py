"""Addresses and the words that maps hold."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.model import Address
from lbctl.dataplane.addresses import address_field, count_by_address, decoded, narrow, wide_words, words_of
from lbctl.dataplane.layout import FLOW_KEY4, FLOW_KEY6

ADDRESSES4 = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
ADDRESSES6 = st.integers(1 << 64, (1 << 128) - 1).map(IPv6Address)
KEYS: dict[int, np.dtype[Any]] = {4: FLOW_KEY4, 6: FLOW_KEY6}


def column(addresses: list[Address], version: int) -> Any:
    """A field of map keys, between others, with these in it."""
    keys = np.zeros(len(addresses), KEYS[version])
    if addresses:
        keys["vip"] = [address_field(address) for address in addresses]
    return keys["vip"]


def test_words_are_big_endian_as_the_field_that_takes_them() -> None:
    assert words_of(bytes(range(8))) == (0x00010203, 0x04050607)


@given(ADDRESSES4 | ADDRESSES6)
def test_wide_field_holds_either_family(address: Address) -> None:
    memory = np.array(wide_words(address), ">u4").tobytes()

    assert len(memory) == 16
    assert narrow(memory) == address


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_decoded_column_is_what_was_put_in(version: int, data: st.DataObject) -> None:
    addresses: list[Address] = data.draw(st.lists(ADDRESSES4 if version == 4 else ADDRESSES6, max_size=8))

    assert decoded(column(addresses, version)) == addresses


@pytest.mark.parametrize("vips", [("192.0.2.100", "10.1.2.3"), ("2001:db8::100", "2001:db8:0:1::")])
@given(data=st.data())
def test_count_by_address_is_exact(vips: tuple[str, str], data: st.DataObject) -> None:
    kind: Any = IPv6Address if ":" in vips[0] else IPv4Address
    addresses: list[Address] = data.draw(st.lists(st.sampled_from([kind(vip) for vip in vips]), max_size=40))

    found = count_by_address(column(addresses, kind(vips[0]).version))

    assert found == {vip: addresses.count(vip) for vip in set(addresses)}

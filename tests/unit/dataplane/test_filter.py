"""The filter before the tables of VIPs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.model import Address
from lbctl.dataplane import rows
from lbctl.dataplane.layout import FILTER_WORDS

FIBONACCI = 0x9E3779B1
ADDRESSES4 = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
ADDRESSES6 = st.integers(0, (1 << 128) - 1).map(IPv6Address)
ADDRESSES = ADDRESSES4 | ADDRESSES6


@given(ADDRESSES4)
def test_filter_bit_is_the_fibonacci_hash_of_the_address_in_memory(address: IPv4Address) -> None:
    word, bit = rows.filter_bit(address)

    assert word * 64 + bit == (int.from_bytes(address.packed, "little") * FIBONACCI % (1 << 32)) >> 16


@given(ADDRESSES6)
def test_filter_bit_of_ipv6_is_a_sum_over_its_words_in_memory(address: IPv6Address) -> None:
    word, bit = rows.filter_bit(address)
    factors = (FIBONACCI, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)
    in_memory = (int.from_bytes(address.packed[at : at + 4], "little") for at in (0, 4, 8, 12))

    assert word * 64 + bit == sum(map(int.__mul__, in_memory, factors)) % (1 << 32) >> 16


@given(st.sets(ADDRESSES, max_size=20))
def test_filter_words_hold_the_bit_of_every_vip_and_no_other(vips: set[Address]) -> None:
    words = rows.filter_words(vips)
    expected = {rows.filter_bit(vip) for vip in vips}

    assert words.shape == (FILTER_WORDS,)
    assert {
        (i, bit) for i in np.flatnonzero(words).tolist() for bit in range(64) if int(words[i]) >> bit & 1
    } == expected


@given(st.sets(ADDRESSES, min_size=1, max_size=20))
def test_filter_word_of_the_vips_in_it_is_that_of_the_whole_filter(vips: set[Address]) -> None:
    word, _ = rows.filter_bit(next(iter(vips)))
    there = {vip for vip in vips if rows.filter_bit(vip)[0] == word}

    assert rows.filter_word(there) == int(rows.filter_words(vips)[word])
    assert rows.filter_word([]) == 0

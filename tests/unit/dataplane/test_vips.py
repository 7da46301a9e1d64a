"""The numbers that stand for IPv6 VIPs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from lbctl.dataplane import rows
from lbctl.dataplane.vips import Numbers
from lbctl.errors import KernelError

VIP, OTHER = IPv6Address("2001:db8::100"), IPv6Address("2001:db8::101")


def test_numbers_that_were_learnt_lead_back_to_the_vip() -> None:
    numbers = Numbers()

    assert [numbers.learn(vip) for vip in (VIP, OTHER, VIP)] == [rows.vip_number(vip) for vip in (VIP, OTHER, VIP)]
    assert numbers.vip6(rows.vip_number(OTHER)) == OTHER
    assert rows.vip_number(VIP) in numbers


def test_numbers_do_not_know_what_nobody_told_them_nor_what_needs_none() -> None:
    numbers = Numbers()
    number = numbers.learn(IPv4Address("192.0.2.100"))

    assert number not in numbers
    with pytest.raises(KeyError):
        numbers.vip6(rows.vip_number(VIP))


def test_numbers_that_are_the_same_for_two_vips_are_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "vip_number", lambda vip: 7)
    numbers = Numbers()
    numbers.learn(VIP)

    with pytest.raises(KernelError, match="VIPs 2001:db8::101 and 2001:db8::100 cannot be told apart") as caught:
        numbers.learn(OTHER)
    assert "another address" in caught.value.hint
    assert numbers.vip6(7) == VIP

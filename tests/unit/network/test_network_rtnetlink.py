"""The bytes of route netlink, written and read."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import NLM_F_ACK_TLVS, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from lbctl.network.policy import Route, route_replacement
from lbctl.network.rtnetlink import Message, Request, attribute, attributes, messages, number_attribute, number_of


def refusal_of(message: Message) -> tuple[int, str] | None:
    error = message.refusal
    return (error.code, error.args[-1]) if error else None


def error(code: int, words: bytes = b"") -> Message:
    told = attribute(1, words + b"\0") if words else b""
    body = struct.pack("=i", -code) + bytes(16) + told
    return Message(kind=NLMSG_ERROR, flags=NLM_F_ACK_TLVS if words else 0, number=7, body=body)


@given(st.dictionaries(st.integers(1, 100), st.binary(max_size=9)))
def test_attributes_are_read_as_they_were_written(told: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, value) for kind, value in told.items())) == told


@given(st.integers(0, 0xFFFF_FFFF))
def test_number_is_read_as_it_was_written(number: int) -> None:
    assert number_of(attributes(number_attribute(3, number))[3]) == number


def test_number_of_more_than_32_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        number_of(bytes(5))


def test_request_is_what_pyroute2_reads() -> None:
    vip, via = bytes([192, 0, 2, 100]), bytes([192, 0, 2, 11])
    request = route_replacement(Route(table=0x6C62_0001, vip=vip, metric=7, via=via, ifindex=3))
    told = rtmsg(request.packed(number=9))
    told.decode()
    assert (told["header"]["sequence_number"], told["dst_len"], told["proto"]) == (9, 32, 0x6C)
    names = ("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_TABLE", "RTA_PRIORITY")
    assert [told.get_attr(name) for name in names] == ["192.0.2.100", "192.0.2.11", 3, 0x6C62_0001, 7]


def test_messages_of_one_datagram_are_read_one_by_one() -> None:
    requests = [Request(kind=kind, flags=1, body=bytes(4 * kind)) for kind in (20, 21)]
    data = b"".join(request.packed(number=number) for number, request in enumerate(requests))
    assert [(each.number, each.kind, each.body) for each in messages(data)] == [(0, 20, bytes(80)), (1, 21, bytes(84))]


@pytest.mark.parametrize("data", [b"\1", bytes(16), struct.pack("=IHHII", 17, 1, 0, 0, 0), struct.pack("=I", 15) * 4])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|length"):
        tuple(messages(data))


@pytest.mark.parametrize("data", [b"\1", struct.pack("=HH", 3, 1), struct.pack("=HH", 5, 1)])
def test_bytes_that_are_no_attribute_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|length"):
        attributes(data)


def test_refusal_has_the_kernels_words_or_those_for_its_code() -> None:
    assert refusal_of(error(errno.EINVAL, b"IPv6 is disabled on nexthop device")) == (
        errno.EINVAL,
        "IPv6 is disabled on nexthop device",
    )
    assert refusal_of(error(errno.ESRCH)) == (errno.ESRCH, "No such process")
    assert refusal_of(error(0)) is None


def test_dump_that_ends_in_an_error_is_refused() -> None:
    done = Message(kind=NLMSG_DONE, flags=0, number=0, body=struct.pack("=i", -errno.EPERM))
    assert done.is_last
    assert refusal_of(done) == (errno.EPERM, "Operation not permitted")

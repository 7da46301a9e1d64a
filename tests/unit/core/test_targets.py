"""What a command is about, as people write it."""

from __future__ import annotations

import string
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.targets import Host, OneBackend, Target, WholePool, backends_of, named, typed
from lbctl.errors import UsageError
from tests.unit.core.declarations import declaration

NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=63).filter(
    lambda name: name[0].isalpha()
)
TARGETS: st.SearchStrategy[Target] = st.one_of(
    st.builds(OneBackend, NAMES, NAMES), st.builds(WholePool, NAMES), st.builds(Host, st.ip_addresses())
)
TWO = declaration({"archives": {"pacs1": 11, "pacs2": 12}, "portal": {"web1": 11}})


@given(target=TARGETS)
def test_target_that_is_typed_is_understood_as_itself(target: Target) -> None:
    assert named(typed(target)) == target


@pytest.mark.parametrize("text", ["", "/", "p/", "/a", "p/a/b", "p//a"])
def test_target_that_is_nothing_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        named(text)
    assert repr(text) in caught.value.message
    assert "POOL/BACKEND, the name of a pool, or the address of a host" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("archives/pacs2", ["archives/pacs2"]),
        ("archives", ["archives/pacs1", "archives/pacs2"]),
        ("192.0.2.11", ["archives/pacs1", "portal/web1"]),
        ("192.0.2.13", []),
        ("2001:db8::11", []),
        ("pacs1", []),
    ],
)
def test_target_means_these_backends_in_the_order_of_the_file(text: str, labels: list[str]) -> None:
    assert [backend.label for backend in backends_of(named(text), TWO)] == labels


def test_target_that_is_an_address_is_a_host_in_whatever_way_it_is_written() -> None:
    assert named("2001:0DB8::0011") == Host(ip_address("2001:db8::11"))
    assert [str(named(text)) for text in ("p/a", "p", "192.0.2.1")] == ["p/a", "pool p", "host 192.0.2.1"]

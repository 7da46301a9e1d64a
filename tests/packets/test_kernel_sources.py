"""The real data plane's lists of sources."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest

from lbctl.core.plan import SetSources
from lbctl.core.tables import Sources
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.sources import source_key
from tests.packets.frames import CLIENT
from tests.packets.rig import Rig

SOURCES: Sources = {
    IPv4Network("0.0.0.0/0"): 3,
    IPv4Network("10.0.0.0/8"): 0,
    IPv4Network("10.1.2.3/32"): 7,
    IPv6Network("::/0"): 1,
    IPv6Network("2001:db8::/32"): 0,
}


def test_sources_are_read_as_they_were_written_and_one_list_is_not_anothers(fresh_rig: Rig) -> None:
    wanted: dict[int, Sources] = {
        1: SOURCES,
        2: {IPv4Network("10.0.0.0/8"): 9},
        65_535: {IPv6Network("2001:db8::/32"): 5},
    }
    for number, sources in wanted.items():
        fresh_rig.dataplane.write(SetSources(number=number, before=None, after=sources))

    assert fresh_rig.dataplane.read().sources == wanted

    fresh_rig.dataplane.write(SetSources(number=1, before=SOURCES, after=None))
    assert fresh_rig.dataplane.read().sources == {number: wanted[number] for number in (2, 65_535)}


def test_sources_of_thousands_of_prefixes_are_written_and_read_whole(fresh_rig: Rig) -> None:
    many: Sources = {IPv4Network((0x0A000000 + number * 256, 24)): number & 0x3FF for number in range(20_000)}
    fresh_rig.dataplane.write(SetSources(number=4, before=None, after=many))

    assert fresh_rig.dataplane.read().sources == {4: many}


@pytest.mark.parametrize(
    ("source", "pool"),
    [("10.1.2.3", 7), ("10.1.2.4", 0), ("198.51.100.1", 3), ("2001:db8::7", 0), ("2001:db9::7", 1)],
)
def test_source_finds_the_longest_prefix_that_it_has(fresh_rig: Rig, source: str, pool: int) -> None:
    """As the program looks it up: a host within a list."""
    fresh_rig.dataplane.write(SetSources(number=5, before=None, after=SOURCES))
    fresh_rig.dataplane.write(SetSources(number=6, before=None, after={IPv4Network(f"{CLIENT}/32"): 8}))
    host = ip_network(source)
    name = f"lb_sources{host.version}"
    trie = HashMap(fresh_rig.loaded.maps[name], MAPS[name])

    found = trie.get(source_key(5, host))

    assert found is not None
    assert int(found["pool"][0]) == pool
    assert trie.get(source_key(9, host)) is None

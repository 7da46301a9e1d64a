"""Good files: interfaces, families, VLANs, how VIPs are announced, who may come, and classes of connections."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_network
from pathlib import Path

import pytest

from lbctl.config.describe import describe, warnings
from lbctl.config.loader import load, parse
from lbctl.core.model import Announce, AttachMode, Declaration, TrafficClass
from tests.unit.config.rows import GOOD
from tests.unit.config.rows_families import GOOD6

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"

TWO_NICS = """\
interfaces:
  eth0: {address: 192.0.2.10/24, address6: 2001:db8::10/64}
  eth0.20: {address: 198.51.100.10/24, mode: generic}
  eth1.100.20: {address6: 2001:db8:1::10/64}
services:
  web: {vip: 192.0.2.100, preset: https, pool: servers}
  web6: {vip: 2001:db8::100, preset: https, pool: servers6}
pools:
  servers: {kind: web, fallback: spare, backends: {web1: {address: 198.51.100.11}}}
  spare: {kind: web, backends: {web2: {address: 192.0.2.12}}}
  servers6: {kind: web, backends: {web1: {address: 2001:db8:1::11}, web2: {address: 2001:db8::12}}}
"""

CLASSED = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services: {pacs: {vip: 192.0.2.100, preset: dicom, pool: archives}}
classes:
  scanners: {sources: [10.20.0.0/16, 2001:db8:20::/48]}
  storage: {sources: [10.20.0.0/16], ports: [104]}
  queries: {ports: [11112]}
pools:
  archives:
    kind: archive
    storage: shared
    classes:
      scanners: {pacs1: 200, pacs3: 0}
      storage: {pacs1: 0}
      queries: {pacs2: 0}
    backends:
      pacs1: {address: 192.0.2.11}
      pacs2: {address: 192.0.2.12}
      pacs3: {address: 192.0.2.13, weight: 0}
"""


def declaration(text: str) -> Declaration:
    return parse(text, source="lbctl.yaml")


def described(text: str) -> list[str]:
    return [line.strip() for line in describe(declaration(text))]


def with_vip(text: str) -> Declaration:
    return declaration(GOOD.replace("    vip: 192.0.2.100", f"    {text}"))


def test_file_of_ipv6_gives_a_declaration_of_ipv6() -> None:
    found = declaration(GOOD6)
    assert found.interfaces[0].address == IPv4Interface("192.0.2.10/24")
    assert found.interfaces[0].address6 == IPv6Interface("2001:db8::10/64")
    assert (found.services[0].vip, found.services[0].interface) == (IPv6Address("2001:db8::100"), "eth0")
    assert [backend.address for backend in found.backends()] == [
        IPv6Address("2001:db8::11"),
        IPv6Address("2001:db8::12"),
    ]
    assert (found.has_ipv6, found.pools[0].version) == (True, 6)


def test_interface_with_an_ipv6_address_only_is_good() -> None:
    (interface,) = declaration(GOOD6.replace("    address: 192.0.2.10/24\n", "")).interfaces
    assert (interface.address, interface.address6) == (None, IPv6Interface("2001:db8::10/64"))


@pytest.mark.parametrize("written", ["2001:DB8::100", "2001:0db8:0:0::0100", '"2001:db8::0:100"'])
def test_ipv6_address_written_otherwise_is_the_same(written: str) -> None:
    assert declaration(GOOD6.replace("2001:db8::100", written)) == declaration(GOOD6)


@pytest.mark.parametrize("address", ["fd00:20::11", "2001:db8:ffff::11", "fd12:3456:789a::11"])
def test_unique_local_and_global_addresses_are_good(address: str) -> None:
    text = GOOD6.replace("services:", "  eth1: {address6: 'fd00::1/8'}\nservices:")
    text = text.replace("2001:db8::10/64", "2001:db8::10/32").replace("2001:db8::11", address)
    assert [str(backend.address) for backend in declaration(text).backends()] == [address, "2001:db8::12"]


def test_subnet_of_two_addresses_has_no_ends() -> None:
    text = GOOD6.replace("services:", "  eth1: {address6: '2001:db8:7::1/127'}\nservices:")
    found = declaration(text.replace("2001:db8::12", '"2001:db8:7::"'))
    assert [backend.interface for backend in found.backends()] == ["eth0", "eth1"]


def test_vip_and_backends_may_be_on_different_interfaces() -> None:
    found = declaration(TWO_NICS)
    assert [service.interface for service in found.services] == ["eth0", "eth0"]
    assert [backend.interface for backend in found.backends()] == ["eth0.20", "eth0", "eth1.100.20", "eth0"]
    assert warnings(found) == ()


def test_interfaces_of_one_nic_have_the_mode_that_one_of_them_demands() -> None:
    assert [interface.mode for interface in declaration(TWO_NICS).interfaces] == [
        AttachMode.GENERIC,
        AttachMode.GENERIC,
        AttachMode.AUTO,
    ]


@pytest.mark.parametrize("name", ["eth0.1", "eth0.4094", "eth0.4094.1", "bond0.20", "ens1f0.20", "vlan20", "br-lan.x"])
def test_names_of_interfaces_and_their_vlans_are_good(name: str) -> None:
    assert declaration(GOOD.replace("eth0", name)).interfaces[0].name == name


def test_service_left_plain_is_announced_by_arp_and_lets_everybody_in() -> None:
    (service,) = declaration(GOOD).services
    assert (service.announce, service.allow) == (Announce.ARP, ())


def test_routed_vip_needs_no_subnet_and_stands_where_its_pool_is() -> None:
    (service,) = with_vip("vip: 203.0.113.1\n    announce: routed").services
    assert (service.vip, service.announce, service.interface) == (IPv4Address("203.0.113.1"), Announce.ROUTED, "eth0")
    text = TWO_NICS.replace("2001:db8::100,", "'2001:db8:9::', announce: routed,")
    assert declaration(text).services[1].interface == "eth1.100.20"


def test_routed_vip_in_a_subnet_is_warned_of() -> None:
    assert warnings(with_vip("vip: 203.0.113.1\n    announce: routed")) == ()
    (warning,) = warnings(with_vip("vip: 192.0.2.100\n    announce: routed"))
    assert warning.startswith("service pacs: vip 192.0.2.100 is routed, but in the subnet of eth0: ")


def test_allowed_sources_are_prefixes_and_single_addresses() -> None:
    (service,) = with_vip("vip: 192.0.2.100\n    allow: [10.20.0.0/16, 192.0.2.7, 0.0.0.0/0]").services
    assert service.allow == (IPv4Network("10.20.0.0/16"), IPv4Network("192.0.2.7/32"), IPv4Network("0.0.0.0/0"))
    text = GOOD6.replace("    preset:", "    allow:\n    - ::/0\n    - 2001:DB8:7::1\n    - fe80::/10\n    preset:")
    assert declaration(text).services[0].allow == tuple(map(IPv6Network, ("::/0", "2001:db8:7::1/128", "fe80::/10")))


def test_classes_are_as_written_and_pools_have_their_weights() -> None:
    found = declaration(CLASSED)
    scanners = tuple(map(ip_network, ("10.20.0.0/16", "2001:db8:20::/48")))
    assert found.classes == (
        TrafficClass(name="scanners", sources=scanners),
        TrafficClass(name="storage", sources=(IPv4Network("10.20.0.0/16"),), ports=(104,)),
        TrafficClass(name="queries", ports=(11112,)),
    )
    assert found.pools[0].class_weights == {
        "scanners": {"pacs1": 200, "pacs3": 0},
        "storage": {"pacs1": 0},
        "queries": {"pacs2": 0},
    }


def test_pool_without_classes_has_none() -> None:
    assert (declaration(GOOD).classes, declaration(GOOD).pools[0].class_weights) == ((), {})


@pytest.mark.parametrize(
    "classes",
    [
        "{a: {sources: [10.0.0.0/8]}, b: {sources: [10.20.0.0/16]}}",
        "{a: {sources: [10.0.0.0/8]}, b: {sources: [10.0.0.0/8], ports: [104]}}",
        "{a: {sources: [10.0.0.0/8], ports: [104]}, b: {sources: [10.0.0.0/8], ports: [11112]}}",
        "{a: {sources: [2001:db8::/32, 10.0.0.0/8]}, b: {sources: [2001:db8::/32, 192.0.2.0/24]}}",
    ],
    ids=["longer-prefix", "names-the-port", "other-ports", "equal-in-the-other-family"],
)
def test_classes_of_which_one_goes_first_are_good(classes: str) -> None:
    text = GOOD.replace("pools:\n", f"classes: {classes}\npools:\n")
    text = text.replace("    kind:", "    classes: {a: {pacs1: 0}, b: {pacs2: 0}}\n    kind:")
    assert [found.name for found in declaration(text).classes] == ["a", "b"]


def test_classes_with_one_prefix_in_different_pools_are_good() -> None:
    text = GOOD.replace("pools:\n", "classes: {a: {ports: [104]}, b: {ports: [104]}}\npools:\n")
    text = text.replace("    kind:", "    classes: {a: {pacs1: 0}}\n    kind:").replace(
        "services:\n", "services:\n  o: {OTHER}\n"
    )
    text = text.replace("OTHER", "vip: 192.0.2.101, ports: [104], pool: other")
    text += "  other: {kind: other, classes: {b: {x: 5}}, backends: {x: {address: 192.0.2.13}}}\n"
    assert [list(pool.class_weights) for pool in declaration(text).pools] == [["a"], ["b"]]


def test_describe_names_both_families_of_an_interface_and_the_family_of_a_pool() -> None:
    lines = described(TWO_NICS)
    assert "eth0: 192.0.2.10/24, 2001:db8::10/64, XDP mode generic" in lines
    assert "web6: 2001:db8::100 tcp 443 on eth0 -> servers6, idle limit 1h" in lines
    assert "servers6: web, balance, 2 IPv6 backends, reset on down: transport" in lines


def test_describe_flow_tables_counts_ipv6_where_it_is_used() -> None:
    assert "flow tables: 131,072 TCP and 65,536 UDP flows, 22 MB of kernel memory" in described(GOOD)
    both = "flow tables: 131,072 TCP and 65,536 UDP flows for IPv4, as many for IPv6, 49 MB of kernel memory"
    assert both in described(GOOD6)


def test_describe_service_says_that_it_is_routed_and_who_may_come() -> None:
    lines = described(
        GOOD.replace(
            "    vip: 192.0.2.100", "    vip: 203.0.113.1\n    announce: routed\n    allow: [10.0.0.0/8, 192.0.2.7]"
        )
    )
    at = lines.index("pacs: 203.0.113.1 tcp 104, 11112 routed -> archives, idle limit 1h")
    assert lines[at + 1] == "only from 10.0.0.0/8, 192.0.2.7/32"


def test_describe_classes_tells_who_is_in_them_and_their_shares() -> None:
    lines = described(CLASSED)
    at = lines.index("classes")
    assert lines[at + 1 : at + 4] == [
        "scanners: from 10.20.0.0/16, 2001:db8:20::/48 to any port",
        "storage: from 10.20.0.0/16 to port 104",
        "queries: from anywhere to port 11112",
    ]
    assert "class scanners: pacs1 weight 200 (67%), pacs2 weight 100 (33%), pacs3 weight 0 (0%)" in lines
    assert "class storage: pacs1 weight 0 (0%), pacs2 weight 100 (100%), pacs3 weight 0 (0%)" in lines


def test_servers_in_pools_of_both_families_are_looked_at_in_order() -> None:
    text = TWO_NICS.replace("spare: {kind: web,", "spare: {kind: web, connection_limit: 5,")
    text = text.replace("web1: {address: 198.51.100.11}", "web1: {address: 198.51.100.11}, web3: {address: 192.0.2.12}")
    (warning,) = warnings(declaration(text))
    assert warning.startswith("192.0.2.12 is in pools servers and spare: ")


def test_example_of_a_hospital_shows_a_vlan_an_allow_list_and_a_class() -> None:
    found = load(EXAMPLES / "hospital.yaml")
    assert any("." in interface.name for interface in found.interfaces)
    assert any(service.allow for service in found.services)
    assert any(pool.class_weights for pool in found.pools)
    assert warnings(found) == ()


def test_example_of_ipv6_serves_both_families() -> None:
    found = load(EXAMPLES / "ipv6.yaml")
    assert {service.vip.version for service in found.services} == {4, 6}
    assert warnings(found) == ()

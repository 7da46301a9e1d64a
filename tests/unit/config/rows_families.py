"""Mistakes of IPv6 addresses, and of what must be of one address family."""

from __future__ import annotations

from tests.unit.config.rows import MARK, Wrong, whole

GOOD6 = """\
interfaces:
  eth0:
    address: 192.0.2.10/24
    address6: 2001:db8::10/64
services:
  pacs:
    vip: 2001:db8::100
    preset: dicom
    pool: archives
pools:
  archives:
    kind: archive
    storage: shared
    backends:
      pacs1: {address: 2001:db8::11}
      pacs2: {address: 2001:db8::12}
"""


def _edited(id_: str, old: str, new: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """A row from the good file of IPv6 with one passage replaced."""
    assert GOOD6.count(old) == 1, f"{id_}: {old!r} must stand in the good file once"
    return whole(id_, GOOD6.replace(old, new), says=says, hint=hint)


def _own(id_: str, address: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return _edited(id_, "2001:db8::10/64", f"{MARK}{address}", says=says, hint=hint)


def _vip(id_: str, address: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return _edited(id_, "2001:db8::100", f"{MARK}{address}", says=says, hint=hint)


def _backend(id_: str, address: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return _edited(id_, "2001:db8::12", f"{MARK}{address}", says=says, hint=hint)


_DUAL = """\
interfaces:
  eth0: {address: 192.0.2.10/24, address6: 2001:db8::10/64}
services:
  pacs: {vip: 192.0.2.100, preset: dicom, pool: archives}
pools:
  archives: {kind: archive, storage: shared, fallback: §spare, backends: {pacs1: {address: 192.0.2.11}}}
  spare: {kind: archive, storage: shared, backends: {old: {address: 2001:db8::30}}}
"""

_ONLY_IPV4 = """\
interfaces:
  eth0: {address: 192.0.2.10/24}
services:
  pacs: {vip: 2001:db8:9::100, announce: routed, preset: dicom, pool: archives}
pools:
  archives: {kind: archive, storage: shared, backends: {pacs1: {address: §2001:db8::11}}}
"""

ROWS: tuple[Wrong, ...] = (
    _own("interface6-without-prefix", "2001:db8::10", says=("lacks the prefix length",), hint="2001:db8::10/64"),
    _own(
        "interface6-ipv4",
        "192.0.2.11/24",
        says=("interface eth0", "is an IPv4 address"),
        hint="write it as 'address: …'",
    ),
    _own("interface6-not-an-address", "2001:db8::1::2/64", says=("is not an IPv6 address with",), hint="::10/64"),
    _own(
        "interface6-link-local",
        "fe80::10/64",
        says=("link-local address (fe80::/10)",),
        hint="unique local one (fd00::/8",
    ),
    _own("interface6-scope", "fe80::10%eth0/64", says=("has a scope id",), hint="needs no scope id"),
    _own("interface6-host-prefix", "2001:db8::10/128", says=("leaves no subnet",), hint="prefix length"),
    _own("interface6-anycast", "2001:db8::/64", says=("subnet-router anycast address",), hint="2001:db8::1/64"),
    _edited(
        "interfaces6-overlap",
        "services:\n",
        "  eth1:\n    address6: §2001:db8:0:0:8000::10/65\nservices:\n",
        says=("interface eth1", "overlaps eth0's 2001:db8::/64 (line 4)"),
        hint="of its own",
    ),
    _vip("vip6-not-an-address", "2001:db8::g", says=("is not an IPv6 address",), hint="2001:db8::100"),
    _vip("vip6-link-local", "fe80::100", says=("service pacs: vip", "is a link-local"), hint="no router takes"),
    _vip("vip6-scope", "fe80::100%eth0", says=("'fe80::100%eth0' has a scope id",), hint="needs no scope id"),
    _vip("vip6-multicast", "ff02::100", says=("is a multicast address (ff00::/8)",), hint="unicast"),
    _vip("vip6-loopback", "::1", says=("is the loopback address",), hint="unique local"),
    _vip("vip6-unspecified", '"::"', says=("is the unspecified address",), hint="unique local"),
    _edited("vip6-ends-with-a-colon", "2001:db8::100", "2001:db8:§:", says=("not YAML",), hint="ends with ':'"),
    _vip("vip6-mapped", "::ffff:192.0.2.100", says=("IPv4-mapped",), hint="that it is: 192.0.2.100"),
    _vip("vip6-reserved", "4000::1", says=("reserved address",), hint="global address"),
    _vip("vip6-with-prefix", "2001:db8::100/64", says=("has a prefix length",), hint="write 2001:db8::100"),
    _vip("vip6-with-port", '"[2001:db8::100]:104"', says=("has a port",), hint="'ports:'"),
    _vip("vip6-in-brackets", "[2001:db8::100]", says=("must be a single word",), hint="remove the brackets"),
    _vip("vip6-anycast", '"2001:db8::"', says=("subnet-router anycast address of 2001:db8::/64",), hint="host address"),
    _vip("vip6-outside-subnets", "2001:db8:1::100", says=("in no interface's subnet",), hint="2001:db8::/64 (eth0)"),
    _vip(
        "vip6-is-the-director-written-otherwise",
        "2001:DB8:0:0:0::10",
        says=("vip 2001:db8::10 is the director's own address on eth0 (line 4)",),
        hint="nobody has",
    ),
    _vip("vip6-is-a-backend", "2001:db8:0::0011", says=("backend archives/pacs1 (line 15)",), hint="nobody has"),
    _edited(
        "vip6-port-twice",
        "pools:\n",
        "  viewer: {vip: §2001:0db8::0100, ports: [104], pool: archives}\npools:\n",
        says=("service viewer", "2001:db8::100 tcp port 104", "service pacs (line 6)"),
        hint="another VIP",
    ),
    _edited(
        "vip6-on-an-interface-of-ipv4-only",
        "services:\n  pacs:\n    vip: 2001:db8::100\n",
        "  eth1:\n    address: 198.51.100.10/24\nservices:\n  pacs:\n    interface: §eth1\n    vip: 2001:db8::100\n",
        says=("interface eth1 has no IPv6 address",),
        hint="'address6:'",
    ),
    whole(
        "backend6-where-no-interface-has-ipv6",
        _ONLY_IPV4,
        says=("backend archives/pacs1", "in no interface's subnet"),
        hint="no interface has an IPv6 address: give one the director's own, under 'address6:'",
    ),
    _backend("backend6-link-local", "fe80::12", says=("backend archives/pacs2", "link-local"), hint="global address"),
    _backend("backend6-multicast", "ff05::12", says=("multicast",), hint="unicast"),
    _backend("backend6-scope", '"fe80::12%eth0"', says=("has a scope id",), hint="needs no scope id"),
    _backend("backend6-off-link", "2001:db8:1::12", says=("in no interface's subnet",), hint="2001:db8::/64 (eth0)"),
    _backend(
        "backend6-twice-written-otherwise",
        "2001:DB8:0:0::0011",
        says=("address 2001:db8::11 is already that of backend archives/pacs1 (line 15)",),
        hint="raise the other's weight",
    ),
    _backend("backend6-is-the-director", "2001:db8::010", says=("director's own, on eth0",), hint="another machine"),
    _backend(
        "backends-of-both-families",
        "192.0.2.12",
        says=("backend archives/pacs2: address 192.0.2.12 is IPv4", "archives/pacs1 (line 15) is IPv6"),
        hint="two pools",
    ),
    _vip(
        "vip-of-another-family-than-its-pool",
        "192.0.2.100",
        says=("service pacs: vip 192.0.2.100 is IPv4", "pool archives are IPv6"),
        hint="IPv4 addresses",
    ),
    whole(
        "fallback-of-another-family",
        _DUAL,
        says=("pool archives", "pool spare cannot be a fallback: its backends are IPv6"),
        hint="IPv4 addresses",
    ),
)

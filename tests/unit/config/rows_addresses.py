"""Mistakes of interfaces, VIPs and backends' addresses."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited

_OWN = "192.0.2.10/24"
_VIP = "192.0.2.100"
_FIRST = "192.0.2.11"
_SECOND = "192.0.2.12"


def _second_service(text: str) -> str:
    return f"    pool: archives\n  {text}"


ROWS: tuple[Wrong, ...] = (
    edited("interface-name-too-long", "  eth0:", "  §enp0s31f6.1234567:", says=("longer than 15",), hint="ip -br link"),
    edited("interface-name-with-slash", "  eth0:", "  §eth/0:", says=("not an interface name",), hint="ip -br link"),
    edited("interface-name-with-space", "  eth0:", "  §eth 0:", says=("not an interface name",), hint="ip -br link"),
    edited("interface-without-prefix", _OWN, "§192.0.2.10", says=("lacks the prefix length",), hint="192.0.2.10/24"),
    edited(
        "interface-not-an-address",
        _OWN,
        "§192.0.2.300/24",
        says=("interface eth0", "192.0.2.300"),
        hint="192.0.2.10/24",
    ),
    edited("interface-network-address", _OWN, "§192.0.2.0/24", says=("network address",), hint="192.0.2.1/24"),
    edited("interface-host-prefix", _OWN, "§192.0.2.10/32", says=("no subnet",), hint="prefix length"),
    edited("interface-loopback", _OWN, "§127.0.0.1/8", says=("loopback",), hint="host address"),
    edited(
        "interface-ipv6-as-ipv4",
        _OWN,
        "§2001:db8::1/64",
        says=("interface eth0", "'2001:db8::1/64' is an IPv6 address"),
        hint="'address6: …'",
    ),
    edited("interface-mode-unknown", _OWN, f"{_OWN}\n    mode: §natve", says=("mode", "'natve'"), hint="'native'"),
    edited(
        "interfaces-overlap",
        _OWN,
        f"{_OWN}\n  eth1:\n    address: §192.0.2.129/25",
        says=("overlaps eth0's", "line 3"),
        hint="of its own",
    ),
    edited(
        "vip-outside-subnet",
        _VIP,
        "§192.0.3.100",
        says=("service pacs", "no interface's subnet"),
        hint="192.0.2.0/24 (eth0)",
    ),
    edited(
        "vip-outside-named-interface",
        _VIP,
        "§192.0.3.100\n    interface: eth0",
        says=("outside interface eth0's",),
        hint="that subnet",
    ),
    edited(
        "vip-on-unknown-interface",
        _VIP,
        f"{_VIP}\n    interface: §eth1",
        says=("'eth1' is not declared",),
        hint="'eth0'",
    ),
    edited(
        "vip-not-an-address", _VIP, "§pacs.example.org", says=("not an IP address",), hint="names are not looked up"
    ),
    edited("vip-is-a-number", _VIP, "§192", says=("192 is not an IP address",), hint="192.0.2.100"),
    edited("vip-with-prefix", _VIP, "§192.0.2.100/32", says=("has a prefix length",), hint="write 192.0.2.100"),
    edited("vip-with-port", _VIP, "§192.0.2.100:104", says=("has a port",), hint="'ports:'"),
    edited("vip-network-address", _VIP, "§192.0.2.0", says=("network address",), hint="host address"),
    edited("vip-broadcast-address", _VIP, "§192.0.2.255", says=("broadcast address",), hint="host address"),
    edited("vip-loopback", _VIP, "§127.0.0.1", says=("loopback",), hint="host address"),
    edited("vip-multicast", _VIP, "§224.0.0.18", says=("multicast",), hint="host address"),
    edited("vip-unspecified", _VIP, "§0.0.0.0", says=("unspecified",), hint="host address"),
    edited("vip-limited-broadcast", _VIP, "§255.255.255.255", says=("broadcast",), hint="host address"),
    edited("vip-reserved", _VIP, "§240.0.0.1", says=("reserved",), hint="host address"),
    edited(
        "vip-is-the-director", _VIP, "§192.0.2.10", says=("director's own address on eth0", "line 3"), hint="nobody has"
    ),
    edited("vip-is-a-backend", _VIP, "§192.0.2.11", says=("backend archives/pacs1", "line 14"), hint="nobody has"),
    edited(
        "vip-port-twice",
        "    pool: archives\n",
        _second_service("viewer: {vip: §192.0.2.100, ports: [11112, 4242], pool: archives}\n"),
        says=("service viewer", "192.0.2.100 tcp port 11112", "service pacs (line 5)"),
        hint="another VIP",
    ),
    edited(
        "backend-off-link",
        _SECOND,
        "§198.51.100.12",
        says=("backend archives/pacs2", "no interface's subnet"),
        hint="neighbours only",
    ),
    edited("backend-is-the-director", _SECOND, "§192.0.2.10", says=("director's own",), hint="another machine"),
    edited("backend-address-twice", _SECOND, "§192.0.2.11", says=("archives/pacs1", "line 14"), hint="weight"),
    edited(
        "backend-broadcast-address",
        _SECOND,
        "§192.0.2.255",
        says=("broadcast address of 192.0.2.0/24",),
        hint="host address",
    ),
    edited("backend-with-port", _SECOND, "§192.0.2.12:104", says=("has a port",), hint="ports cannot be translated"),
    edited(
        "backend-port-translation",
        f"{_SECOND}}}",
        f"{_SECOND}, §port: 4242}}",
        says=("ports cannot be translated",),
        hint="own port",
    ),
    edited("backend-with-prefix", _SECOND, "§192.0.2.12/24", says=("has a prefix length",), hint="write 192.0.2.12"),
    edited(
        "backend-is-a-word",
        f"{{address: {_FIRST}}}",
        f"§{_FIRST}",
        says=("must be a block of keys, not text",),
        hint="address: …",
    ),
)

"""Mistakes of how a VIP is announced, and of who may come to it."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited

_VIP = "    vip: 192.0.2.100\n"


def _service(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, _VIP, f"{_VIP}    {text}\n", says=says, hint=hint)


def _allow(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return _service(id_, f"allow: {text}", says=says, hint=hint)


def _routed(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, _VIP, f"    announce: routed\n{text}", says=says, hint=hint)


ROWS: tuple[Wrong, ...] = (
    _service("announce-unknown", "announce: §route-d", says=("announce: 'route-d' is unknown",), hint="'routed'"),
    _service("announce-ndp", "announce: §ndp", says=("announce: 'ndp' is unknown",), hint="write arp"),
    _service("announce-bgp", "announce: §bgp", says=("announce: 'bgp' is unknown",), hint="no routing protocol"),
    _routed(
        "routed-with-interface",
        "    vip: 203.0.113.1\n    interface: §eth0\n",
        says=("service pacs", "a routed VIP belongs to no interface"),
        hint="'announce: arp'",
    ),
    _routed(
        "routed-vip-is-the-director", "    vip: §192.0.2.10\n", says=("director's own address",), hint="nobody has"
    ),
    _routed("routed-vip-is-a-backend", "    vip: §192.0.2.12\n", says=("archives/pacs2",), hint="nobody has"),
    _routed("routed-vip-is-a-broadcast", "    vip: §192.0.2.255\n", says=("broadcast address",), hint="host address"),
    _routed("routed-vip-is-a-group", "    vip: §233.252.0.1\n", says=("a multicast address",), hint="host address"),
    edited(
        "vip-announced-in-two-ways",
        "    pool: archives\n",
        "    pool: archives\n  web: {vip: 192.0.2.100, announce: §routed, ports: [8042], pool: archives}\n",
        says=("service web", "'announce' is routed here, and arp in service pacs (line 5), which has the same vip"),
        hint="'announce: arp'",
    ),
    edited(
        "vip-announced-in-two-ways-by-default",
        "services:\n  pacs:\n",
        "services:\n  web: {vip: 192.0.2.100, announce: routed, ports: [8042], pool: archives}\n  §pacs:\n",
        says=("service pacs", "'announce' is arp here, and routed in service web (line 5)"),
        hint="'announce: routed'",
    ),
    _allow(
        "allow-empty", "§[]", says=("service pacs", "allow: the list of prefixes is empty"), hint="nobody could come"
    ),
    _allow("allow-not-a-list", "§10.0.0.0/8", says=("'10.0.0.0/8' is not a list",), hint="write [10.0.0.0/8]"),
    _allow("allow-a-block", "§{10.0.0.0/8: yes}", says=("a mapping is not a list",), hint="2001:db8:1::/48"),
    _allow("allow-a-name", "§[modalities.example.org]", says=("is not a prefix",), hint="names are not looked up"),
    _allow("allow-a-number", "§[10]", says=("10 is not a prefix",), hint="10.20.0.0/16"),
    _allow("allow-prefix-too-long", "§[10.0.0.0/33]", says=("'10.0.0.0/33' is not a prefix",), hint="10.20.0.0/16"),
    _allow(
        "allow-host-bits",
        "§[10.20.30.40/16]",
        says=("'10.20.30.40/16' has bits beyond its prefix length",),
        hint="write 10.20.0.0/16, or 10.20.30.40",
    ),
    _allow(
        "allow-host-bits6", "§[2001:db8::1/32]", says=("has bits beyond",), hint="write 2001:db8::/32, or 2001:db8::1 "
    ),
    _allow("allow-mask", "§[10.0.0.0/255.0.0.0]", says=("has a mask",), hint="write 10.0.0.0/8"),
    _allow(
        "allow-twice", "§[10.0.0.0/8, 192.0.2.7, 192.0.2.7/32]", says=("192.0.2.7/32 is listed twice",), hint="once"
    ),
    _allow("allow-scope", "§['fe80::1%eth0']", says=("has a scope id",), hint="same on every interface"),
    _allow("allow-groups", "§[224.0.0.0/4]", says=("multicast groups",), hint="that clients have"),
    _allow("allow-loopback", "§[127.0.0.0/8]", says=("loopback addresses",), hint="that clients have"),
    _allow(
        "allow-another-family",
        "[10.0.0.0/8, §2001:db8::/32]",
        says=("service pacs: allow: 2001:db8::/32 is IPv6, and vip 192.0.2.100 is IPv4",),
        hint="IPv4 prefixes only",
    ),
    _service("allow-called-sources", "§sources: [10.0.0.0/8]", says=("unknown key 'sources'",), hint="under 'allow'"),
)

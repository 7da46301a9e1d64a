"""Rows: backends on another segment than the packet came in by: another VLAN, another NIC. From there on the frame has our MAC
of that segment, and its tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbctl.core.model import Protocol
from lbctl.core.tables import Lan
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, of_both, owner
from tests.packets.departures import Verdict
from tests.packets.families import Family
from tests.packets.frames import ONE_TAG, PRIORITY_TAG, Tagging, tagged
from tests.packets.wire import C_TAG, S_TAG
from tests.packets.world import FAR, HERE, OWN_MAC, backend_mac, backend_row

OWNER = owner()
OLD = OWNER % 3 + 1
UDP_OWNER = owner(Protocol.UDP)
OTHER_OWN_MAC, FAR_OWN_MAC = bytes.fromhex("02000202000b"), bytes.fromhex("0200020200fa")
VLAN_20, VLAN_30 = Lan(HERE.ifindex, 20), Lan(HERE.ifindex, 30)
STACK, OTHER_STACK = Lan(HERE.ifindex, 10 << 12 | 11), Lan(HERE.ifindex, 10 << 12 | 12)
FAR_20, FAR_STACK = Lan(FAR.ifindex, 20), Lan(FAR.ifindex, 10 << 12 | 11)
OURS: Mapping[Lan, bytes] = {
    HERE: OWN_MAC,
    VLAN_20: OWN_MAC,
    VLAN_30: OTHER_OWN_MAC,
    STACK: OWN_MAC,
    OTHER_STACK: OTHER_OWN_MAC,
    FAR: FAR_OWN_MAC,
    FAR_20: FAR_OWN_MAC,
    FAR_STACK: FAR_OWN_MAC,
}
WAYS: tuple[tuple[str, Lan, Tagging, Lan, Tagging], ...] = (
    ("none to none, other NIC", HERE, (), FAR, ()),
    ("none to one", HERE, (), VLAN_30, ((C_TAG, 30),)),
    ("none to one, other NIC", HERE, (), FAR_20, ((C_TAG, 20),)),
    ("none to two", HERE, (), STACK, ((S_TAG, 10), (C_TAG, 11))),
    ("none to two, other NIC", HERE, (), FAR_STACK, ((S_TAG, 10), (C_TAG, 11))),
    ("a priority tag to one", HERE, PRIORITY_TAG, VLAN_30, ((C_TAG, 0xC01E),)),
    ("a priority tag to none, other NIC", HERE, PRIORITY_TAG, FAR, PRIORITY_TAG),
    ("one to none", VLAN_20, ONE_TAG, HERE, ()),
    ("one to none, other NIC", VLAN_20, ONE_TAG, FAR, ()),
    ("one to another", VLAN_20, ONE_TAG, VLAN_30, ((C_TAG, 0xA01E),)),
    ("one to the same, other NIC", VLAN_20, ONE_TAG, FAR_20, ONE_TAG),
    ("a provider's to another", VLAN_20, ((S_TAG, 0xF014),), VLAN_30, ((S_TAG, 0xF01E),)),
    ("one to two", VLAN_20, ONE_TAG, STACK, ((S_TAG, 0xA00A), (C_TAG, 0xA00B))),
    ("one to two, other NIC", VLAN_20, ONE_TAG, FAR_STACK, ((S_TAG, 0xA00A), (C_TAG, 0xA00B))),
    ("two to none", STACK, ((S_TAG, 0x600A), (C_TAG, 0xE00B)), HERE, ()),
    ("two to one", STACK, ((S_TAG, 0x600A), (C_TAG, 0xE00B)), VLAN_30, ((C_TAG, 0x601E),)),
    ("two to one, other NIC", STACK, ((S_TAG, 0x700A), (C_TAG, 0xE00B)), FAR_20, ((C_TAG, 0x7014),)),
    ("two to two others", STACK, ((S_TAG, 0x600A), (C_TAG, 0xE00B)), OTHER_STACK, ((S_TAG, 0x600A), (C_TAG, 0xE00C))),
    (
        "two to the same, other NIC",
        STACK,
        ((S_TAG, 0x600A), (C_TAG, 0xE00B)),
        FAR_STACK,
        ((S_TAG, 0x600A), (C_TAG, 0xE00B)),
    ),
)
"""From where with which tags, to where with which."""


def towards(lan: Lan, *, number: int = OWNER, home: Lan = HERE, mac: bytes | None = None) -> Before:
    """A backend is on that segment; the VIPs are announced at ``home``."""
    others = {i: replace(row, lan=home) for i, row in backends().items()}
    return Before(lan=home, lans=OURS, backends=others | {number: backend_row(number, lan=lan, mac=mac)})


def crosses(
    name: str,
    frame: bytes,
    out: bytes,
    lan: Lan,
    *,
    reason: Reason,
    before: Before,
    number: int = OWNER,
    after: Entry | None = None,
) -> Case:
    """Sent to a backend elsewhere: ``out`` is the frame with the tags that it must have there."""
    verdict = Verdict.TX if lan.ifindex == HERE.ifindex else Verdict.REDIRECT
    sent = backend_mac(number) + OURS[lan] + out[12:]
    return Case(name=name, frame=frame, verdict=verdict, reason=reason, out=sent, before=before, after=after)


def ways(ip: Family) -> list[Case]:
    syn = ip.tcp("S")
    return [
        crosses(
            f"SYN, tags: {name}",
            tagged(syn, tags),
            tagged(syn, then),
            to,
            reason=Reason.SYN,
            before=towards(to, home=home),
        )
        for name, home, tags, to, then in WAYS
    ]


def kinds(ip: Family) -> list[Case]:
    """What else goes to a backend, to another NIC and VLAN."""
    old, entered = Entry(backend=OLD), Entry(backend=UDP_OWNER, protocol=Protocol.UDP)
    segment, large = ip.tcp("PA", data=b"x"), ip.tcp("PA", data=bytes(8_900))
    quoted = ip.quote(ip.tcp(client=ip.vip, vip=ip.client, client_port=104, port=40_000), 8)
    on_flow = replace(towards(FAR_20, number=OLD), flow=old)
    fragments = replace(towards(FAR_20, number=UDP_OWNER), earlier=(ip.first_fragment(),))
    rows = [
        ("data on a flow", segment, Reason.ESTABLISHED, on_flow, OLD, old),
        ("jumbo segment on a flow", large, Reason.ESTABLISHED, on_flow, OLD, old),
        ("datagram", ip.udp(), Reason.UDP_NEW, towards(FAR_20, number=UDP_OWNER), UDP_OWNER, entered),
        ("ICMP error", ip.error(quoted), Reason.ICMP_ERROR, on_flow, OLD, old),
        ("fragment", ip.fragment(3), Reason.FRAGMENT, fragments, UDP_OWNER, entered),
        ("segment behind options", ip.tcp("S", ip_options=ip.options), Reason.SYN, towards(FAR_20), OWNER, None),
    ]
    return [
        crosses(
            f"{name} to another NIC",
            frame,
            tagged(frame, ((C_TAG, 20),)),
            FAR_20,
            reason=reason,
            before=before,
            number=number,
            after=after,
        )
        for name, frame, reason, before, number, after in rows
    ]


def not_sent(ip: Family) -> list[Case]:
    unknown = Lan(FAR.ifindex, 99)
    back = ip.tcp("S", source=backend_mac(OWNER))
    return [
        drops("SYN to a segment that we have no interface on", ip.tcp("S"), Reason.UNRESOLVED, towards(unknown)),
        drops(
            "data to a segment that we have no interface on",
            ip.tcp("PA"),
            Reason.UNRESOLVED,
            replace(towards(unknown, number=OLD), flow=Entry(backend=OLD)),
        ),
        drops("SYN to an unresolved backend elsewhere", ip.tcp("S"), Reason.UNRESOLVED, towards(FAR, mac=b"")),
        drops("SYN from its backend elsewhere", back, Reason.LOOP_BACKEND, towards(FAR)),
        drops(
            "own frame came back, in a VLAN of ours",
            tagged(ip.tcp("S", source=OTHER_OWN_MAC, destination=OWN_MAC), ((C_TAG, 30),)),
            Reason.LOOP_OWN,
            towards(HERE),
        ),
    ]


def came_in(ip: Family) -> list[Case]:
    """By another NIC than the backends'."""
    syn = ip.tcp("S", destination=FAR_OWN_MAC)
    sent = backend_mac(OWNER) + OWN_MAC + syn[12:]
    stays = backend_mac(OWNER) + FAR_OWN_MAC + syn[12:]
    return [
        Case(
            name="SYN from another NIC",
            frame=syn,
            verdict=Verdict.REDIRECT,
            reason=Reason.SYN,
            out=sent,
            before=towards(HERE),
            ifindex=FAR.ifindex,
        ),
        Case(
            name="SYN from another NIC, backend there",
            frame=syn,
            verdict=Verdict.TX,
            reason=Reason.SYN,
            out=stays,
            before=towards(FAR),
            ifindex=FAR.ifindex,
        ),
        replace(
            drops(
                "ping by another NIC than the VIP's",
                ip.ping(destination=FAR_OWN_MAC),
                Reason.ICMP_UNKNOWN,
                towards(HERE),
            ),
            ifindex=FAR.ifindex,
        ),
        replace(
            drops("SYN by another NIC, to our MAC of the first one", ip.tcp("S"), Reason.OTHER_MAC, towards(HERE)),
            ifindex=FAR.ifindex,
            verdict=Verdict.PASS,
        ),
    ]


ROWS: list[Case] = of_both(ways, kinds, not_sent, came_in)

"""A frame in a few words, for people."""

from __future__ import annotations

from tests.packets.wire import ARP, ICMP, IPV6, PROTOCOLS, TCP, Datagram, Frame, frame_of

FLAGS = "FSRPAUEC"
"""As tcpdump has them, from the lowest bit on."""
KINDS = {ARP: "ARP", IPV6: "IPv6, cut"}


def summary(data: bytes) -> str:
    """Tags, kind, size: ``VLAN 10.11 IPv6 TCP SA 74 B``."""
    frame = frame_of(data)
    words = [*_tags(frame), _kind(frame)] if frame else ["short"]
    return " ".join([*words, f"{len(data)} B"])


def _tags(frame: Frame) -> list[str]:
    return ["VLAN " + ".".join(str(tag.vlan) for tag in frame.tags)] if frame.tags else []


def _kind(frame: Frame) -> str:
    if frame.ip is None:
        return KINDS.get(frame.type, f"type {frame.type:04x}")
    return f"IPv{frame.ip.version} {_transport(frame.ip)}"


def _transport(ip: Datagram) -> str:
    if ip.is_later_fragment:
        return "fragment"
    name = PROTOCOLS[ip.protocol].value.upper() if ip.protocol in PROTOCOLS else f"protocol {ip.protocol}"
    if ip.protocol == TCP and len(ip.transport) > 13:
        name += " " + ("".join(flag for bit, flag in enumerate(FLAGS) if ip.transport[13] >> bit & 1) or "-")
    elif ip.protocol == ICMP[ip.version]:
        name = f"ICMP {ip.transport[0]}" if ip.transport else "ICMP"
    return name + (" first fragment" if ip.is_first_fragment else "")

"""VLANs without a kernel that knows them: what the switch's ports and the directors' sub-interfaces do with tags.

The switch is a plain bridge and forwards frames with whatever tag they have. An access port puts its VLAN's tag on what its
host sends, and takes it off what is for the host; what has another tag is not for it. Directors' ports are trunks: all frames
pass as they are. A director's ``eth0.20`` is one end of a veth pair, of which nothing but that end is used: what it sends gets
the tag and leaves by ``eth0``, and what ``eth0`` receives with that tag is handed to it without.

Measured on 6.18: the kernel keeps a tag outside the frame (``skb->vlan_tci``) when a program puts it on, and also when the
frame came in with it. A veth whose ``tx-vlan-offload`` is on, as it is from the start, hands it over so, and the receiver's XDP
program does not see it, in native or in generic mode, whatever the receiver's own ``rx-vlan-offload`` is. With the sender's
off, the tag stands in the frame, and both modes see it. So it is off on every port of the switch.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from lbctl.lab import bpf, tc
from lbctl.lab.bpf import TC_DROP, TC_PASS, Label, Op
from lbctl.lab.namespaces import enter, run_ethtool
from lbctl.lab.node import NodePlan, Role
from lbctl.lab.plan import LabPlan
from lbctl.lab.segments import Place
from lbctl.lab.tc import Hook

_VLAN_PUSH, _VLAN_POP, _REDIRECT = 18, 19, 23
"""Helpers, as ``enum bpf_func_id`` numbers them."""
_TO_INGRESS = 1
_VLAN_PRESENT, _VLAN_TCI = 20, 24
"""Offsets in ``struct __sk_buff``."""
_ETH_P_8021Q = 0x8100
_VID = 0x0FFF
_CONTEXT = 6


def keep_apart(plan: LabPlan, node: NodePlan) -> None:
    """Let the switch keep VLANs apart at a node's ports, and make its sub-interfaces work. Its cables are there. Idempotent."""
    for place in node.places:
        run_ethtool(plan.switch, place.port, "txvlan", "off")
        if place.parent:
            _connect_sub_interface(node, place, plan.bpffs)
        elif node.role is not Role.DIRECTOR:
            programs = [(place.port, hook, program) for hook, program in _access_port(place.segment.vlan)]
            tc.attach(programs, namespace=plan.switch, bpffs=plan.bpffs)


def _access_port(vlan: int) -> Iterator[tuple[Hook, tc.Program]]:
    """What a host sends is received by the switch's port, which is its ingress."""
    if vlan:
        yield Hook.INGRESS, [*_drop_if_tagged(), *_push(vlan), *_return(TC_PASS)]
        yield Hook.EGRESS, [*_unless_tagged(vlan, TC_DROP), *_pop(), *_return(TC_PASS)]
    else:
        for hook in Hook:
            yield hook, [*_drop_if_tagged(), *_return(TC_PASS)]


def _connect_sub_interface(node: NodePlan, place: Place, bpffs: Path) -> None:
    parent, own = _index(node, place.parent), _index(node, place.interface)
    vlan = place.segment.vlan
    run_ethtool(node.namespace, place.parent, "txvlan", "off")
    outward: tc.Program = [bpf.move(_CONTEXT, 1), *_push(vlan), *_redirect(parent, 0)]
    inward: tc.Program = [*_unless_tagged(vlan, TC_PASS), *_pop(), *_redirect(own, _TO_INGRESS)]
    programs = [(place.interface, Hook.EGRESS, outward), (place.parent, Hook.INGRESS, inward)]
    tc.attach(programs, namespace=node.namespace, bpffs=bpffs)


def _index(node: NodePlan, interface: str) -> int:
    with enter(node.namespace):
        return socket.if_nametoindex(interface)


def _drop_if_tagged() -> Iterator[Op | Label]:
    yield bpf.move(_CONTEXT, 1)
    yield bpf.load_field(0, _CONTEXT, _VLAN_PRESENT)
    yield bpf.if_equal(0, 0, "untagged")
    yield from _return(TC_DROP)
    yield Label("untagged")


def _unless_tagged(vlan: int, verdict: int) -> Iterator[Op | Label]:
    """End with that verdict unless the frame has that VLAN's tag."""
    yield bpf.move(_CONTEXT, 1)
    yield bpf.load_field(0, _CONTEXT, _VLAN_PRESENT)
    yield bpf.if_equal(0, 0, "another's")
    yield bpf.load_field(0, _CONTEXT, _VLAN_TCI)
    yield bpf.and_value(0, _VID)
    yield bpf.if_equal(0, vlan, "of the VLAN")
    yield Label("another's")
    yield from _return(verdict)
    yield Label("of the VLAN")


def _push(vlan: int) -> Iterator[Op]:
    yield bpf.move(1, _CONTEXT)
    yield bpf.set_value(2, socket.htons(_ETH_P_8021Q))
    yield bpf.set_value(3, vlan)
    yield bpf.call(_VLAN_PUSH)


def _pop() -> Iterator[Op]:
    yield bpf.move(1, _CONTEXT)
    yield bpf.call(_VLAN_POP)


def _redirect(ifindex: int, flags: int) -> Iterator[Op]:
    yield bpf.set_value(1, ifindex)
    yield bpf.set_value(2, flags)
    yield bpf.call(_REDIRECT)
    yield bpf.leave()


def _return(verdict: int) -> Iterator[Op]:
    yield bpf.set_value(0, verdict)
    yield bpf.leave()

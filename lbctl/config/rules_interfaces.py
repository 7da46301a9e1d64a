"""Rules about the director's interfaces. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

from lbctl.config.draft import Draft
from lbctl.config.effective import addresses_of
from lbctl.config.mistakes import Mistake
from lbctl.config.nics import nic_of
from lbctl.config.schema import InterfaceSpec
from lbctl.core.model import AttachMode

MAX_INTERFACES = 64


def check_interfaces(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    yield from _number(draft)
    yield from _addresses(draft)
    yield from _subnets(draft)
    yield from _modes(draft)


def bounded_interfaces(draft: Draft) -> dict[str, InterfaceSpec]:
    """Those that rules look at: as many as there may be."""
    return dict(islice(draft.spec.interfaces.items(), MAX_INTERFACES))


def _number(draft: Draft) -> Iterator[Mistake]:
    count = len(draft.spec.interfaces)
    if count > MAX_INTERFACES:
        message = f"{count} interfaces are more than the {MAX_INTERFACES} that one director serves"
        yield draft.mistake(("interfaces",), message, hint="list only those that clients and backends are on")


def _addresses(draft: Draft) -> Iterator[Mistake]:
    for name, spec in draft.spec.interfaces.items():
        if not addresses_of(spec) and draft.is_spelt("interfaces", name):
            hint = "add the director's own on it, as 'ip -br addr' shows it: 'address: 192.0.2.10/24', 'address6:', or both"
            yield draft.mistake(("interfaces", name), "neither 'address' nor 'address6' is given", hint=hint)


def _subnets(draft: Draft) -> Iterator[Mistake]:
    """An address is in the subnet of one interface, so that its segment is known."""
    for (first, one), (second, other) in combinations(bounded_interfaces(draft).items(), 2):
        for key in ("address", "address6"):
            theirs, ours = getattr(one, key), getattr(other, key)
            if theirs and ours and theirs.network.overlaps(ours.network):
                line = draft.line("interfaces", first, key)
                message = f"subnet {ours.network} overlaps {first}'s {theirs.network} (line {line})"
                hint = "give each interface a subnet of its own, or list only one of the two"
                yield draft.mistake(("interfaces", second, key), message, hint=hint)


def _modes(draft: Draft) -> Iterator[Mistake]:
    """The program is attached to a NIC once, for all of its VLANs."""
    first: dict[str, str] = {}
    for name, spec in draft.spec.interfaces.items():
        if spec.mode is AttachMode.AUTO:
            continue
        nic = nic_of(name)
        other = first.setdefault(nic, name)
        if spec.mode is not draft.spec.interfaces[other].mode:
            line = draft.line("interfaces", other, "mode")
            message = f"mode {spec.mode} contradicts that of {other} (line {line}), which is on the same NIC {nic}"
            hint = "write the same for all interfaces of a NIC, or write it at one of them only"
            yield draft.mistake(("interfaces", name, "mode"), message, hint=hint)

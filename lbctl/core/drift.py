"""What the kernel's tables hold that is not what lbctl wrote: somebody else did. Pure.

What lbctl wrote last follows health, weights and MACs as they change, so none of these is ever drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lbctl.core.effects.wording import counted, listed
from lbctl.core.plan import (
    SetBackend,
    SetInterface,
    SetMembers,
    SetPool,
    SetService,
    SetSlots,
    SetSources,
    SetVip,
    SetWrongPorts,
    Step,
    diff,
)
from lbctl.core.tables import ROUTED, BackendState, Lan, Tables

Names = Mapping[int, str]
"""Of backends and pools, by the identities of their rows."""


def drift(found: Tables, *, written: Tables, names: Names) -> tuple[str, ...]:
    """A line for each difference."""
    pools = {number: names.get(row.identity, f"#{number}") for number, row in written.pools.items()}
    return tuple(_line(step, names, pools) for step in diff(written, found).steps)


def _line(step: Step, names: Names, pools: Names) -> str:
    """In a step, ``before`` is what was written, and ``after`` what was found."""
    match step:
        case SetSlots():
            pool = pools.get(step.pool_id, f"#{step.pool_id}")
            return f"pool {pool}: {counted(len(step.at), 'slot')} sent to others than lbctl chose"
        case SetMembers():
            return f"pool {pools.get(step.pool_id, f'#{step.pool_id}')}: others are asked for room than lbctl listed"
        case SetWrongPorts():
            return f"other ports of VIPs: {_refusal(step.after)}, should be {_refusal(step.before)}"
        case SetVip():
            return f"VIP {step.vip}: {_place(step.after)}, should be {_place(step.before)}"
        case _:
            return f"{_subject(step, names, pools)} {_difference(step.before, step.after)}"


def _refusal(drops: bool) -> str:
    return "dropped" if drops else "refused"


def _place(lan: Lan | None) -> str:
    if lan is None:
        return "not answered for"
    return "routed" if lan == ROUTED else f"announced on device {lan.ifindex}{f' VLAN {lan.vlan}' if lan.vlan else ''}"


def _subject(step: SetBackend | SetService | SetPool | SetSources | SetInterface, names: Names, pools: Names) -> str:
    match step:
        case SetBackend():
            row = step.before or step.after
            return f"backend {names.get(row.identity, str(row.address)) if row else step.backend_id}:"
        case SetService():
            return f"service {step.key.vip} {step.key.protocol} {step.key.port}:"
        case SetPool():
            return f"pool {pools.get(step.pool_id, f'#{step.pool_id}')}:"
        case SetSources():
            return f"list {step.number} of sources:"
        case SetInterface():
            return f"segment of {_place(step.lan).removeprefix('announced on ')}:"


def _difference(written: Any, found: Any) -> str:
    if found is None:
        return "missing"
    if written is None:
        return "there, but lbctl did not write it"
    if isinstance(written, Mapping):
        return f"{len(found)} prefixes, should be other {len(written)}"
    before, after = asdict(written), asdict(found)
    return listed(
        f"{name} {_value(after[name])}, should be {_value(before[name])}"
        for name in before
        if before[name] != after[name]
    )


def _value(value: Any) -> str:
    if isinstance(value, BackendState):
        return value.name.lower()
    return value.hex(":") if isinstance(value, bytes) else str(value)

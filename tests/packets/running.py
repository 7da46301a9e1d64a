"""A case run through the real program."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address, Protocol
from lbctl.core.tables import reference
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, FLOW_KEY6, FlowState
from lbctl.dataplane.port import Assigned
from tests.packets.cases import Case, Entry
from tests.packets.conformance import Result, usual_key
from tests.packets.departures import Verdict
from tests.packets.memory import FlowKey
from tests.packets.rig import Rig
from tests.packets.world import GENERATION, POOL


def run(rig: Rig, case: Case) -> Result:
    """What the program does with a case's packet."""
    given_state(rig, case)
    outcome, reason = rig.run_for_reason(case.frame, ifindex=case.ifindex)
    return Result(verdict=Verdict(outcome.verdict), reason=reason, out=outcome.data)


def given_state(rig: Rig, case: Case) -> None:
    """Bring about what a case begins with; the rig remembers nothing yet."""
    rig.hold(case.before.tables)
    rig.set_tokens(case.before.tokens, handshakes=case.before.handshakes)
    if case.before.flow is not None:
        put_flow(rig, usual_key(case, case.before.flow), case.before.flow)
    if case.before.holder:
        key = Assigned(pool_id=POOL, source=case.family.client)
        rig.dataplane.assign({key: reference(case.before.holder, GENERATION)})
    for frame in case.before.earlier:
        rig.run(frame, ifindex=case.ifindex)


def put_flow(rig: Rig, key: FlowKey, flow: Entry, **fields: int) -> None:
    """A flow, a moment old; ``fields`` as of ``struct flow``."""
    entry = np.zeros(1, FLOW)
    entry["backend"], entry["state"] = reference(flow.backend, flow.generation), flow.state
    entry["last_seen"], entry["service"] = rig.clock.jiffies() - 10 & 0xFFFFFFFF, 1
    for name, value in fields.items():
        entry[name] = value
    rig.flows[table_of(key)].set_all(map_keys(key), entry)


def table_of(key: FlowKey) -> str:
    """The flow map."""
    return f"lb_flows_{key.protocol.value}{key.vip.version}"


def map_keys(key: FlowKey) -> NDArray[Any]:
    """As it stands there, shape (1,)."""
    keys = np.zeros(1, FLOW_KEY4 if key.vip.version == 4 else FLOW_KEY6)
    keys["client"], keys["vip"] = words_of(key.client), words_of(key.vip)
    keys["client_port"], keys["vip_port"] = key.client_port, key.vip_port
    return keys


def words_of(address: Address) -> int | list[int]:
    """An address as keys have it."""
    if address.version == 4:
        return int(address)
    return [int.from_bytes(address.packed[at : at + 4], "big") for at in range(0, 16, 4)]


def address_of(words: int | list[int]) -> Address:
    """The reverse of `words_of`."""
    if isinstance(words, int):
        return IPv4Address(words)
    return IPv6Address(b"".join(int(word).to_bytes(4, "big") for word in words))


def flow_at(rig: Rig, key: FlowKey) -> dict[str, int] | None:
    """One flow, by field."""
    return flows_by_key(rig).get(key)


def flows_by_key(rig: Rig) -> dict[FlowKey, dict[str, int]]:
    """Every flow of every table, by field."""
    found = {}
    for protocol in Protocol:
        for version in (4, 6):
            for keys, values in rig.flows[f"lb_flows_{protocol.value}{version}"].batches():
                for key, value in zip(keys.tolist(), values.tolist(), strict=True):
                    flow_key = FlowKey(protocol, address_of(key[0]), address_of(key[1]), key[2], key[3])
                    found[flow_key] = dict(zip(values.dtype.names or (), value, strict=True))
    return found


def entries(rig: Rig) -> dict[FlowKey, Entry]:
    """The same as a row of the table of cases has them."""
    return {
        key: Entry(
            backend=flow["backend"] & 0xFFFF,
            protocol=key.protocol,
            state=FlowState(flow["state"]),
            generation=flow["backend"] >> 16,
        )
        for key, flow in flows_by_key(rig).items()
    }


def expected_entries(case: Case) -> dict[FlowKey, Entry]:
    """What a row says."""
    return {usual_key(case, case.after): case.after} if case.after else {}

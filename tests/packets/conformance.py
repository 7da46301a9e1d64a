"""The table of cases: every row of it, and what the oracle says to each."""

from __future__ import annotations

from dataclasses import dataclass

from lbctl.core.model import Protocol
from lbctl.core.tables import reference
from lbctl.dataplane.layout import Reason
from tests.packets import (
    rows_assigned,
    rows_errors,
    rows_fragments,
    rows_icmp,
    rows_lans,
    rows_link,
    rows_neighbours,
    rows_nobody,
    rows_refused,
    rows_sources,
    rows_states,
    rows_tcp,
    rows_udp,
    rows_vlans,
)
from tests.packets.cases import Case, Entry
from tests.packets.choosing import Chooser
from tests.packets.departures import Verdict
from tests.packets.frames import CLIENT_PORT
from tests.packets.memory import Flow, FlowKey
from tests.packets.oracle import Oracle
from tests.packets.world import (
    DICOM,
    FOR_ANSWERS,
    FOR_RESETS,
    GENERATION,
    POOL,
    SERVICES,
    SYSLOG,
    for_handshakes,
    for_pick_ups,
)

ROOMS = (
    rows_link,
    rows_neighbours,
    rows_icmp,
    rows_lans,
    rows_tcp,
    rows_udp,
    rows_vlans,
    rows_fragments,
    rows_errors,
    rows_refused,
    rows_sources,
    rows_states,
    rows_nobody,
    rows_assigned,
)
CASES: list[Case] = [case for room in ROOMS for case in room.ROWS]
PORTS = {Protocol.TCP: DICOM, Protocol.UDP: SYSLOG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a packet."""

    verdict: Verdict
    reason: Reason
    out: bytes


def expected(case: Case) -> Result:
    """What the row says."""
    return Result(verdict=case.verdict, reason=case.reason, out=case.out)


def tokens_of(tokens: int, handshakes: int) -> dict[int, int]:
    """The oracle's, by the row of lb_budgets."""
    rows = dict.fromkeys((FOR_ANSWERS, FOR_RESETS, *map(for_pick_ups, SERVICES.values())), tokens)
    return rows | dict.fromkeys(map(for_handshakes, SERVICES.values()), handshakes)


def oracle_of(case: Case) -> Oracle:
    """An oracle that remembers what came before the case's packet."""
    tables = case.before.tables
    oracle = Oracle(Chooser(tables))
    oracle.hold(tables)
    oracle.tokens = tokens_of(case.before.tokens, case.before.handshakes)
    if case.before.flow is not None:
        oracle.flows[usual_key(case, case.before.flow)] = flow_of(case.before.flow)
    if case.before.holder:
        oracle.chooser.assignments[case.family.client, POOL] = reference(case.before.holder, GENERATION)
    for frame in case.before.earlier:
        oracle.decide(frame, case.ifindex)
    return oracle


def usual_key(case: Case, flow: Entry) -> FlowKey:
    """Of the flow that a case begins with, or ends with."""
    return FlowKey(flow.protocol, case.family.client, case.family.vip, CLIENT_PORT, PORTS[flow.protocol])


def flow_of(entry: Entry) -> Flow:
    """The flow that a case begins with. It knows nothing of sequence numbers."""
    return Flow(reference(entry.backend, entry.generation), 1, entry.state, is_unproven=False)


def foretold(case: Case) -> Result:
    """What the oracle says."""
    oracle = oracle_of(case)
    decision = oracle.decide(case.frame, case.ifindex)
    verdict, out = oracle.leave(case.frame, decision, case.ifindex)
    return Result(verdict=verdict, reason=decision.reason, out=out)

"""The program held against the oracle: packet by packet in random states, and what both remember after each state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import numpy as np

from lbctl.core.model import Address
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import USUAL
from tests.packets.choosing import Chooser
from tests.packets.conformance import Result, tokens_of
from tests.packets.departures import Verdict
from tests.packets.memory import Flow, FlowKey, Recent
from tests.packets.oracle import Oracle
from tests.packets.rig import BUDGET, HANDSHAKES, Rig
from tests.packets.running import flows_by_key
from tests.packets.states import random_tables
from tests.packets.traffic import Sent, random_sent

FRAMES_PER_STATE = 60
_WORD = 1 << 32


@dataclass(slots=True)
class DifferenceError(Exception):
    """Program and oracle do not agree about a packet."""

    sent: Sent
    program: Result
    oracle: Result

    def __str__(self) -> str:
        told = [
            f"{who} {told.verdict.name} {told.reason.name} {told.out.hex()}"
            for who, told in (("program:", self.program), ("oracle: ", self.oracle))
        ]
        return "\n".join([f"packet on {self.sent.ifindex}: {self.sent.data.hex()}", *told])


@dataclass(slots=True)
class Comparison:
    """A program and an oracle that see the same. ``seen`` counts the packets by reason."""

    rig: Rig
    random: Random
    oracle: Oracle = field(default_factory=lambda: Oracle(Chooser(USUAL.tables)))
    seen: dict[Reason, int] = field(default_factory=dict)

    def run(self, packets: int) -> None:
        """So many packets, in as many states as that takes; after each, memories must agree. `DifferenceError` is about the
        first packet that was not dealt with alike."""
        for _ in range(-(-packets // FRAMES_PER_STATE)):
            self._enter_state()
            for _ in range(FRAMES_PER_STATE):
                self._send(random_sent(self.random, self.oracle.tables))
            assert_memories_agree(self.rig, self.oracle)

    def _enter_state(self) -> None:
        self.oracle.hold(random_tables(self.random))
        self.rig.hold(self.oracle.tables)
        tokens, handshakes = self.random.choice((BUDGET, BUDGET, 3, 0)), self.random.choice((HANDSHAKES, HANDSHAKES, 2))
        self.rig.set_tokens(tokens, handshakes=handshakes)
        self.oracle.tokens = tokens_of(tokens, handshakes)

    def _send(self, sent: Sent) -> None:
        self.rig.hold_time()
        outcome, reason = self.rig.run_for_reason(sent.data, ifindex=sent.ifindex)
        decision = self.oracle.decide(sent.data, sent.ifindex)
        verdict, out = self.oracle.leave(sent.data, decision, sent.ifindex)
        program = Result(verdict=Verdict(outcome.verdict), reason=reason, out=outcome.data)
        oracle = Result(verdict=verdict, reason=decision.reason, out=out)
        if program != oracle:
            raise DifferenceError(sent, program, oracle)
        self.seen[reason] = self.seen.get(reason, 0) + 1


def assert_memories_agree(rig: Rig, oracle: Oracle) -> None:
    """Flows, half-open connections, fragments, assignments, places."""
    assert flows_of(rig) == oracle.flows
    assert recent_of(rig, "lb_half_opens") == entries_of(oracle.half_opens)
    assert recent_of(rig, "lb_fragments") == entries_of(oracle.fragments)
    assert assignments_of(rig) == oracle.chooser.assignments
    here = oracle.tables.backends
    places = oracle.chooser.places
    expected = {i: (found.live, found.reserved, found.is_full) for i, found in places.items() if i in here}
    assert places_of(rig, here) == expected


def flows_of(rig: Rig) -> dict[FlowKey, Flow]:
    """The flow tables as the oracle keeps them: bytes by how far positions are from where they began."""
    return {
        key: Flow(
            flow["backend"],
            flow["service"],
            FlowState(flow["state"]),
            flow["acked"],
            flow["next"],
            flow["acked_wraps"] * _WORD + (flow["acked"] - flow["first_acked"]) % _WORD,
            flow["next_wraps"] * _WORD + (flow["next"] - flow["first_next"]) % _WORD,
            bool(flow["is_unproven"]),
        )
        for key, flow in flows_by_key(rig).items()
    }


def places_of(rig: Rig, numbers: Iterable[int]) -> dict[int, tuple[int, int, bool]]:
    """(connections, reservations, whether it is full) by backend."""
    rows = rig.connections
    live = (rows["opened"].astype(np.uint32) - rows["corrected"]).view(np.int32)
    return {i: (int(live[i]), rig.reserved(i), bool(rows["is_full"][i])) for i in numbers}


def assignments_of(rig: Rig) -> dict[tuple[Address, int], int]:
    """The backend that each source has in each pool."""
    return {(key.source, key.pool_id): ref for key, ref in rig.dataplane.assignments().items()}


def recent_of(rig: Rig, name: str) -> dict[int, tuple[int, int]]:
    """(tag, id and low half of the generation) by row."""
    words = rig.recent(name).items()
    return {row: (word >> 32, word >> 16 & 0xFFFF | (word >> 8 & 0xFF) << 16) for row, word in words}


def entries_of(memory: Recent) -> dict[int, tuple[int, int]]:
    """The oracle's, as `recent_of` has them."""
    return {row: (tag, ref & 0x00FFFFFF) for row, (tag, ref) in memory.entries.items()}

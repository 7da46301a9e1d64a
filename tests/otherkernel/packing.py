"""Of the tests' table of packets, what the other kernel needs to try it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from lbctl.core.tables import reference
from lbctl.dataplane.objectfile import compile_source
from lbctl.dataplane.port import Assigned
from tests.otherkernel.inside.rows import Flow, Luggage, Row
from tests.packets.cases import Case, Entry
from tests.packets.conformance import usual_key
from tests.packets.running import map_keys, table_of
from tests.packets.world import GENERATION, POOL


def packed(cases: Sequence[Case]) -> Luggage:
    """The program, compiled with every feature, and all cases."""
    contents = [pickle.dumps(case.before.tables) for case in cases]
    numbers = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    return Luggage(
        program=compile_source(),
        tables=[pickle.loads(content) for content in numbers],
        rows=[row_of(case, numbers[content]) for case, content in zip(cases, contents, strict=True)],
    )


def row_of(case: Case, tables: int) -> Row:
    """The case, spelt out."""
    before = case.before
    return Row(
        name=case.name,
        tables=tables,
        tokens=before.tokens,
        handshakes=before.handshakes,
        flow=_flow(case, before.flow),
        assigned=_assigned(case),
        earlier=before.earlier,
        frame=case.frame,
        ifindex=case.ifindex,
        verdict=case.verdict,
        reason=case.reason.name,
        out=case.out,
        after=_flow(case, case.after),
    )


def _flow(case: Case, entry: Entry | None) -> Flow | None:
    if entry is None:
        return None
    key = usual_key(case, entry)
    return Flow(table_of(key), map_keys(key).tobytes(), reference(entry.backend, entry.generation), int(entry.state))


def _assigned(case: Case) -> dict[Assigned, int]:
    holder = case.before.holder
    return {Assigned(pool_id=POOL, source=case.family.client): reference(holder, GENERATION)} if holder else {}

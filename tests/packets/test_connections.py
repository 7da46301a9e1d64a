"""What holds over several packets of one connection, and when the flow table is full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState, reference
from lbctl.dataplane.layout import FLOW_MAPS, MAPS, Reason
from lbctl.dataplane.objectfile import ObjectFile
from tests.packets.cases import USUAL, all_slots, backends
from tests.packets.departures import Verdict
from tests.packets.frames import forwarded, tcp, udp
from tests.packets.refusals import answer_to
from tests.packets.rig import Rig, rig_of
from tests.packets.world import backend_mac, backend_row, tables


def first_ack_after(rig: Rig, *, backend: int) -> tuple[Reason, bytes]:
    """Re-weight everything to one backend, then send the handshake's last segment."""
    rig.hold(tables(backends(), all_slots(backend)))
    outcome, reason = rig.run_for_reason(tcp("A"))
    return reason, outcome.data


def test_handshake_across_a_reweighting_stays_with_the_backend_of_its_syn(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    syn, reason = rig.run_for_reason(tcp("S"))
    assert (reason, syn.data) == (Reason.SYN, forwarded(tcp("S"), 1))

    assert first_ack_after(rig, backend=2) == (Reason.FIRST_ACK, forwarded(tcp("A"), 1))

    rig.hold(tables(backends(), all_slots(3)))
    data, reason = rig.run_for_reason(tcp("PA", data=b"x"))
    assert (reason, data.data) == (Reason.ESTABLISHED, forwarded(tcp("PA", data=b"x"), 1))


@pytest.mark.parametrize(
    ("state", "goes_to"),
    [(state, 1 if state is BackendState.UP else 2) for state in BackendState],
)
def test_repeated_syn_stays_with_its_backend_while_that_is_up(rig: Rig, state: BackendState, goes_to: int) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rig.hold(tables(backends(state, number=1), all_slots(2)))

    assert rig.run(tcp("S")).data == forwarded(tcp("S"), goes_to)
    assert rig.run(tcp("A")).data == forwarded(tcp("A"), goes_to)


GOES_ON = (BackendState.UP, BackendState.DRAINING, BackendState.DOWN)
CUT = (BackendState.DEAD, BackendState.HALTED)


def after_a_syn_to(rig: Rig, state: BackendState) -> None:
    """A SYN went to backend 1, which is in another state by now; all slots are 2's."""
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rig.hold(tables(backends(state, number=1), all_slots(2)))


@pytest.mark.parametrize(
    ("state", "flags", "reason", "goes_to"),
    [
        *((state, flags, Reason.FIRST_ACK, 1) for state in GOES_ON for flags in ("A", "PA", "FA")),
        *((state, "R", Reason.UNTRACKED, 1) for state in GOES_ON),
        *((state, flags, Reason.RESET, 0) for state in CUT for flags in ("A", "PA", "FA")),
        (BackendState.DEAD, "R", Reason.DEAD, 0),
        (BackendState.HALTED, "R", Reason.UNTRACKED, 1),
        (BackendState.ABSENT, "A", Reason.PICKED_UP, 2),
        (BackendState.ABSENT, "R", Reason.UNTRACKED, 2),
    ],
)
def test_handshake_whose_backend_changed_state_ends_where_it_can(
    rig: Rig, state: BackendState, flags: str, reason: Reason, goes_to: int
) -> None:
    after_a_syn_to(rig, state)
    frame = tcp(flags, ack=9)

    outcome, found = rig.run_for_reason(frame)

    answer = answer_to(frame) if reason is Reason.RESET else frame
    assert (found.name, outcome.data) == (reason.name, forwarded(frame, goes_to) if goes_to else answer)


def test_handshake_ended_by_a_halt_leaves_no_flow(rig: Rig) -> None:
    after_a_syn_to(rig, BackendState.HALTED)
    rig.run(tcp("A"))

    assert rig.flow_backends() == {}
    assert rig.run_for_reason(tcp("S"))[0].data == forwarded(tcp("S"), 2)


def test_handshake_whose_backends_id_went_to_another_server_does_not_follow_it(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rows = backends()
    rig.hold(tables({**rows, 1: replace(rows[1], generation=8)}, all_slots(2)))

    assert rig.run(tcp("A")).data == forwarded(tcp("A"), 2)


def test_connection_is_counted_once_its_handshake_is_complete(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    counts = []
    for frame in (tcp("S"), tcp("S"), tcp("A"), tcp("PA", data=b"x"), tcp("FA"), tcp("R")):
        before = rig.dataplane.counters(services=(1,), backends=(1,))
        rig.run(frame)
        after = rig.dataplane.counters(services=(1,), backends=(1,))
        counts.append(after.backends[1].connections - before.backends[1].connections)
        assert after.services[1].connections - before.services[1].connections == counts[-1]

    assert counts == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(("age_ticks", "is_trusted"), [(0, True), (60, True), (66, False), (200, False)])
def test_half_open_entry_is_trusted_for_a_minute(rig: Rig, age_ticks: int, is_trusted: bool) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rig.age_recent("lb_half_opens", ticks=age_ticks)

    reason, data = first_ack_after(rig, backend=2)

    expected = (Reason.FIRST_ACK, 1) if is_trusted else (Reason.PICKED_UP, 2)
    assert (reason, data) == (expected[0], forwarded(tcp("A"), expected[1]))


# A full table --------------------------------------------------------------------------------------------------------

ROOM = 8


@pytest.fixture
def small_rig(object_file: ObjectFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A program with room for few flows."""
    for table in FLOW_MAPS:
        monkeypatch.setitem(MAPS, table, replace(MAPS[table], max_entries=ROOM))
    with rig_of(object_file) as rig:
        yield rig


@pytest.mark.parametrize("protocol", Protocol)
def test_full_flow_table_forwards_everything_and_says_so(small_rig: Rig, protocol: Protocol) -> None:
    small_rig.hold(USUAL.tables)
    make, entered = (tcp, "picked_up") if protocol is Protocol.TCP else (udp, "udp_new")
    frames = [make(client_port=port) for port in range(50_000, 50_000 + 3 * ROOM)]

    rounds = [[small_rig.run(frame) for frame in frames] for _ in range(2)]

    for (outcome, frame), again in zip(zip(rounds[0], frames, strict=True), rounds[1], strict=True):
        assert (outcome.verdict, outcome.data[12:]) == (Verdict.TX, frame[12:])
        assert again.data == outcome.data
    reasons = small_rig.reasons()
    assert (reasons[entered], reasons["untracked"]) == (ROOM, 4 * ROOM)
    assert small_rig.flow_backends().total() == ROOM


def test_full_flow_table_leaves_a_connection_with_the_backend_of_its_syn(small_rig: Rig) -> None:
    """Whether its slot went to somebody else meanwhile, or never was its backend's: it spilled over, or it was assigned."""
    small_rig.hold(tables(backends(), all_slots(1)))
    for port in range(50_000, 50_000 + ROOM):
        small_rig.run(tcp(client_port=port))
    small_rig.run(tcp("S"))
    small_rig.hold(tables(backends(), all_slots(2)))

    sent = [small_rig.run_for_reason(tcp(flags)) for flags in ("A", "PA", "FA")]

    assert [reason for _, reason in sent] == [Reason.UNTRACKED] * 3
    assert {outcome.data[:6] for outcome, _ in sent} == {backend_mac(1)}
    assert small_rig.live(1) == ROOM


def test_full_flow_table_makes_no_connection_be_refused_for_a_limit(small_rig: Rig) -> None:
    """One that has no flow is counted by nobody, so it is not to be cut by what others make the count."""
    small_rig.hold(tables({1: backend_row(1, limit=ROOM)}))
    small_rig.run(tcp("S"))
    for port in range(50_000, 50_000 + ROOM):
        small_rig.run(tcp(client_port=port))
    assert (small_rig.live(1), small_rig.flow_backends().total()) == (ROOM, ROOM)

    sent = [small_rig.run_for_reason(tcp(flags)) for flags in ("A", "PA", "PA")]

    assert [(reason, outcome.data[:6]) for outcome, reason in sent] == [(Reason.UNTRACKED, backend_mac(1))] * 3
    assert small_rig.live(1) == ROOM


def test_full_flow_table_still_lets_a_flow_change_its_backend(small_rig: Rig) -> None:
    small_rig.hold(tables(backends(), all_slots(1)))
    for port in range(50_000, 50_000 + ROOM):
        small_rig.run(udp(client_port=port))
    small_rig.hold(tables(backends(BackendState.DOWN, number=1), all_slots(2)))

    outcome, reason = small_rig.run_for_reason(udp(client_port=50_000))

    assert (reason, outcome.data) == (Reason.UDP_NEW, forwarded(udp(client_port=50_000), 2))
    assert small_rig.flow_backends() == {reference(1, 7): ROOM - 1, reference(2, 7): 1}

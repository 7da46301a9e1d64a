"""Pools with private storage: a source keeps to the backend that holds what it sent, whatever becomes of the slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.model import Address, Protocol
from lbctl.core.tables import BackendState, Slots, Tables, reference
from lbctl.dataplane.layout import MAPS, Reason
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.dataplane.port import Assigned
from tests.packets.cases import Entry, all_slots, backends
from tests.packets.connecting import connect, send
from tests.packets.frames import CLIENT, CLIENT_PORT, forwarded, patched, tcp, udp
from tests.packets.hashes import hash_source
from tests.packets.memory import FlowKey
from tests.packets.refusals import answer_to
from tests.packets.rig import Rig, rig_of
from tests.packets.running import put_flow
from tests.packets.world import DICOM, SIZE, VIP, backend_row, tables

POOL = 1
NO_NEW = [state for state in BackendState if state not in (BackendState.UP, BackendState.ABSENT)]


def private(
    slots: Slots | None = None, *, state: BackendState = BackendState.UP, number: int = 0, limit: int = 0
) -> Tables:
    """Backends 1 to 3, up; but for ``number``, which is in that state, or has that limit."""
    rows = backends(state, number=number)
    if limit:
        rows[number] = backend_row(number, limit=limit)
    return tables(rows, slots, is_private=True)


def assigned(rig: Rig) -> dict[Address, int]:
    """The backend of each source."""
    return {key.source: ref & 0xFFFF for key, ref in rig.dataplane.assignments().items()}


@pytest.fixture
def held(rig: Rig) -> Rig:
    """The client's studies are with backend 1; all slots are 2's by now."""
    rig.hold(private(all_slots(1)))
    assert connect(rig, CLIENT_PORT) == 1
    rig.hold(private(all_slots(2)))
    return rig


# What writes an assignment -------------------------------------------------------------------------------------------


def test_source_is_assigned_when_its_handshake_is_complete_and_not_before(rig: Rig) -> None:
    rig.hold(private(all_slots(1)))
    seen = []
    for flags in ("S", "S", "A", "PA", "FA"):
        send(rig, flags, CLIENT_PORT)
        seen.append(assigned(rig))

    assert seen == [{}, {}, {CLIENT: 1}, {CLIENT: 1}, {CLIENT: 1}]
    assert rig.dataplane.assignments() == {Assigned(pool_id=POOL, source=CLIENT): reference(1, 7)}


def test_flood_of_syns_or_of_segments_in_mid_stream_assigns_nobody(rig: Rig) -> None:
    rig.hold(private())
    for number in range(2_000):
        address = (0x0B000000 + number).to_bytes(4, "big")
        for frame in (tcp("S"), tcp("A", client_port=7), udp()):
            rig.run(patched(frame, 26, address))

    assert assigned(rig) == {}


def test_handshake_that_was_turned_away_assigns_nobody(rig: Rig) -> None:
    rig.hold(tables({1: backend_row(1, limit=1)}, is_private=True))
    other = IPv4Address("10.0.0.9")
    send(rig, "S", CLIENT_PORT, client=other)
    assert connect(rig, CLIENT_PORT) == 1

    assert send(rig, "A", CLIENT_PORT, client=other) == (Reason.TURNED_AWAY, 0)
    assert assigned(rig) == {CLIENT: 1}


def test_pool_with_shared_storage_assigns_nobody(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    connect(rig, CLIENT_PORT)

    assert assigned(rig) == {}


# Whom an unassigned source gets --------------------------------------------------------------------------------------


def test_connections_of_one_source_that_begin_at_once_go_to_one_backend(rig: Rig) -> None:
    rig.hold(private())

    assert len({send(rig, "S", port)[1] for port in range(50_000, 50_100)}) == 1
    assert len({send(rig, "A", port)[1] for port in range(60_000, 60_100)}) == 1


def test_sources_are_shared_out_by_the_slots(rig: Rig) -> None:
    rig.hold(private())
    slots = private().slots[1].tolist()
    clients = [IPv4Address(int(CLIENT) + number) for number in range(300)]

    found = [send(rig, "S", CLIENT_PORT, client=client)[1] for client in clients]

    assert found == [slots[hash_source(client) * SIZE >> 32] & 0xFFFF for client in clients]
    assert min(map(found.count, (1, 2, 3))) > 60


def test_handshakes_across_a_reweighting_leave_the_source_with_the_first_that_was_complete(rig: Rig) -> None:
    rig.hold(private(all_slots(1)))
    send(rig, "S", 1)
    rig.hold(private(all_slots(2)))
    send(rig, "S", 2)

    assert [send(rig, "A", port) for port in (2, 1)] == [(Reason.FIRST_ACK, 2), (Reason.TURNED_AWAY, 0)]
    assert assigned(rig) == {CLIENT: 2}
    assert connect(rig, 3) == 2


# What keeps it -------------------------------------------------------------------------------------------------------


def test_source_keeps_its_backend_through_reweighting(held: Rig) -> None:
    assert connect(held, 50_000) == 1
    assert send(held, "A", 50_001) == (Reason.PICKED_UP, 1)
    assert held.run(udp()).data == forwarded(udp(), 1)
    assert connect(held, 50_002, IPv4Address("10.0.0.9")) == 2
    assert assigned(held)[CLIENT] == 1


@pytest.mark.parametrize("state", NO_NEW)
def test_source_whose_backend_takes_nobody_is_turned_away_and_not_moved(held: Rig, state: BackendState) -> None:
    held.hold(private(all_slots(2), state=state, number=1))

    for frame in (tcp("S", client_port=50_000), udp(client_port=50_000)):
        outcome, reason = held.run_for_reason(frame)
        assert (reason, outcome.data) == (Reason.TURNED_AWAY, answer_to(frame))
    assert assigned(held) == {CLIENT: 1}
    held.hold(private(all_slots(2)))
    assert connect(held, 50_000) == 1


@pytest.mark.parametrize("state", NO_NEW)
def test_source_in_mid_stream_goes_to_its_backend_whatever_its_state(held: Rig, state: BackendState) -> None:
    held.hold(private(all_slots(2), state=state, number=1))
    is_cut = state in (BackendState.DEAD, BackendState.HALTED)

    assert send(held, "PA", 50_000) == ((Reason.RESET, 0) if is_cut else (Reason.PICKED_UP, 1))


def test_source_whose_backend_is_full_is_turned_away_although_others_have_room(held: Rig) -> None:
    held.hold(private(all_slots(2), number=1, limit=1))

    assert send(held, "S", 50_000) == (Reason.TURNED_AWAY, 0)
    send(held, "FA", CLIENT_PORT)
    assert connect(held, 50_000) == 1


@pytest.mark.parametrize("generation", [None, 8])
def test_source_whose_backend_is_gone_is_assigned_anew(held: Rig, generation: int | None) -> None:
    rows = backends(BackendState.ABSENT, number=1)
    if generation is not None:
        rows[1] = replace(backend_row(1), generation=generation)
    held.hold(tables(rows, all_slots(2), is_private=True))
    assert send(held, "S", 50_000) == (Reason.SYN, 2)
    assert held.dataplane.assignments() == {Assigned(pool_id=POOL, source=CLIENT): reference(1, 7)}

    assert send(held, "A", 50_000) == (Reason.FIRST_ACK, 2)
    assert held.dataplane.assignments() == {Assigned(pool_id=POOL, source=CLIENT): reference(2, 7)}


# By hand -------------------------------------------------------------------------------------------------------------


def test_source_that_is_given_another_backend_goes_there_and_its_live_connections_stay(held: Rig) -> None:
    key = Assigned(pool_id=POOL, source=CLIENT)
    held.dataplane.assign({key: reference(3, 7)})
    assert (connect(held, 50_000), send(held, "PA", CLIENT_PORT)) == (3, (Reason.ESTABLISHED, 1))

    held.dataplane.assign({key: None, Assigned(pool_id=POOL, source=IPv4Address("10.9.9.9")): None})
    assert held.dataplane.assignments() == {}
    assert connect(held, 50_001) == 2


def test_assignment_is_of_one_pool(held: Rig) -> None:
    held.dataplane.assign({Assigned(pool_id=2, source=CLIENT): reference(3, 7)})

    assert connect(held, 50_000) == 1


def test_flow_of_a_source_goes_on_where_it_is_although_its_holder_is_another(held: Rig) -> None:
    put_flow(held, FlowKey(Protocol.TCP, CLIENT, VIP, CLIENT_PORT, DICOM), Entry(backend=3))

    assert send(held, "PA", CLIENT_PORT) == (Reason.ESTABLISHED, 3)


# A full map ----------------------------------------------------------------------------------------------------------

ROOM = 8


@pytest.fixture
def small_rig(object_file: ObjectFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setitem(MAPS, "lb_assignments4", replace(MAPS["lb_assignments4"], max_entries=ROOM))
    with rig_of(object_file) as rig:
        yield rig


def test_full_map_keeps_who_is_in_it_and_sends_the_others_by_their_slots(small_rig: Rig) -> None:
    small_rig.hold(private(all_slots(1)))
    clients = [IPv4Address(int(CLIENT) + number) for number in range(2 * ROOM)]
    assert {connect(small_rig, CLIENT_PORT, client=client) for client in clients} == {1}
    small_rig.hold(private(all_slots(2)))

    assert assigned(small_rig) == dict.fromkeys(clients[:ROOM], 1)
    assert [connect(small_rig, 50_000, client) for client in clients] == [1] * ROOM + [2] * ROOM

"""A start of another version, its program not yet at work: the one that is goes on as it was, also if the start fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbctl.core.plan import diff
from lbctl.core.tables import Members, reference
from lbctl.dataplane import carrying, loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.loader import load
from lbctl.dataplane.moving import move_flows
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import KernelError
from tests.packets.cases import USUAL
from tests.packets.families import IPV4
from tests.packets.rig import Rig
from tests.packets.test_flow_tables import fill, table
from tests.packets.versions import other_backends, put_to_work, with_values
from tests.packets.world import GENERATION, POOL, SIZE, backend_row
from tests.tables import comparable

SECOND, THIRD = reference(2, GENERATION), reference(3, GENERATION)


def test_program_at_work_is_not_touched_by_what_is_carried_over(object_file: ObjectFile, running: Rig) -> None:
    sent = running.run(IPV4.tcp("A")).data
    loaded = load(object_file, running.pins, other_backends())
    successor = KernelDataplane(loaded, running.pins)
    for step in diff(successor.read(), replace(USUAL.tables, backends={}, slots={}, members={}, pools={})).steps:
        if "Slots" in type(step).__name__ or "Backend" in type(step).__name__:
            successor.write(step)

    assert running.run(IPV4.tcp("A")).data == sent


@pytest.mark.parametrize("name", ["lb_backends", "lb_slots", "lb_members", "lb_pools"])
def test_program_at_work_is_not_touched_by_what_the_next_daemon_writes_before_it_puts_its_own_to_work(
    object_file: ObjectFile, running: Rig, name: str
) -> None:
    """The pool's slots lie elsewhere, and there is another pool with other servers in their place; or the start fails there."""
    frames = [IPV4.tcp(flags, client_port=port) for flags in "SA" for port in range(1, 30)]
    sent = [running.run(frame).data for frame in frames]
    wider = np.dtype([*MAPS[name].value.descr, ("more", "<u8")]) if MAPS[name].value.names else np.dtype("<u8")
    successor = KernelDataplane(load(object_file, running.pins, with_values(**{name: wider})), running.pins)
    (pool,) = USUAL.tables.pools.values()
    wanted = replace(
        USUAL.tables,
        pools={POOL: replace(pool, base=SIZE, size=2 * SIZE), POOL + 1: replace(pool, identity=pool.identity + 1)},
        slots={POOL: np.full(2 * SIZE, THIRD, np.uint32), POOL + 1: np.full(SIZE, SECOND, np.uint32)},
        members={POOL: Members(own=(THIRD,)), POOL + 1: Members(own=(SECOND,))},
    )
    with running.elsewhere():
        for step in diff(successor.read(), wanted).steps:
            successor.write(step)

    running.forget()
    assert [running.run(frame).data for frame in frames] == sent


def test_of_two_versions_tables_those_of_the_program_at_work_are_carried_over(
    object_file: ObjectFile, running: Rig
) -> None:
    """The start of another version was interrupted before its program was put to work."""
    interrupted = load(object_file, running.pins, other_backends())
    loader.pin_programs(interrupted, running.pins)
    running.hold(replace(USUAL.tables, backends={2: USUAL.tables.backends[2]}))
    globals_ = interrupted.specs["lb_globals"]
    third = {name: replace(spec, refers_to=(*spec.refers_to, globals_)) for name, spec in other_backends().items()}

    loaded = load(object_file, running.pins, third)

    assert KernelDataplane(loaded, running.pins).read().backends.keys() == {2}


def test_tables_of_a_start_that_was_broken_off_are_not_trusted_by_the_next(
    object_file: ObjectFile, running: Rig
) -> None:
    """Meanwhile the version before went on, and gave a number away that was free when they were made."""
    fill(table(running.loaded), range(4), backend=SECOND)
    broken_off = load(object_file, running.pins, other_backends())
    move_flows(broken_off, running.pins)
    table(running.loaded).remove_all(next(table(running.loaded).batches())[0][:1])
    running.hold(replace(USUAL.tables, backends={**USUAL.tables.backends, 9: backend_row(9)}))

    loaded = load(object_file, running.pins, other_backends())

    assert "lb_backends" not in loaded.adopted
    assert comparable(KernelDataplane(loaded, running.pins).read()) == comparable(running.dataplane.read())
    assert move_flows(loaded, running.pins) == 3
    put_to_work(loaded, running)
    assert load(object_file, running.pins, other_backends()).adopted == frozenset(loaded.specs) - {loader.TAILS}


def test_start_that_fails_while_it_carries_over_leaves_no_half_of_a_table(
    object_file: ObjectFile, running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name for path in running.pins.iterdir()}

    def fail(*_: object) -> None:
        raise KernelError("no memory")

    monkeypatch.setitem(carrying.CARRIED, "lb_slots", fail)
    with pytest.raises(KernelError):
        load(object_file, running.pins, other_backends())

    assert {path.name for path in running.pins.iterdir()} == before

"""The real data plane: it reads what it wrote, adopts what it finds, sweeps what is due, and fits in the kernel's limits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.core.model import Address, Protocol
from lbctl.core.plan import Plan, SetService, SetVip, diff
from lbctl.core.tables import ROUTED, Lan, ServiceKey, ServiceRow, Tables
from lbctl.dataplane import bpf, layout, loader, rows
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.loader import TAILS, load, open_map, prepare_pins
from lbctl.dataplane.maps import shared_array
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import KernelError, LayoutError, SystemRequirementError
from tests.packets.cases import USUAL
from tests.packets.devices import mounted_bpffs
from tests.packets.frames import CLIENT, forwarded, tcp, udp
from tests.packets.hashes import hash_flow, slot_of
from tests.packets.rig import Rig
from tests.packets.world import HERE, SIZE, VIP, VIP6, backend_row
from tests.strategies import successors
from tests.tables import comparable, dangers, states_during


@pytest.fixture
def pins() -> Iterator[Path]:
    """An empty bpffs."""
    directory = Path(tempfile.mkdtemp(prefix="lbctl-pins-"))
    with mounted_bpffs(directory) as mounted:
        yield mounted
    directory.rmdir()


# Tables --------------------------------------------------------------------------------------------------------------


def test_kernel_and_fake_agree_after_every_step_of_random_histories(fresh_rig: Rig) -> None:
    """One history over all examples: the kernel's tables are never fresh."""
    kernel, fake = fresh_rig.dataplane, FakeDataplane()

    @given(st.data())
    @settings(max_examples=60, deadline=None, database=None)
    def run(data: st.DataObject) -> None:
        desired = data.draw(successors(fake.read()))
        plan = diff(kernel.read(), desired)
        pairs = zip(states_during(plan, kernel), states_during(plan, fake), strict=True)
        for number, (real, expected) in enumerate(pairs):
            assert comparable(real) == comparable(expected), plan.steps[:number]
            assert dangers(real) == []
        assert comparable(kernel.read()) == comparable(desired)
        assert diff(kernel.read(), desired).is_empty

    run()


def test_kernel_filter_holds_exactly_the_vips(fresh_rig: Rig) -> None:
    vips = [IPv4Address(f"192.0.2.{n}") if n % 3 else IPv6Address(f"2001:db8::{n}") for n in range(1, 60)]
    for vip in vips:
        fresh_rig.dataplane.write(SetVip(vip=vip, before=None, after=HERE))
    for vip in vips[::2]:
        fresh_rig.dataplane.write(SetVip(vip=vip, before=HERE, after=None))

    words = shared_array(fresh_rig.loaded.maps["lb_vip_filter"], MAPS["lb_vip_filter"])

    assert np.array_equal(words, rows.filter_words(vips[1::2]))
    assert fresh_rig.dataplane.read().vips == dict.fromkeys(vips[1::2], HERE)


def colliding_keys(count: int) -> list[ServiceKey]:
    """Services whose first row is the last one, so that their probes go round the end of the table."""
    inverse = pow(0x9E3779B1, -1, 1 << 32)
    folded = ((layout.SERVICE_ROWS - 1) << 17) * inverse & 0xFFFFFFFF
    keys = []
    for port in range(1, count + 1):
        high = rows.service_word(ServiceKey(vip=IPv4Address(0), port=port, protocol=Protocol.TCP)) >> 32
        keys.append(
            ServiceKey(vip=IPv4Address((folded ^ high).to_bytes(4, "little")), port=port, protocol=Protocol.TCP)
        )
    assert {rows.service_home(rows.service_word(key)) for key in keys} == {layout.SERVICE_ROWS - 1}
    return keys


def test_services_that_collide_at_the_end_of_the_table_are_all_found_by_the_program(fresh_rig: Rig) -> None:
    keys = colliding_keys(layout.SERVICE_PROBES)
    tables = replace(
        USUAL.tables,
        vips={key.vip: HERE for key in keys},
        services={key: ServiceRow(id=number, pool_id=1) for number, key in enumerate(keys, start=1)},
    )
    fresh_rig.hold(tables)

    for key in keys:
        frame = tcp("S", key.port, vip=key.vip)
        assert fresh_rig.run(frame).data[12:] == frame[12:]
    assert fresh_rig.reasons()["syn"] == len(keys)
    assert comparable(fresh_rig.dataplane.read()) == comparable(tables)


def test_service_without_room_is_refused_and_changes_nothing(fresh_rig: Rig) -> None:
    *keys, one_more = colliding_keys(layout.SERVICE_PROBES + 1)
    for number, key in enumerate(keys, start=1):
        fresh_rig.dataplane.write(SetService(key=key, before=None, after=ServiceRow(id=number, pool_id=1)))
    before = fresh_rig.dataplane.read()

    with pytest.raises(KernelError, match="no room in lb_services") as caught:
        fresh_rig.dataplane.write(SetService(key=one_more, before=None, after=ServiceRow(id=9, pool_id=1)))

    assert caught.value.hint
    assert comparable(fresh_rig.dataplane.read()) == comparable(before)


def test_new_service_and_new_backend_begin_with_counters_of_nought(fresh_rig: Rig) -> None:
    fresh_rig.hold(USUAL.tables)
    fresh_rig.run(tcp("S"))
    fresh_rig.run(tcp("A"))
    fresh_rig.hold(Tables())
    fresh_rig.hold(USUAL.tables)

    counters = fresh_rig.dataplane.counters(services=(1, 2, 3), backends=(1, 2, 3))

    assert {t.packets for t in (*counters.services.values(), *counters.backends.values())} == {0}
    assert counters.reasons["syn"].packets == 1


def test_filter_is_made_good_by_the_next_instance(fresh_rig: Rig) -> None:
    """A writer may be killed between the table of VIPs and the filter."""
    fresh_rig.hold(USUAL.tables)
    shared_array(fresh_rig.loaded.maps["lb_vip_filter"], MAPS["lb_vip_filter"])[:] = 0
    assert fresh_rig.run(tcp("S")).data == tcp("S")

    KernelDataplane(fresh_rig.loaded, fresh_rig.pins)

    assert fresh_rig.run(tcp("S")).data != tcp("S")


def test_rows_that_hold_both_families_are_read_as_they_were_written(fresh_rig: Rig) -> None:
    backends = {1: backend_row(1), 2: replace(backend_row(2), address=IPv6Address("2001:db8:2::12"), lan=Lan(1, 20))}
    vips: dict[Address, Lan] = {VIP: HERE, VIP6: Lan(1, 20 * 4096 + 7), IPv6Address("2001:db8:9::1"): ROUTED}

    fresh_rig.hold(replace(USUAL.tables, backends=backends, vips=vips))

    found = fresh_rig.dataplane.read()
    assert (found.backends, found.vips) == (backends, vips)
    assert KernelDataplane(fresh_rig.loaded, fresh_rig.pins).read().services == USUAL.tables.services


def test_seed_is_sown_once_and_decides_who_gets_what(fresh_rig: Rig) -> None:
    fresh_rig.dataplane.sow(0x1234)
    fresh_rig.dataplane.sow(0x9999)
    fresh_rig.dataplane.seal()
    fresh_rig.hold(USUAL.tables)
    frames = [tcp("S", client_port=port) for port in range(50_000, 50_040)]

    slots = [slot_of(hash_flow(CLIENT, VIP, port, 104, seed=0x1234), SIZE) for port in range(50_000, 50_040)]

    owners = [int(USUAL.tables.slots[1][slot]) & 0xFFFF for slot in slots]
    assert [fresh_rig.run(frame).data for frame in frames] == [
        forwarded(frame, owner) for frame, owner in zip(frames, owners, strict=True)
    ]


def test_seed_is_not_sown_where_connections_were_placed_without_one(fresh_rig: Rig) -> None:
    fresh_rig.dataplane.seal()
    fresh_rig.hold(USUAL.tables)
    before = fresh_rig.run(tcp("S")).data
    fresh_rig.dataplane.sow(0x1234)

    assert fresh_rig.run(tcp("S", client_port=40_000)).data == before


def test_seal_counts_on_across_instances(fresh_rig: Rig) -> None:
    first = [fresh_rig.dataplane.seal(), fresh_rig.dataplane.seal()]
    again = KernelDataplane(fresh_rig.loaded, fresh_rig.pins)

    assert (first, again.generation(), again.seal()) == ([1, 2], 2, 3)


# Adoption ------------------------------------------------------------------------------------------------------------


def test_second_instance_on_the_same_pins_adopts_tables_flows_and_counters(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    fresh_rig.hold(USUAL.tables)
    sent = fresh_rig.run(tcp("A")).data
    fresh_rig.run(udp())

    loaded = load(object_file, fresh_rig.pins)
    successor = KernelDataplane(loaded, fresh_rig.pins)

    assert loaded.adopted == frozenset(MAPS) - {TAILS}
    assert comparable(successor.read()) == comparable(fresh_rig.dataplane.read())
    assert diff(successor.read(), USUAL.tables) == Plan()
    assert {flow.protocol for flow in successor.flows(limit=10)} == {Protocol.TCP, Protocol.UDP}
    assert bpf.test_run(loaded.programs[loader.INGRESS], tcp("A")).data == sent
    assert successor.counters(services=(), backends=()).reasons["established"].packets == 1


def test_map_of_another_layout_is_made_anew_and_the_others_are_adopted(
    object_file: ObjectFile, fresh_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAPS, "lb_flows_udp4", replace(MAPS["lb_flows_udp4"], max_entries=64))

    loaded = load(object_file, fresh_rig.pins)

    assert loaded.adopted == frozenset(MAPS) - {"lb_flows_udp4", TAILS}
    assert len(list(fresh_rig.pins.glob("lb_flows_udp4@*"))) == 2

    loader.remove_left_overs(fresh_rig.pins, MAPS)

    assert sorted(fresh_rig.pins.glob("lb_*")) == sorted(
        loader.pin_path(name, spec, fresh_rig.pins) for name, spec in MAPS.items() if name != TAILS
    )


@pytest.mark.parametrize(
    "change",
    [{"max_entries": 8}, {"value": layout.BACKEND_STATS}, {"key": layout.WORD}, {"flags": 1}],
    ids=lambda c: next(iter(c)),
)
def test_pin_that_is_not_the_map_its_name_says_is_refused(pins: Path, change: dict[str, object]) -> None:
    spec = MAPS["lb_flows_tcp4"]
    other = replace(spec, **change)  # type: ignore[arg-type]
    impostor = bpf.create_map(
        "impostor",
        type=other.type,
        key_size=other.key.itemsize,
        value_size=other.value.itemsize,
        max_entries=other.max_entries,
        flags=other.flags,
    )
    bpf.pin(impostor, pins / f"lb_flows_tcp4@{spec.layout_id}")

    with pytest.raises(LayoutError, match="is not the map its name says") as caught:
        open_map("lb_flows_tcp4", spec, pins)
    assert "lbctl detach" in caught.value.hint


def test_pins_on_a_bpffs_are_made_with_their_parents(pins: Path) -> None:
    prepare_pins(pins / "lbctl")
    prepare_pins(pins / "lbctl")

    assert (pins / "lbctl").stat().st_mode & 0o777 == 0o700


def test_pin_directory_that_is_open_to_others_is_refused(pins: Path) -> None:
    """Whoever may remove a pin can stop the traffic."""
    (pins / "lbctl").mkdir()
    (pins / "lbctl").chmod(0o755)

    with pytest.raises(SystemRequirementError, match="open to others") as caught:
        prepare_pins(pins / "lbctl")
    assert "rmdir" in caught.value.hint


@pytest.mark.parametrize("below", ["", "lbctl", "some/where/lbctl"])
def test_pin_directory_that_is_not_on_a_bpffs_is_refused_and_not_made(tmp_path: Path, below: str) -> None:
    with pytest.raises(SystemRequirementError, match="is not on a BPF file system") as caught:
        prepare_pins(tmp_path / below)

    assert "mount -t bpf" in caught.value.hint
    assert list(tmp_path.iterdir()) == []

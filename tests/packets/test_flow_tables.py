"""Flow tables of other sizes: what they take, and that live flows come along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.core.memory import flow_table_bytes
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import MAPS, sized
from lbctl.dataplane.loader import Loaded, load
from lbctl.dataplane.maps import HashMap, memory_of
from lbctl.dataplane.moving import move_flows
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import SystemRequirementError
from tests.packets.rig import Rig

KEYS: list[tuple[int, ...]] = [(0x0A000000 + number, 0xC0000264, 40_000 + number, 104, 0) for number in range(100)]


def table(loaded: Loaded) -> HashMap:
    return HashMap(loaded.maps["lb_flows_tcp4"], loaded.specs["lb_flows_tcp4"])


def fill(flows: HashMap, keys: list[tuple[int, ...]], *, backend: int = 1, last_seen: int = 7) -> None:
    for key in keys:
        flows.set(key, (backend, last_seen, 1, 0, 0, 5, 6, 0))


def held(flows: HashMap) -> dict[tuple[int, ...], int]:
    return {
        key: int(value["backend"])
        for keys, values in flows.batches()
        for key, value in zip(keys.tolist(), values, strict=True)
    }


@pytest.mark.parametrize("entries", [1_024, 65_536, 100_000, 131_072, 1_000_000])
def test_flow_table_takes_the_memory_that_check_says(entries: int) -> None:
    spec = sized(tcp_flows=entries)["lb_flows_tcp4"]
    made = bpf.create_map("sized", type=spec.type, key_size=16, value_size=24, max_entries=entries, flags=spec.flags)

    assert flow_table_bytes(entries) == pytest.approx(memory_of(made), rel=0.02)


@pytest.mark.parametrize("size", [128, 1 << 18], ids=["smaller", "larger"])
def test_flows_come_along_into_a_table_of_another_size(object_file: ObjectFile, fresh_rig: Rig, size: int) -> None:
    fill(table(fresh_rig.loaded), KEYS[:90])

    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=size))

    assert move_flows(loaded, fresh_rig.pins) == 90
    assert held(table(loaded)) == dict.fromkeys(KEYS[:90], 1)
    successor = KernelDataplane(loaded, fresh_rig.pins)
    assert len(successor.flows(limit=1000)) == 90

    fill(table(fresh_rig.loaded), KEYS[90:])  # by the program that still runs
    fill(table(loaded), KEYS[:10], backend=2, last_seen=8)  # by the one that runs already

    assert move_flows(loaded, fresh_rig.pins) == 10
    assert held(table(loaded)) == {**dict.fromkeys(KEYS, 1), **dict.fromkeys(KEYS[:10], 2)}

    fill(table(fresh_rig.loaded), KEYS[50:60], backend=3, last_seen=8)  # noted by the program that ran until now

    assert move_flows(loaded, fresh_rig.pins) == 10
    assert {held(table(loaded))[key] for key in KEYS[50:60]} == {3}

    loader.remove_left_overs(fresh_rig.pins, loaded.specs)
    assert move_flows(loaded, fresh_rig.pins) == 0


def test_flows_that_do_not_fit_are_refused_and_the_running_table_is_untouched(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    fill(table(fresh_rig.loaded), KEYS)
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=64))

    with pytest.raises(SystemRequirementError, match="100 live flows do not fit a table of 64") as caught:
        move_flows(loaded, fresh_rig.pins)

    assert "director.tcp_flows" in caught.value.hint
    assert held(table(fresh_rig.loaded)) == dict.fromkeys(KEYS, 1)


def test_flows_of_another_layout_are_left_where_they_are(
    object_file: ObjectFile, fresh_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their backend ids would mean other servers."""
    fill(table(fresh_rig.loaded), KEYS)
    backends = replace(MAPS["lb_backends"], max_entries=8)
    spec = MAPS["lb_flows_tcp4"]
    monkeypatch.setitem(MAPS, "lb_flows_tcp4", replace(spec, refers_to=(backends, *spec.refers_to[1:])))

    loaded = load(object_file, fresh_rig.pins, sized())

    assert "lb_flows_tcp4" not in loaded.adopted
    assert move_flows(loaded, fresh_rig.pins) == 0


def test_maps_that_name_backends_are_made_anew_with_the_table_of_backends() -> None:
    kin = {name for name, spec in MAPS.items() if MAPS["lb_backends"] in spec.refers_to}

    assert {"lb_slots", "lb_members", "lb_flows_tcp4", "lb_flows_udp4", "lb_half_opens", "lb_fragments"} < kin
    assert {"lb_assignments", "lb_connections", "lb_backend_stats"} < kin


def test_left_over_of_a_table_that_is_used_is_none(object_file: ObjectFile, fresh_rig: Rig) -> None:
    assert loader.left_overs(fresh_rig.pins, fresh_rig.loaded.specs) == []
    path: Path = loader.pin_path("lb_flows_tcp4", sized(tcp_flows=64)["lb_flows_tcp4"], fresh_rig.pins)
    load(object_file, fresh_rig.pins, sized(tcp_flows=64))

    assert loader.left_overs(fresh_rig.pins, fresh_rig.loaded.specs) == [path]

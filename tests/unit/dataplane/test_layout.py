"""layout.py mirrors ebpf/types.h and ebpf/maps.h: here as far as the text tells, in tests/packets by the compiler's word."""

from __future__ import annotations

import re
from copy import deepcopy
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbctl.core.tables import BackendState
from lbctl.dataplane import layout
from lbctl.dataplane.events import Watch
from lbctl.dataplane.layout import MAPS, FlowState, Reason
from lbctl.dataplane.mapspec import MMAPABLE, NO_PREALLOC, MapType, fields_of
from lbctl.errors import LayoutError

EBPF = Path(__file__).parents[3] / "ebpf"
TYPES = (EBPF / "types.h").read_text(encoding="utf-8")
MAPS_H = (EBPF / "maps.h").read_text(encoding="utf-8")
DECLARATION = re.compile(
    r'BPF_F_TABLE\("(?P<type>\w+)", (?P<key>[\w ]+), (?P<value>[\w ]+), (?P<name>\w+), 1, (?P<flags>\w+)\)'
)
DECLARED = {found["name"]: found for found in DECLARATION.finditer(MAPS_H)}
OF_A_KIND = {
    "BPF_DEVMAP": (MapType.DEVMAP, layout.INDEX, layout.INDEX),
    "BPF_PROG_ARRAY": (MapType.PROG_ARRAY, layout.INDEX, layout.INDEX),
    "BPF_RINGBUF_OUTPUT": (MapType.RINGBUF, layout.NOTHING, layout.NOTHING),
}
"""bcc's macros for maps whose keys and values are always the same."""
DECLARED_OF_A_KIND = {name: kind for kind, name in re.findall(r"^(BPF_[A-Z_]+)\((lb_\w+), 1\);$", MAPS_H, re.MULTILINE)}

SCALARS = {"u32": "<u4", "u64": "<u8", "__be32": ">u4"}
STRUCTS: dict[str, np.dtype[Any]] = {
    "globals": layout.GLOBALS,
    "budget": layout.BUDGET,
    "interface": layout.INTERFACE,
    "vip": layout.VIP,
    "service": layout.SERVICE,
    "pool": layout.POOL,
    "backend": layout.BACKEND,
    "connections": layout.CONNECTIONS,
    "candidate": layout.CANDIDATE,
    "assignment_key4": layout.ASSIGNMENT_KEY4,
    "assignment_key6": layout.ASSIGNMENT_KEY6,
    "address6": layout.ADDRESS6,
    "source_key4": layout.SOURCE_KEY4,
    "source_key6": layout.SOURCE_KEY6,
    "source": layout.SOURCE,
    "flow_key4": layout.FLOW_KEY4,
    "flow_key6": layout.FLOW_KEY6,
    "flow": layout.FLOW,
    "counter": layout.COUNTER,
    "service_stats": layout.SERVICE_STATS,
    "backend_stats": layout.BACKEND_STATS,
    "handshake_times": layout.HANDSHAKE_TIMES,
    "event": layout.EVENT,
    "chain": layout.CHAIN,
}


def constants_of(enum: str) -> dict[str, int]:
    """Names and values of an enum of types.h."""
    body = re.search(rf"enum {enum} {{(.*?)}};", TYPES, re.DOTALL)
    assert body
    return {name: int(value) for name, value in re.findall(r"\b(LB_\w+) = (\d+)", body[1])}


def dtype_of(declared: str) -> np.dtype[Any]:
    return np.dtype(SCALARS[declared]) if declared in SCALARS else STRUCTS[declared.removeprefix("struct ")]


def compiled() -> dict[str, dict[str, Any]]:
    """What the build child says when all is well."""
    return {
        name: {
            "type": int(spec.type),
            "flags": spec.flags,
            "key_size": spec.key.itemsize,
            "value_size": spec.value.itemsize,
            "key": deepcopy(fields_of(spec.key)),
            "value": deepcopy(fields_of(spec.value)),
        }
        for name, spec in MAPS.items()
    }


@pytest.mark.parametrize(
    ("enum", "prefix", "mirror"),
    [
        ("lb_backend_state", "LB_BACKEND_", BackendState),
        ("lb_flow_state", "LB_FLOW_", FlowState),
        ("lb_reason", "LB_", Reason),
        ("lb_watch", "LB_WATCH_", Watch),
    ],
)
def test_layout_enum_has_the_names_and_values_of_types_h(enum: str, prefix: str, mirror: type[IntEnum]) -> None:
    constants = constants_of(enum)
    count = constants.pop("LB_REASONS", None)

    assert {name.removeprefix(prefix): value for name, value in constants.items()} == {
        member.name: member.value for member in mirror
    }
    assert count in (None, len(mirror))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LB_INTERFACES", layout.INTERFACES),
        ("LB_INTERFACE_PROBES", layout.INTERFACE_PROBES),
        ("LB_FRAGMENTS", layout.FRAGMENTS),
        ("LB_HANDSHAKE_BUCKETS", layout.HANDSHAKE_BUCKETS),
        ("LB_HANDSHAKE_SAMPLE", layout.HANDSHAKE_SAMPLE),
        ("LB_EVENT_HEADERS", layout.EVENT_HEADERS),
        ("LB_SERVICES", layout.SERVICE_ROWS),
        ("LB_SERVICE_PROBES", layout.SERVICE_PROBES),
        ("LB_HALF_OPENS", layout.HALF_OPENS),
        ("LB_FILTER_WORDS", layout.FILTER_WORDS),
        ("LB_MEMBERS", layout.MEMBERS),
    ],
)
def test_layout_size_that_the_program_masks_with_is_that_of_types_h(name: str, value: int) -> None:
    found = re.search(rf"#define {name} (\d+)", TYPES)
    assert found
    assert int(found[1]) == value


def test_layout_rows_of_programs_are_those_of_types_h() -> None:
    constants = constants_of("lb_program")

    assert constants.pop("LB_PROGRAMS") == len(layout.PROGRAMS)
    assert {name.replace("LB_PROGRAM_", "lb_").lower(): row for name, row in constants.items()} == {
        name: row for row, name in enumerate(layout.PROGRAMS)
    }


def test_layout_purposes_of_budgets_are_those_of_types_h() -> None:
    purposes = constants_of("lb_purpose")

    assert purposes.pop("LB_PURPOSES") == layout.PURPOSES
    assert set(purposes.values()) == set(range(layout.PURPOSES))
    assert layout.MAPS["lb_budgets"].max_entries == layout.SERVICES * layout.PURPOSES


def test_layout_words_that_are_written_apart_lie_in_words_of_their_own() -> None:
    """The program's count and the daemon's correction are never in one store."""
    fields = {name: (offset, size) for name, offset, size in fields_of(layout.CONNECTIONS)}

    assert fields["opened"] == (0, 8)
    assert fields["pending"] == (8, 16)
    assert fields["corrected"] == (24, 4)


@pytest.mark.parametrize("size", [layout.INTERFACES, layout.SERVICE_ROWS, layout.HALF_OPENS, layout.FILTER_WORDS])
def test_layout_size_that_the_program_masks_with_is_a_power_of_two(size: int) -> None:
    assert size.bit_count() == 1


def test_layout_struct_sizes_are_those_asserted_in_types_h() -> None:
    asserted = re.findall(r"_Static_assert\(sizeof\(struct (\w+)\) == (\d+)", TYPES)

    assert len(asserted) >= 8
    assert {name: STRUCTS[name].itemsize for name, _ in asserted} == {name: int(size) for name, size in asserted}


def test_layout_struct_fields_are_those_of_types_h() -> None:
    for name, dtype in STRUCTS.items():
        body = re.search(rf"struct {name} {{(.*?)\n}};", TYPES, re.DOTALL)
        assert body, name
        without_comments = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
        assert re.findall(r"(\w+)(?:\[\w+\])?;", without_comments) == list(dtype.names or ())


def test_layout_maps_are_those_of_maps_h() -> None:
    assert set(DECLARED) | set(DECLARED_OF_A_KIND) == set(MAPS)


@pytest.mark.parametrize("name", DECLARED_OF_A_KIND)
def test_layout_map_of_a_kind_is_declared_alike_in_maps_h(name: str) -> None:
    spec = MAPS[name]

    assert (spec.type, spec.key, spec.value) == OF_A_KIND[DECLARED_OF_A_KIND[name]]
    assert spec.flags == 0


@pytest.mark.parametrize("name", DECLARED)
def test_layout_map_is_declared_alike_in_maps_h(name: str) -> None:
    spec, found = MAPS[name], DECLARED[name]
    flags = {"0": 0, "MMAPABLE": MMAPABLE, "NO_PREALLOC": NO_PREALLOC}[found["flags"]]

    assert (spec.type.name.lower(), spec.flags) == (found["type"], flags)
    assert (spec.key, spec.value) == (dtype_of(found["key"]), dtype_of(found["value"]))


def test_layout_has_no_padding_that_is_not_named() -> None:
    for name, dtype in STRUCTS.items():
        assert sum(size for *_, size in fields_of(dtype)) == dtype.itemsize, name


def test_layout_of_single_words_is_aligned() -> None:
    """What is written in one store must not lie across two words."""
    for dtype in STRUCTS.values():
        for _, offset, size in fields_of(dtype):
            assert size not in (2, 4, 8) or offset % size == 0


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_layout_sizes_of_flow_tables_are_the_files_and_one_row_for_what_nobody_needs(has_ipv6: bool) -> None:
    sizes = {
        name: spec.max_entries
        for name, spec in layout.sized(tcp_flows=300, udp_flows=20, has_ipv6=has_ipv6).items()
        if name in layout.FLOW_MAPS
    }

    assert sizes == {
        "lb_flows_tcp4": 300,
        "lb_flows_udp4": 20,
        "lb_flows_tcp6": 300 if has_ipv6 else 1,
        "lb_flows_udp6": 20 if has_ipv6 else 1,
    }


# verify --------------------------------------------------------------------------------------------------------------


def test_verify_agreement_is_silent() -> None:
    layout.verify(compiled())


@pytest.mark.parametrize(
    ("aspect", "value"),
    [
        ("type", 9),
        ("flags", 1),
        ("key_size", 20),
        ("value_size", 16),
        ("key", [["client", 0, 4]]),
        ("value", [["backend", 0, 4], ["last_seen", 8, 4]]),
    ],
)
def test_verify_difference_names_map_and_aspect_and_both_values(aspect: str, value: object) -> None:
    found = compiled()
    expected = found["lb_flows_tcp4"][aspect]
    found["lb_flows_tcp4"][aspect] = value
    found["lb_flows_udp4"][aspect] = value

    with pytest.raises(LayoutError) as caught:
        layout.verify(found)

    assert caught.value.message == f"map lb_flows_tcp4: {aspect} is {value} in ebpf/types.h, {expected} in layout.py"
    assert "layout.py" in caught.value.hint


@pytest.mark.parametrize("name", MAPS)
def test_verify_renamed_field_of_any_map_is_found(name: str) -> None:
    found = compiled()
    found[name]["value"] = [["other", 0, 8]]

    with pytest.raises(LayoutError, match=f"map {name}: value is "):
        layout.verify(found)


def test_verify_map_that_only_one_side_has_is_named() -> None:
    found = compiled()
    found["lb_new_things"] = found.pop("lb_slots")

    with pytest.raises(LayoutError, match="lb_new_things, lb_slots"):
        layout.verify(found)

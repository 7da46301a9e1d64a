"""layout.py mirrors ebpf/types.h and ebpf/maps.h: here as far as the text tells, in tests/packets by the compiler's word."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbctl.core.tables import BackendState
from lbctl.dataplane import layout
from lbctl.dataplane.layout import MAPS, FlowState, MapSpec, MapType, Reason
from lbctl.errors import LayoutError

EBPF = Path(__file__).parents[3] / "ebpf"
TYPES = (EBPF / "types.h").read_text(encoding="utf-8")
DECLARATION = re.compile(
    r'BPF_F_TABLE\("(?P<type>\w+)", (?P<key>[\w ]+), (?P<value>[\w ]+), (?P<name>\w+), 1, (?P<flags>\w+)\)'
)
DECLARED = {found["name"]: found for found in DECLARATION.finditer((EBPF / "maps.h").read_text(encoding="utf-8"))}

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
    "assignment_key": layout.ASSIGNMENT_KEY,
    "flow_key4": layout.FLOW_KEY4,
    "flow": layout.FLOW,
    "counter": layout.COUNTER,
    "service_stats": layout.SERVICE_STATS,
    "backend_stats": layout.BACKEND_STATS,
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
            "key": deepcopy(layout.fields_of(spec.key)),
            "value": deepcopy(layout.fields_of(spec.value)),
        }
        for name, spec in MAPS.items()
    }


@pytest.mark.parametrize(
    ("enum", "prefix", "mirror"),
    [
        ("lb_backend_state", "LB_BACKEND_", BackendState),
        ("lb_flow_state", "LB_FLOW_", FlowState),
        ("lb_reason", "LB_", Reason),
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


def test_layout_purposes_of_budgets_are_those_of_types_h() -> None:
    purposes = constants_of("lb_purpose")

    assert purposes.pop("LB_PURPOSES") == layout.PURPOSES
    assert set(purposes.values()) == set(range(layout.PURPOSES))
    assert layout.MAPS["lb_budgets"].max_entries == layout.SERVICES * layout.PURPOSES


def test_layout_words_that_are_written_apart_lie_in_words_of_their_own() -> None:
    """The program's count and the daemon's correction are never in one store."""
    fields = {name: (offset, size) for name, offset, size in layout.fields_of(layout.CONNECTIONS)}

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
        assert re.findall(r"(\w+)(?:\[\d+\])?;", without_comments) == list(dtype.names or ())


def test_layout_maps_are_those_of_maps_h() -> None:
    assert set(DECLARED) == set(MAPS)


@pytest.mark.parametrize("name", MAPS)
def test_layout_map_is_declared_alike_in_maps_h(name: str) -> None:
    spec, found = MAPS[name], DECLARED[name]
    flags = {"0": 0, "MMAPABLE": layout.MMAPABLE}[found["flags"]]

    assert (spec.type.name.lower(), spec.flags) == (found["type"], flags)
    assert (spec.key, spec.value) == (dtype_of(found["key"]), dtype_of(found["value"]))


def test_layout_has_no_padding_that_is_not_named() -> None:
    for name, dtype in STRUCTS.items():
        assert sum(size for *_, size in layout.fields_of(dtype)) == dtype.itemsize, name


def test_layout_of_single_words_is_aligned() -> None:
    """What is written in one store must not lie across two words."""
    for dtype in STRUCTS.values():
        for _, offset, size in layout.fields_of(dtype):
            assert size not in (2, 4, 8) or offset % size == 0


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


# Layout ids ----------------------------------------------------------------------------------------------------------

FIELDS = (("a", "<u4"), ("b", "<u4"))
SPEC = MapSpec(type=MapType.HASH, key=np.dtype("<u4"), value=layout.struct(*FIELDS), max_entries=8)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(SPEC, type=MapType.ARRAY), id="type"),
        pytest.param(replace(SPEC, flags=layout.MMAPABLE), id="flags"),
        pytest.param(replace(SPEC, max_entries=9), id="entries"),
        pytest.param(replace(SPEC, key=np.dtype("<u8")), id="key size"),
        pytest.param(replace(SPEC, key=layout.struct(("a", "<u4"))), id="key fields"),
        pytest.param(replace(SPEC, value=np.dtype("<u8")), id="value fields gone"),
        pytest.param(replace(SPEC, value=layout.struct(("a", "<u4"), ("c", "<u4"))), id="field renamed"),
        pytest.param(replace(SPEC, value=layout.struct(("b", "<u4"), ("a", "<u4"))), id="fields swapped"),
        pytest.param(replace(SPEC, value=layout.struct(("a", "<u2"), ("b", "<u2"))), id="field sizes"),
        pytest.param(replace(SPEC, value=layout.struct(*FIELDS, ("c", "<u4"))), id="field more"),
    ],
)
def test_layout_id_differs_when_the_map_cannot_be_used_again(other: MapSpec) -> None:
    assert other.layout_id != SPEC.layout_id


def test_layout_id_of_the_same_layout_is_the_same_and_fits_a_pin_name() -> None:
    assert replace(SPEC).layout_id == SPEC.layout_id
    assert all(re.fullmatch(r"[0-9a-f]{8}", spec.layout_id) for spec in MAPS.values())

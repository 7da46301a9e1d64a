"""Entries of another layout: which can be carried over, and what becomes of their fields."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbctl.dataplane.carrying import CARRIED, converted, fault_of
from lbctl.dataplane.layout import FLOW_KEY4, FLOW_MAPS, MAPS
from lbctl.dataplane.mapspec import MapSpec, MapType, array, hash_table, struct

KEY = struct(("client", ">u4"), ("port", ">u2"), ("pad", "u1", 2))
VALUE = struct(("backend", "<u4"), ("state", "u1"), ("pad", "u1", 3), ("words", ">u4", 4))
TABLE = hash_table(KEY, VALUE, 16)


def test_conversion_keeps_fields_by_name_and_begins_new_ones_at_zero() -> None:
    after = struct(("added", "<u8"), ("words", ">u4", 4), ("state", "<u4"), ("backend", "<u4"))
    found = converted(np.array([(7, 2, (9, 9, 9), (1, 2, 3, 4))], VALUE), after)
    assert found.dtype == after
    assert {name: found[name].tolist() for name in after.names or ()} == {
        "added": [0],
        "words": [[1, 2, 3, 4]],
        "state": [2],
        "backend": [7],
    }


def test_conversion_never_takes_padding_for_a_field() -> None:
    found = converted(np.array([(7, 2, (9, 9, 9), (1, 2, 3, 4))], VALUE), VALUE)
    assert found["pad"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    "after",
    [
        TABLE,
        replace(TABLE, max_entries=99),
        replace(TABLE, key=struct(("port", ">u2"), ("client", ">u4"))),
        replace(TABLE, value=struct(("state", "<u8"), ("added", "<u8"))),
        replace(TABLE, refers_to=(array(VALUE, 3),)),
    ],
    ids=["same", "size", "key in another order", "other fields", "other kin"],
)
def test_layouts_between_which_entries_can_be_carried_over(after: MapSpec) -> None:
    assert fault_of(TABLE, after) == ""
    assert fault_of(after, TABLE) == ""


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (replace(TABLE, type=MapType.LPM_TRIE), "it was another kind of map"),
        (replace(TABLE, key=FLOW_KEY4), "its key had other fields"),
        (replace(TABLE, key=struct(("client", ">u4", 4), ("port", ">u2"))), "its key had other fields"),
        (replace(TABLE, value=np.dtype("<u8")), "its entries have no fields any more"),
        (replace(TABLE, value=struct(("words", ">u4", 8))), "the field words was of another kind"),
        (replace(TABLE, value=struct(("backend", "<f4"))), "the field backend was of another kind"),
    ],
)
def test_layouts_between_which_they_cannot_are_told_in_words(after: MapSpec, fault: str) -> None:
    assert fault_of(TABLE, after) == fault


def test_every_map_that_flows_refer_to_is_carried_over_and_all_that_names_a_backend() -> None:
    """But for counters, which begin at nought."""
    kin = {name for name, spec in MAPS.items() for flows in FLOW_MAPS if spec in MAPS[flows].refers_to}
    named = {name for name, spec in MAPS.items() if MAPS["lb_backends"] in spec.refers_to}
    assert kin <= CARRIED.keys()
    assert named - CARRIED.keys() == {*FLOW_MAPS, "lb_handshake_times", "lb_backend_stats"}

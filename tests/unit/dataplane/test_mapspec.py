"""What a pinned map's name says: whether it may be used again."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.mapspec import MMAPABLE, MapSpec, MapType, struct

FIELDS = (("a", "<u4"), ("b", "<u4"))
SPEC = MapSpec(type=MapType.HASH, key=np.dtype("<u4"), value=struct(*FIELDS), max_entries=8)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(SPEC, type=MapType.ARRAY), id="type"),
        pytest.param(replace(SPEC, flags=MMAPABLE), id="flags"),
        pytest.param(replace(SPEC, max_entries=9), id="entries"),
        pytest.param(replace(SPEC, key=np.dtype("<u8")), id="key size"),
        pytest.param(replace(SPEC, key=struct(("a", "<u4"))), id="key fields"),
        pytest.param(replace(SPEC, value=np.dtype("<u8")), id="value fields gone"),
        pytest.param(replace(SPEC, value=struct(("a", "<u4"), ("c", "<u4"))), id="field renamed"),
        pytest.param(replace(SPEC, value=struct(("b", "<u4"), ("a", "<u4"))), id="fields swapped"),
        pytest.param(replace(SPEC, value=struct(("a", "<u2"), ("b", "<u2"))), id="field sizes"),
        pytest.param(replace(SPEC, value=struct(*FIELDS, ("c", "<u4"))), id="field more"),
    ],
)
def test_layout_id_differs_when_the_map_cannot_be_used_again(other: MapSpec) -> None:
    assert other.layout_id != SPEC.layout_id


def test_layout_id_of_the_same_layout_is_the_same_and_fits_a_pin_name() -> None:
    assert replace(SPEC).layout_id == SPEC.layout_id
    assert all(re.fullmatch(r"[0-9a-f]{8}", spec.layout_id) for spec in MAPS.values())

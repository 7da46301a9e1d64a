"""The kernel memory of the flow tables, against figures worked out by hand."""

from __future__ import annotations

import pytest

from lbctl.core.memory import flow_table_bytes
from lbctl.core.model import Director


@pytest.mark.parametrize(
    ("entries", "size_bytes"),
    [
        (1, 88 + 16),
        (1_024, 1_024 * 104),
        (1_025, 1_025 * 88 + 2_048 * 16),
        (100_000, 8_800_000 + 2_097_152),
        (131_072, 13_631_488),
        (4_194_304, 436_207_616),
    ],
)
def test_flow_table_has_an_element_for_each_entry_and_buckets_in_a_power_of_two(entries: int, size_bytes: int) -> None:
    assert flow_table_bytes(entries) == size_bytes


def test_flow_tables_of_the_default_size_take_twenty_megabytes() -> None:
    director = Director()
    assert flow_table_bytes(director.tcp_flows) + flow_table_bytes(director.udp_flows) == 20_447_232

"""The kernel memory of the flow tables, against figures worked out by hand."""

from __future__ import annotations

import pytest

from lbctl.core.memory import flow_table_bytes
from lbctl.core.model import Director


@pytest.mark.parametrize(
    ("entries", "version", "size_bytes"),
    [
        (1, 4, 96 + 16),
        (1, 6, 120 + 16),
        (1_024, 4, 1_024 * 112),
        (1_024, 6, 1_024 * 136),
        (1_025, 4, 1_025 * 96 + 2_048 * 16),
        (100_000, 6, 12_000_000 + 2_097_152),
        (131_072, 4, 14_680_064),
        (4_194_304, 4, 469_762_048),
        (4_194_304, 6, 570_425_344),
    ],
)
def test_flow_table_has_an_element_for_each_entry_and_buckets_in_a_power_of_two(
    entries: int, version: int, size_bytes: int
) -> None:
    assert flow_table_bytes(entries, version=version) == size_bytes


@pytest.mark.parametrize(("version", "size_bytes"), [(4, 22_020_096), (6, 26_738_688)])
def test_flow_tables_of_the_default_size_take_little_of_a_hosts_memory(version: int, size_bytes: int) -> None:
    sizes = (Director().tcp_flows, Director().udp_flows)
    assert sum(flow_table_bytes(entries, version=version) for entries in sizes) == size_bytes

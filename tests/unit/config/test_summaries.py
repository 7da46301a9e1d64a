"""What people read: the summary of a good file, and the reference of what a file may say."""

from __future__ import annotations

import re

import pytest

from lbctl.config.describe import describe, warnings
from lbctl.config.loader import parse
from lbctl.config.presets import PRESETS
from lbctl.config.reference import reference
from lbctl.config.schema import SECTIONS
from lbctl.core.durations import seconds_text
from tests.unit.config.rows import GOOD


def test_describe_good_file_names_addresses_ports_shares_checks_and_limits() -> None:
    text = GOOD.replace("192.0.2.12}", "192.0.2.12, weight: 300}").replace(
        "weight: 300", "weight: 25, agent: {port: 3333}"
    )
    assert describe(parse(text, source="lbctl.yaml")) == [
        "interfaces",
        "  eth0: 192.0.2.10/24, XDP mode auto",
        "services",
        "  pacs: 192.0.2.100 tcp 104, 11112 on eth0 -> archives, idle limit 1h",
        "pools",
        "  archives: archive, shared storage, balance, 2 IPv4 backends, reset on down: transport",
        "    new connection, when no backend takes one: reset",
        "    pacs1: 192.0.2.11 on eth0, weight 100 (80%); "
        "dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, fall 2, rise 3",
        "    pacs2: 192.0.2.12 on eth0, weight 25 (20%); "
        "dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, fall 2, rise 3; agent port 3333 every 500ms",
        "director",
        "  flow tables: 131,072 TCP and 65,536 UDP flows, 22 MB of kernel memory",
        "  ports of a VIP that no service has: refused",
    ]


def described(text: str) -> list[str]:
    return [line.strip() for line in describe(parse(text, source="lbctl.yaml"))]


def test_describe_pool_with_failover_names_the_order_and_the_way_back() -> None:
    lines = described(GOOD.replace("    backends:", "    policy: failover\n    failback: automatic\n    backends:"))
    assert (
        "archives: archive, shared storage, failover (automatic failback), 2 IPv4 backends, reset on down: transport"
        in lines
    )
    places = [line.partition(";")[0] for line in lines if " in order" in line]
    assert places == [
        "pacs1: 192.0.2.11 on eth0, number 1 in order",
        "pacs2: 192.0.2.12 on eth0, number 2 in order",
    ]


def test_describe_failover_backend_of_weight_zero_says_that_it_never_takes_over() -> None:
    text = GOOD.replace("    backends:", "    policy: failover\n    backends:").replace("2.12}", "2.12, weight: 0}")
    assert any("number 2 in order, weight 0 (takes no new connections);" in line for line in described(text))


def test_describe_limit_says_when_a_full_backend_takes_more() -> None:
    text = GOOD.replace("2.11}", "2.11, connection_limit: 1200}").replace("2.12}", "2.12, connection_limit: 1}")
    lines = described(text)
    assert any("(50%), at most 1,200 connections (once full, more at 1,199);" in line for line in lines)
    assert any("(50%), at most 1 connection (once full, more at 0);" in line for line in lines)


def test_describe_fallback_is_told_in_both_pools() -> None:
    lines = described(
        GOOD.replace("    backends:", "    fallback: spare\n    on_empty: drop\n    backends:")
        + "  spare: {kind: archive, storage: shared, backends: {old: {address: 192.0.2.30}}}\n"
    )
    assert "new connection, when no backend takes one: fallback pool spare, else drop" in lines
    assert "fallback of: archives" in lines
    assert len([line for line in lines if line.startswith("new connection")]) == 1


@pytest.mark.parametrize(
    ("reassign", "until"),
    [
        ("never", "until an operator assigns it another"),
        ("removed", "until that one is removed from the file"),
        ("down", "until that one is down or removed from the file"),
    ],
)
def test_describe_private_storage_says_how_long_a_source_keeps_its_archive(reassign: str, until: str) -> None:
    lines = described(GOOD.replace("storage: shared", f"storage: private\n    reassign: {reassign}"))
    assert f"each source keeps the archive that it is assigned, {until}" in lines
    assert "new connection, when that archive takes none: reset" in lines


@pytest.mark.parametrize(
    ("flows", "says"),
    [
        ("{tcp_flows: 1024, udp_flows: 1024}", "1,024 TCP and 1,024 UDP flows, 0.2 MB of"),
        ("{tcp_flows: 4194304}", "4,194,304 TCP and 65,536 UDP flows, 477 MB of"),
    ],
)
def test_describe_flow_tables_tells_their_kernel_memory(flows: str, says: str) -> None:
    assert f"flow tables: {says} kernel memory" in described(f"{GOOD}director: {flows}\n")


def test_describe_wrong_port_that_is_dropped_is_told() -> None:
    lines = described(f"{GOOD}director: {{wrong_port: drop}}\n")
    assert lines[-1] == "ports of a VIP that no service has: dropped without an answer"


def test_warnings_tell_that_private_storage_hides_studies() -> None:
    private = GOOD.replace("storage: shared", "storage: private")
    assert warnings(parse(private, source="lbctl.yaml")) == (
        "pool archives: storage is private: clients assigned to one archive do not see the studies of the others",
    )


def test_warnings_of_a_pool_that_hides_nothing_are_none() -> None:
    alone = GOOD.replace("storage: shared", "storage: private").replace("      pacs2: {address: 192.0.2.12}\n", "")
    assert warnings(parse(alone, source="lbctl.yaml")) == ()
    assert warnings(parse(GOOD, source="lbctl.yaml")) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.05, "50ms"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (5, "5s"),
        (90, "90s"),
        (120, "2m"),
        (86400, "24h"),
        (172800, "2d"),
    ],
)
def test_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_reference_documents_every_key_of_every_section() -> None:
    entries = re.findall(r"^- \*\*(\w+)\*\* \(([^)]+)\): (.+)$", reference(), re.MULTILINE)
    keys = [key for path, model in SECTIONS.items() if len(path) <= 4 for key in model.model_fields]
    assert [key for key, _, _ in entries] == keys
    assert all(takes and doc.endswith(".") for _, takes, doc in entries)


def test_reference_lists_every_preset_with_its_ports() -> None:
    page = reference()
    rows = {name: ", ".join(map(str, preset.ports)) for name, preset in PRESETS.items()}
    assert [
        name for name, ports in rows.items() if not re.search(rf"^\| {name} \|.* {ports} \|", page, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("key", sorted({key for model in SECTIONS.values() for key in model.model_fields}))
def test_every_key_has_a_doc_that_says_more_than_its_name(key: str) -> None:
    docs = [model.model_fields[key].description or "" for model in SECTIONS.values() if key in model.model_fields]
    assert all(len(doc.split()) >= 3 for doc in docs)

"""What people read: the summary of a good file, and the reference of what a file may say."""

from __future__ import annotations

import re

import pytest

from lbctl.config.describe import describe
from lbctl.config.loader import parse
from lbctl.config.numbers import seconds_text
from lbctl.config.presets import PRESETS
from lbctl.config.reference import reference
from lbctl.config.schema import SECTIONS
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
        "  archives: archive, shared storage, 2 backends, reset on down: transport",
        "    pacs1: 192.0.2.11 on eth0, weight 100 (80%); "
        "dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, fall 2, rise 3",
        "    pacs2: 192.0.2.12 on eth0, weight 25 (20%); "
        "dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, fall 2, rise 3; agent port 3333 every 500ms",
    ]


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

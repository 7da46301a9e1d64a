"""Every mistake that an author can make gets an error of its own: its place, what is wrong, and what to do.

`MISTAKES` is also what the acceptance test feeds to ``lbctl check``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.config.loader import load, parse
from lbctl.config.mistakes import InvalidConfigError, Mistake
from tests.unit.config import (
    rows_addresses,
    rows_admission,
    rows_checks,
    rows_classes,
    rows_director,
    rows_document,
    rows_fallback,
    rows_families,
    rows_interfaces,
    rows_pools,
    rows_services,
)
from tests.unit.config.rows import GOOD, Wrong

MISTAKES: tuple[Wrong, ...] = (
    *rows_document.ROWS,
    *rows_interfaces.ROWS,
    *rows_addresses.ROWS,
    *rows_families.ROWS,
    *rows_admission.ROWS,
    *rows_services.ROWS,
    *rows_pools.ROWS,
    *rows_fallback.ROWS,
    *rows_classes.ROWS,
    *rows_checks.ROWS,
    *rows_director.ROWS,
)


def refusal(text: str) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as caught:
        parse(text, source="lbctl.yaml")
    return caught.value


def only_mistake(text: str) -> Mistake:
    (mistake,) = refusal(text).mistakes
    return mistake


def test_table_of_mistakes_is_large_and_its_ids_are_unique() -> None:
    assert len(MISTAKES) >= 200
    assert len({row.id for row in MISTAKES}) == len(MISTAKES)


def test_file_that_the_rows_are_made_from_is_good() -> None:
    assert [service.name for service in parse(GOOD, source="good").services] == ["pacs"]


@pytest.mark.parametrize("row", MISTAKES, ids=lambda row: row.id)
def test_file_with_one_mistake_is_refused_with_its_place_reason_and_hint(row: Wrong) -> None:
    error = refusal(row.yaml)
    (mistake,) = error.mistakes
    first, second = str(error).splitlines()
    assert [fragment for fragment in row.says if fragment not in first] == []
    assert row.hint in mistake.hint
    place = (mistake.position.line, mistake.position.column) if mistake.position else (None, None)
    assert place == (row.line, row.column)
    assert first.startswith(f"lbctl.yaml:{row.line}:{row.column}: " if row.line else "lbctl.yaml: ")
    assert second == f"  hint: {mistake.hint}"


def test_errors_of_different_mistakes_differ() -> None:
    # Several rows try one rule with several values; they must not be told in one and the same sentence.
    texts = {(mistake.message, mistake.hint) for mistake in (only_mistake(row.yaml) for row in MISTAKES)}
    assert len(texts) >= 0.9 * len(MISTAKES)


def test_file_with_several_mistakes_lists_all_in_the_order_of_the_file() -> None:
    text = GOOD.replace("192.0.2.100", "192.0.9.9").replace("preset: dicom", "prset: dicom").replace("shared", "none")
    text = text.replace("192.0.2.12}", "192.0.2.11, weight: 300}").replace("192.0.2.10/24", "192.0.2.10/24, mode: x")
    text = text.replace("    address: 192.0.2.10/24, mode: x", "    address: 192.0.2.10/24\n    mode: x")
    error = refusal(text)
    assert [mistake.subject for mistake in error.mistakes] == [
        "interface eth0",
        "service pacs",
        "pool archives",
        "backend archives/pacs2",
    ]
    assert str(error).count("  hint: ") == 4


def test_mistake_in_one_entry_does_not_hide_the_rules_for_others() -> None:
    text = GOOD.replace("preset: dicom", "preset: dicom\n    idle_timeout: 5").replace("192.0.2.12", "198.51.100.1")
    assert [mistake.subject for mistake in refusal(text).mistakes] == ["service pacs", "backend archives/pacs2"]


def test_mistake_in_an_entry_raises_no_mistakes_that_only_follow_from_it() -> None:
    # Without its interface no VIP is on link, without its service no pool is used: neither is said.
    assert [m.subject for m in refusal(GOOD.replace("/24", "/33")).mistakes] == ["interface eth0"]
    assert [m.subject for m in refusal(GOOD.replace("192.0.2.100", "pacs")).mistakes] == ["service pacs"]
    assert [m.subject for m in refusal(GOOD.replace("kind: archive", "kind: x")).mistakes] == ["pool archives"]


SPARE = "  spare: {kind: archive, storage: shared, backends: {old: {address: 192.0.2.30}}}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    kind: archive", "    fallbak: spare\n    kind: archive"),
        ("    kind: archive", "    fallback: spare\n    kind: archiv"),
        ("    kind: archive", "    fallback: spare\n    connection_limit: ten\n    kind: archive"),
    ],
)
def test_pool_that_a_mistaken_one_may_fall_back_on_is_not_called_unused(old: str, new: str) -> None:
    assert [m.subject for m in refusal(GOOD.replace(old, new) + SPARE).mistakes] == ["pool archives"]


@pytest.mark.parametrize(
    "text",
    [
        "polcy: failover\n    failback: manual",
        "conection_limit: 10\n    resume_at: 8",
        "fallback: spare\n    bakends: {}",
    ],
)
def test_key_misspelt_raises_no_mistake_about_the_keys_that_need_it(text: str) -> None:
    (mistake,) = refusal(
        GOOD.replace("    kind: archive", f"    {text}\n    kind: archive") + SPARE * ("spare" in text)
    ).mistakes
    assert "unknown key" in mistake.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    address: 192.0.2.10/24", "    address: 192.0.2.10/24\n    adress6: 2001:db8::10/64"),
        ("classes:\n  scanners:", "clases:\n  scanners:"),
        ("classes:\n  scanners: {sources: [10.20.0.0/16]}", "classes: [scanners]"),
        ("sources: [10.20.0.0/16]", "sources: [10.20.0.1/16]"),
        ("sources: [10.20.0.0/16]", "sorces: [10.20.0.0/16]"),
        ("    classes: {scanners", "    clases: {scanners"),
        ("    preset: dicom", "    preset: dicom\n    anounce: routed"),
    ],
)
def test_mistake_of_networks_or_classes_is_told_alone(old: str, new: str) -> None:
    text = GOOD.replace("pools:\n", "classes:\n  scanners: {sources: [10.20.0.0/16]}\npools:\n")
    text = text.replace("    kind: archive", "    classes: {scanners: {pacs1: 5}}\n    kind: archive")
    if "anounce" in new:
        text = text.replace("192.0.2.100", "203.0.113.1")
    assert parse(text.replace("203.0.113.1", "192.0.2.100"), source="good").classes
    assert text.count(old) == 1
    assert len(refusal(text.replace(old, new)).mistakes) == 1


def test_more_mistakes_than_anybody_reads_are_counted() -> None:
    text = GOOD + "".join(f"key{number}: 1\n" for number in range(300))
    lines = str(refusal(text)).splitlines()
    assert len(lines) <= 202
    assert lines[-1].endswith("more mistakes")


def test_value_with_a_line_break_keeps_its_error_on_one_line() -> None:
    text = GOOD.replace("preset: dicom", r'preset: "dicom\nservice good: all well\x1b[2J"')
    first, second = str(refusal(text)).splitlines()
    assert "\x1b" not in first
    assert second.startswith("  hint: ")


def test_refused_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(GOOD.replace("kind: archive", "kind: x"), encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:11:11: pool archives: ")
    assert caught.value.exit_code == 2

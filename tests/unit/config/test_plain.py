"""The quick reader takes what people write, and whatever it takes means what it means to the reader of all YAML."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbctl.config import loader
from lbctl.config.document import MAX_VALUES, read_document
from lbctl.config.plain import NotPlainError, read_plain
from tests.unit.config.rows import GOOD

EXAMPLES = sorted((Path(__file__).parents[3] / "deploy" / "examples").glob("*.yaml"))
OFTEN = settings(
    max_examples=400, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

TAKEN = {
    "begin of a document": "---\na: b\n",
    "comments": "# ä\na: b  # c: d\n  # e\n\nf: g\n",
    "numbers": "a: [1, 0o17, 0x1F, 1.5, 2e3, .5, 010, 1_000]\nb: 007\n",
    "words that other YAML knows": "a: [yes, no, on, off, true, null, 12:30:45, 2026-11-22]\n",
    "quotes": """a: "1"\nb: 'x: {y} # z'\nc: ""\nd: ["a, b", 'c']\n""",
    "addresses": "a: 2001:db8::10/64\nb: {c: fd00::1, d: [10.0.0.0/8, 2001:db8::/32]}\n",
    "depth": "".join(f"{' ' * depth}a:\n" for depth in range(7)) + " " * 7 + "a: {a: {a: [b]}}\n",
    "nested brackets": "a: {b: {c: [d, e]}, f: g}\n",
    "lists": "a:\n  - b\n  - 10.0.0.0/8  # c\nd:\n- 1\n- 2\ne: f\n",
    "indentation": "  a:\n      b: c\n      d:\n       e: f\n  g: h\n",
}
DECLINED = {
    "anchor": "a: &b c\n",
    "alias": "a: &b c\nd: *b\n",
    "tag": "a: !!str 1\n",
    "merge key": "<<: {a: b}\n",
    "tab": "a:\tb\n",
    "another end of line": "a: b\u2028c: d\n",
    "carriage return": "a: b\r\nc: d\r\n",
    "words with a space": "a: b c\n",
    "value on several lines": "a: b\n  c\n",
    "brackets on several lines": "a: {b: c,\n d: e}\n",
    "block of text": "a: |\n  b: c\n",
    "quotes on several lines": 'a: "b\n  c: d"\n',
    "escape": 'a: "\\x41"\n',
    "quote in quotes": "a: 'it''s'\n",
    "list of mappings": "a:\n  - b: c\n",
    "no value": "a:\nb: c\n",
    "key twice": "a: b\na: c\n",
    "key twice in brackets": "a: {b: c, b: d}\n",
    "comma at the end": "a: [b,]\n",
    "empty brackets": "a: {}\n",
    "key without a space": "a: {b:c}\n",
    "negative number": "a: -1\n",
    "second document": "a: b\n---\nc: d\n",
    "list as the whole": "- a\n",
    "indented less": "a:\n    b: c\n  d: e\n",
    "list indented less": "a:\n  b:\n - c\n",
    "nothing": "# a\n",
    "too deep": "".join(f"{' ' * depth}a:\n" for depth in range(8)) + " " * 8 + "a: b\n",
    "too much": "a:\n" + "".join(f"  b{number}: c\n" for number in range(MAX_VALUES // 2 - 1)),
}


def thoroughly(text: str) -> Any:
    document = read_document(text, source="lbctl.yaml")
    assert document.mistakes == ()
    return document.value


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
def test_plain_text_is_read_quickly_to_the_same_value(text: str) -> None:
    assert repr(read_plain(text)) == repr(thoroughly(text))  # 1, 1.0 and True are equal, and are not the same


@pytest.mark.parametrize("text", DECLINED.values(), ids=DECLINED.keys())
def test_other_text_is_declined_by_the_quick_reader(text: str) -> None:
    with pytest.raises(NotPlainError):
        read_plain(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_file_is_read_quickly_to_the_same_declaration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = loader.load(path)
    monkeypatch.setattr(loader, "read_plain", _declines)
    assert loader.load(path) == quick


def test_plain_file_never_needs_the_thorough_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "read_document", _declines)
    assert loader.parse(GOOD, source="lbctl.yaml").services[0].name == "pacs"


def _declines(text: str, **_: str) -> Any:
    raise NotPlainError


def test_as_many_values_as_are_allowed_are_read_quickly() -> None:
    pairs = MAX_VALUES // 2 - 2  # and the file, a key, and the mapping of them all: one less than allowed
    assert len(read_plain("a:\n" + "".join(f"  b{number}: c\n" for number in range(pairs)))["a"]) == pairs


PIECES = st.sampled_from(
    [
        *"abk0159.:- \n{}[],#\"'/+%_~&*!|>?\\é\t",
        "\n  ",
        "\n    ",
        ": ",
        " #",
        "- ",
        "::",
        "---",
        "...",
        "null",
        "0x",
        "1e5",
    ]
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.lists(PIECES, max_size=4).map("".join)), max_size=5)


@OFTEN
@given(path=st.sampled_from(EXAMPLES), edits=EDITS)
def test_example_file_with_slips_of_the_pen_means_the_same_to_both_readers(
    path: Path, edits: list[tuple[float, int, str]]
) -> None:
    text = path.read_text()
    for where, removed, put in edits:
        at = int(where * len(text))
        text = text[:at] + put + text[at + removed :]
    _assert_same(text)


@OFTEN
@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_means_the_same_to_both_readers(text: str) -> None:
    _assert_same(text)


def _assert_same(text: str) -> None:
    """Whatever the thorough reader refuses, the quick one must not take."""
    try:
        quick = read_plain(text)
    except NotPlainError:
        return
    assert repr(quick) == repr(thoroughly(text)), text

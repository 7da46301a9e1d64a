"""Whatever is fed to the loader, it answers with a declaration or a `ConfigError`, and soon."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lbctl.config.describe import describe
from lbctl.config.loader import load, parse
from lbctl.config.mistakes import MAX_SHOWN, InvalidConfigError
from lbctl.config.schema import SECTIONS
from lbctl.core.model import Declaration
from lbctl.errors import ConfigError
from tests.unit.config.rows import GOOD

BOUNDED = settings(
    max_examples=100, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

YAML_CHARACTERS = st.text(alphabet="abk10.:- \n\t{}[],&*!|>'\"#%@`?<~\\/é\x00\x85\ufeff\U0001f3e5", max_size=80)
KEYS = sorted({key for model in SECTIONS.values() for key in model.model_fields})
WORDS = [
    "192.0.2.10/24",
    "192.0.2.11",
    "10.0.0.1:104",
    "::1",
    "2001:db8::10/64",
    "2001:db8::11",
    "10.20.0.0/16",
    "eth0.20",
    "routed",
    "5s",
    "dicom",
    "hl7",
    "archive",
    "shared",
    "private",
    "failover",
    "tcp",
    "none",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS + KEYS)


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(KEYS) | st.text(max_size=6)
    return st.lists(children, max_size=4) | st.dictionaries(keys, children, max_size=5)


STRUCTURES = st.recursive(SCALARS, nested, max_leaves=25)


def outcome(text: str) -> Declaration | InvalidConfigError:
    try:
        return parse(text, source="lbctl.yaml")
    except InvalidConfigError as exc:
        return exc


def check_outcome(found: Declaration | InvalidConfigError) -> None:
    if isinstance(found, Declaration):
        assert describe(found)
        return
    assert found.mistakes
    assert all(mistake.message and mistake.hint for mistake in found.mistakes)
    assert all(line.isprintable() for line in str(found).split("\n"))
    assert len(str(found).splitlines()) <= 2 * MAX_SHOWN + 1


def as_yaml(structure: Any) -> str:
    stream = StringIO()
    YAML(typ="safe", pure=True).dump(structure, stream)
    return stream.getvalue()


@BOUNDED
@given(st.text(max_size=200) | YAML_CHARACTERS)
def test_parse_any_text_raises_nothing_but_config_errors(text: str) -> None:
    check_outcome(outcome(text))


@BOUNDED
@given(st.binary(max_size=200) | YAML_CHARACTERS.map(str.encode))
def test_load_any_bytes_raises_nothing_but_config_errors(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lbctl.yaml"
        path.write_bytes(content)
        try:
            assert describe(load(path))
        except ConfigError as exc:
            assert str(path) in str(exc)


@BOUNDED
@given(STRUCTURES)
def test_parse_any_structure_raises_nothing_but_config_errors(structure: Any) -> None:
    check_outcome(outcome(as_yaml(structure)))


@BOUNDED
@given(st.sampled_from([line.strip(" ") for line in GOOD.splitlines()]), YAML_CHARACTERS | SCALARS.map(str))
def test_parse_good_file_with_a_line_spoilt_raises_nothing_but_config_errors(line: str, junk: str) -> None:
    check_outcome(outcome(GOOD.replace(line, f"{line.partition(':')[0]}: {junk}")))


@BOUNDED
@given(
    STRUCTURES,
    st.sampled_from(["interfaces", "services", "pools", "classes"]),
    st.sampled_from(["eth0", "pacs", "archives"]),
)
def test_parse_good_file_with_any_entry_raises_nothing_but_config_errors(entry: Any, section: str, name: str) -> None:
    data: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(GOOD)
    data.setdefault(section, {})[name] = entry
    check_outcome(outcome(as_yaml(data)))


@BOUNDED
@given(st.integers(min_value=0, max_value=len(GOOD)), st.integers(min_value=0, max_value=len(GOOD)))
def test_parse_good_file_with_any_passage_cut_out_raises_nothing_but_config_errors(start: int, end: int) -> None:
    check_outcome(outcome(GOOD[:start] + GOOD[end:]))

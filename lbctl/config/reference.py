"""The reference of the configuration file, in Markdown that also reads well as text, made from the schema itself."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, get_args

from pydantic.fields import FieldInfo

from lbctl.config.fields import Takes
from lbctl.config.presets import PRESETS
from lbctl.config.schema import SECTIONS
from lbctl.core.durations import seconds_text
from lbctl.core.model import PoolKind


def reference() -> str:
    """Every section with its keys, what they take, their defaults and their docs; then the presets."""
    return "\n".join(
        [*_preface(), *(line for path in SECTIONS if not _is_repeated(path) for line in _section(path)), *_presets()]
    )


def _preface() -> list[str]:
    return [
        "# The configuration file",
        "",
        "YAML 1.2, UTF-8. Unknown keys are refused. Durations carry a unit: `500ms`, `5s`, `2m`, `1h`, `1d`.",
        "`lbctl check FILE` tells what is wrong in a file, and changes nothing.",
        "",
    ]


def _is_repeated(path: tuple[str, ...]) -> bool:
    """A backend's check and agent have the keys of its pool's."""
    return len(path) > 4


def _section(path: tuple[str, ...]) -> Iterator[str]:
    model = SECTIONS[path]
    yield f"## {'.'.join(path).replace('*', 'NAME') or 'Top level'}"
    yield ""
    yield " ".join((model.__doc__ or "").split())
    yield ""
    for name, field in model.model_fields.items():
        yield f"- **{name}** ({_takes(field)}): {' '.join((field.description or '').split())}"
    yield ""


def _takes(field: FieldInfo) -> str:
    kinds = [taken.text for taken in _find_takes([*field.metadata, field.annotation])]
    what = kinds[0] if kinds and not _is_mapping(field.annotation) else "a block of keys"
    if field.is_required():
        return f"{what}; required"
    return what if field.default in (None, {}) else f"{what}; default {_default(field.default)}"


def _default(value: Any) -> str:
    return value.value if isinstance(value, StrEnum) else str(value)


def _find_takes(parts: list[Any]) -> Iterator[Takes]:
    """`Takes` may be metadata of the field, or of one branch of an ``X | None``."""
    for part in parts:
        if isinstance(part, Takes):
            yield part
        else:
            yield from _find_takes([*get_args(part), *getattr(part, "__metadata__", ())])


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def _presets() -> Iterator[str]:
    yield "## Presets"
    yield ""
    yield "| preset | for | protocol, ports | idle_timeout | kinds of pool | check |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for preset in PRESETS.values():
        ports = f"{preset.protocol} {', '.join(map(str, preset.ports))}"
        kinds = ", ".join(kind for kind in PoolKind if kind in preset.pool_kinds)
        cells = [preset.name, preset.summary, ports, seconds_text(preset.idle_timeout_s), kinds, preset.check]
        yield f"| {' | '.join(cells)} |"
    yield ""

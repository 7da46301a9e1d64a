"""What a plain scalar means by YAML 1.2's core schema (YAML 1.2.2, section 10.3.2), in which ``on``, ``no`` and ``010s`` are
text."""

from __future__ import annotations

import re

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
# Twenty digits are more than any field takes; longer ones stay text and are refused as such.
_INT = re.compile(r"[-+]?[0-9]{1,20}")
_OCTAL = re.compile(r"0o[0-7]{1,20}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,20}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?")


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes."""
    if _INT.fullmatch(text):
        return int(text)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.casefold() == "true"
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text

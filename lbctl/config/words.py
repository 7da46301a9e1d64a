"""Words a file may hold: names, AE titles, and the words of enumerations."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from lbctl.config.mistakes import InvalidValueError, did_you_mean, quoted, shown
from lbctl.config.presets import PRESETS

_E = TypeVar("_E", bound=StrEnum)

NO_TRANSLATION_HINT = (
    "direct routing leaves the packet as it is, so ports cannot be translated: "
    "let the backend listen on the service's own port; a probe's port goes under 'check: {port: …}'"
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def text(value: Any) -> str:
    """Text as it is; a number or a boolean is most likely text that lacks its quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        raise InvalidValueError(f"{as_written(value)} is not text", hint=f'put it in quotes: "{as_written(value)}"')
    raise InvalidValueError("must be a single word", hint="remove the brackets or the indented block")


def parse_name(value: Any) -> str:
    """The name of a service, a pool or a backend."""
    name = text(value)
    if not _NAME.fullmatch(name):
        hint = "use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or a digit"
        raise InvalidValueError(f"{quoted(name)} is not a name", hint=hint)
    return name


def as_written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(shown(value)) if isinstance(value, str) else shown(value)


def parse_ae_title(value: Any) -> str:
    """An AE title (PS3.5 section 6.2, VR AE): at most 16 characters of the default repertoire without backslash and
    control characters; spaces at either end do not count, and spaces alone are no title."""
    title = text(value).strip(" ")
    rule = "an AE title has 1 to 16 ASCII characters, no backslash and no control characters (PS3.5, VR AE)"
    if not title:
        raise InvalidValueError("the AE title is empty", hint=rule)
    if len(title) > 16:
        raise InvalidValueError(f"AE title {quoted(title)} has {len(title)} characters", hint=rule)
    if not (title.isascii() and title.isprintable()) or "\\" in title:
        raise InvalidValueError(f"AE title {quoted(title)} has a character that DICOM does not allow", hint=rule)
    return title


def one_of(words: type[_E], *, refuse: Callable[[str], None] | None = None) -> Callable[[Any], _E]:
    """A parser of one word of an enumeration. ``refuse`` may raise a better mistake for words that lbctl knows of."""
    known = [member.value for member in words]

    def parse(value: Any) -> _E:
        word = text(value)
        if refuse:
            refuse(word)
        if word not in known:
            hint = did_you_mean(word, known, otherwise=f"write {_or_list(known)}")
            raise InvalidValueError(f"{quoted(word)} is unknown", hint=hint)
        return words(word)

    return parse


def parse_preset(value: Any) -> str:
    """The name of a preset."""
    word = text(value)
    if word not in PRESETS:
        hint = did_you_mean(word, PRESETS, otherwise=f"write {_or_list(list(PRESETS))}, or 'ports:' instead")
        raise InvalidValueError(f"{quoted(word)} is not a preset", hint=hint)
    return word


def _or_list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_CHECKS_TO_COME = frozenset(
    (
        *("c-store", "command", "dicom-find", "dicom-store", "dicom-tls", "dicomweb", "exec", "hl7", "http", "https"),
        *("icmp", "mllp", "ping", "script", "udp", "xds"),
    )
)


def refuse_check_to_come(word: str) -> None:
    if word.casefold() in _CHECKS_TO_COME:
        raise InvalidValueError(
            f"check type {quoted(word)} is not available yet",
            hint="use 'type: tcp', which sees whether the port accepts",
        )


def refuse_announcement(word: str) -> None:
    """The names of protocols that do what ``arp`` and ``routed`` say."""
    folded = word.casefold()
    if folded in ("ndp", "nd", "na", "ndisc"):
        raise InvalidValueError(
            f"{quoted(word)} is unknown", hint="write arp: for an IPv6 VIP it is neighbour discovery"
        )
    if folded in ("bgp", "ospf", "bfd", "route", "static"):
        hint = "write routed; lbctl speaks no routing protocol: give the routers their route to the VIP by other means"
        raise InvalidValueError(f"{quoted(word)} is unknown", hint=hint)

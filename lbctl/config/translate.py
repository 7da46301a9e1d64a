"""The schema's findings in the operator's words: each with its object, its place in the file, and a hint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lbctl.config.document import Document, Path
from lbctl.config.mistakes import MAX_SHOWN, InvalidValueError, Mistake, nearest, quoted, shown
from lbctl.config.schema import SECTIONS
from lbctl.config.words import NO_TRANSLATION_HINT

_KEY_MARK = "[key]"

_EXPLAINED = {
    ("backend", "port"): ("ports cannot be translated", NO_TRANSLATION_HINT),
    ("service", "policy"): (
        "unknown key 'policy'",
        "write it in the pool: its backends are what connections are shared by",
    ),
    ("service", "address"): ("unknown key 'address'", "did you mean 'vip'?"),
    ("service", "vip6"): (
        "unknown key 'vip6'",
        "a service has one VIP: declare a second service for the other family, with a pool of its own",
    ),
    ("service", "sources"): ("unknown key 'sources'", "who may come stands under 'allow'; 'sources' are of a class"),
    ("service", "classes"): ("unknown key 'classes'", "write them in the pool: its backends are what a class shares"),
    ("backend", "address6"): (
        "unknown key 'address6'",
        "write it as 'address', in a pool of servers with IPv6 addresses only",
    ),
    ("interface", "vlan"): (
        "unknown key 'vlan'",
        "name the VLAN's own interface in place of the NIC, such as eth0.20; lbctl creates none",
    ),
    ("service", "backends"): ("unknown key 'backends'", "backends stand in a pool; the service names it: 'pool: NAME'"),
}
"""Keys that people will try, and what to tell them: (part of the file, key) → message, hint."""

_SINGULAR = {
    "interfaces": "interface",
    "services": "service",
    "pools": "pool",
    "backends": "backend",
    "classes": "class",
}

_SAMPLES: dict[Path, str] = {
    (): "interfaces: …, services: …, pools: …",
    ("interfaces",): "eth0: {address: 192.0.2.10/24}",
    ("services",): "pacs: {vip: 192.0.2.100, preset: dicom, pool: archives}",
    ("director",): "tcp_flows: 131072",
    ("classes",): "scanners: {sources: [10.20.0.0/16]}",
    ("pools", "*", "classes"): "scanners: {pacs1: 200}",
    ("pools", "*", "classes", "*"): "pacs1: 200",
    ("pools",): "archives: {kind: archive, storage: shared, backends: {…}}",
    ("pools", "*", "backends", "*", "agent"): "port: 3333 (or 'agent: none')",
    ("pools", "*", "backends"): "pacs1: {address: 192.0.2.11}",
}


def translate(errors: Sequence[Any], document: Document) -> list[Mistake]:
    """One mistake for each of pydantic's errors, save those that follow from another one."""
    meant = {(*error["loc"][:-1], _meant(error["loc"])) for error in errors[:MAX_SHOWN] if _is_unknown(error)}
    told = [error for error in errors if error["type"] != "missing" or error["loc"] not in meant]
    # The rest would only be counted, and suggestions take time.
    return [_translate_one(error, document) for error in told[: MAX_SHOWN + 1]]


def path_of(loc: Path, document: Document) -> Path:
    """Where an error is. Pydantic adds a mark where it means the key of a mapping; a key may be called just that."""
    return loc[:-1] if loc and loc[-1] == _KEY_MARK and loc not in document.places else loc


def _is_unknown(error: Any) -> bool:
    return bool(error["type"] == "extra_forbidden")


def _meant(loc: Path) -> str | None:
    return nearest(str(loc[-1]), _known_keys(loc[:-1]))


def _translate_one(error: Any, document: Document) -> Mistake:
    loc: Path = error["loc"]
    path = path_of(loc, document)
    subject, field = split_subject(path)
    if _is_unknown(error):
        message, hint = _unknown_key(path)
        return Mistake(document.place(path).key, subject, message, hint)
    if error["type"] == "missing":
        message, hint = f"{quoted(path[-1])} is missing", f"add '{path[-1]}:' {_first_sentence(path)}"
        return Mistake(document.place(path).key, subject, message, hint)
    message, hint = _refused(error, path, document)
    place = document.place(path)
    is_about_key = path != loc or message == "has no value"
    return Mistake(place.key if is_about_key else place.value, subject, _with_field(field, message), hint)


def _with_field(field: str, message: str) -> str:
    separator = " " if message.startswith(("has ", "must ")) else ": "
    return f"{field}{separator}{message}" if field else message


def _refused(error: Any, path: Path, document: Document) -> tuple[str, str]:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InvalidValueError):
        return cause.message, cause.hint
    # What remains of the schema's own types are mappings.
    value = document.value
    for step in path:
        value = value[step]
    what = {list: "a list", str: "text", type(None): "empty"}.get(type(value), "a single value")
    return f"must be a block of keys, not {what}", f"write, indented beneath it: {_sample(path)}"


def _sample(path: Path) -> str:
    if sample := _SAMPLES.get(_shape(path)):
        return sample
    return ", ".join(f"{key}: …" for key in list(_known_keys(path))[:3])


def _unknown_key(path: Path) -> tuple[str, str]:
    key, known = str(path[-1]), _known_keys(path[:-1])
    if explained := _EXPLAINED.get((_part(path[:-1]), key)):
        return explained
    _, field = split_subject(path[:-1])
    message = _with_field(field, f"unknown key {quoted(key)}")
    elsewhere = [_part(shape) for shape, model in SECTIONS.items() if shape and key in model.model_fields]
    belongs = f"'{key}' belongs to: {', '.join(dict.fromkeys(elsewhere))}" if elsewhere else ""
    if meant := nearest(key, known):
        return message, f"did you mean '{meant}'?" + (f" ({belongs})" if belongs else "")
    return message, belongs or f"the keys here are {', '.join(known)}"


def _known_keys(path: Path) -> list[str]:
    return list(SECTIONS[_shape(path)].model_fields)


def _first_sentence(path: Path) -> str:
    doc = SECTIONS[_shape(path[:-1])].model_fields[str(path[-1])].description or ""
    sentence = re.split(r"[.;:](?:\s|$)", " ".join(doc.split()))[0].replace("`", "")
    return f"({sentence[0].lower()}{sentence[1:]})"


def _shape(path: Path) -> tuple[str, ...]:
    """A path with the operator's own names replaced by ``*``, as `SECTIONS` has it."""
    return tuple("*" if index in _name_indices(path) else str(step) for index, step in enumerate(path))


def _name_indices(path: Path) -> tuple[int, ...]:
    return (1, *_NAMES_IN_A_POOL.get(path[2], ())) if path[:1] == ("pools",) and len(path) > 2 else (1,)


_NAMES_IN_A_POOL: dict[str | int, tuple[int, ...]] = {"backends": (3,), "classes": (3, 4)}


def is_name(path: Path) -> bool:
    """Whether a path ends with a name that the operator chose."""
    return len(path) - 1 in _name_indices(path)


def _part(path: Path) -> str:
    """What a part of the file is called in a message."""
    shape = _shape(path)
    if not shape:
        return "file"
    return _SINGULAR[shape[-2]] if shape[-1] == "*" else shape[-1]


def split_subject(path: Path) -> tuple[str, str]:
    """The object that a path is about (``backend archives/pacs1``), and the field within it (``check.port``)."""
    names = [shown(step) for step in path]
    if names[:1] == ["pools"] and len(names) >= 4 and names[2] == "backends":
        return f"backend {names[1]}/{names[3]}", ".".join(names[4:])
    if names[:1] == ["director"]:
        return "director", ".".join(names[1:])
    if len(names) >= 2 and names[0] in _SINGULAR:
        return f"{_SINGULAR[names[0]]} {names[1]}", ".".join(names[2:])
    return "", ".".join(names)

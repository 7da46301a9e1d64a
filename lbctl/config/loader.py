"""Reading a configuration file: text → document → schema → rules → `Declaration`, or every mistake at once."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from lbctl.config.document import read_document
from lbctl.config.draft import Draft, draft
from lbctl.config.mistakes import InvalidConfigError, Mistake, Position
from lbctl.config.resolve import resolve
from lbctl.config.rules_addresses import check_addresses
from lbctl.config.rules_checks import check_checks
from lbctl.config.rules_classes import check_classes
from lbctl.config.rules_fallback import check_fallbacks
from lbctl.config.rules_families import check_families
from lbctl.config.rules_interfaces import check_interfaces
from lbctl.config.rules_pools import check_pools
from lbctl.config.rules_services import check_services
from lbctl.core.model import Declaration

MAX_BYTES = 1 << 20


def load(path: Path) -> Declaration:
    """Read and validate a file. Raises `InvalidConfigError` (a `ConfigError`) with all mistakes found."""
    return parse(_read_text(path), source=str(path))


def load_regular(path: Path) -> Declaration:
    """As `load`, for a daemon: it must not wait for whoever writes into a pipe. Raises as `load` does."""
    if path.exists() and not path.is_file():
        raise _unreadable(path, "the file is not a regular one", hint="write the configuration to a file on disk")
    return load(path)


def parse(text: str, *, source: str) -> Declaration:
    """Validate a configuration. ``source`` is what messages call it. Raises as `load` does."""
    document = read_document(text, source=source)
    part, mistakes = draft(document)
    found = [*document.mistakes, *mistakes, *(_broken_rules(part) if part else [])]
    if found or part is None:
        raise InvalidConfigError(found, source=source)
    return resolve(part.spec)


def _broken_rules(part: Draft) -> list[Mistake]:
    rules = (
        check_interfaces,
        check_addresses,
        check_families,
        check_services,
        check_pools,
        check_fallbacks,
        check_classes,
        check_checks,
    )
    return list(chain.from_iterable(rule(part) for rule in rules))


def _read_text(path: Path) -> str:
    content = _read_bytes(path)
    if len(content) > MAX_BYTES:
        hint = "a configuration is a few kilobytes; is this the right file?"
        raise _unreadable(path, f"the file is larger than {MAX_BYTES >> 20} MiB", hint=hint)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = content[: exc.start]
        place = Position(before.count(b"\n") + 1, exc.start - (before.rfind(b"\n") + 1) + 1)
        message = f"byte 0x{content[exc.start]:02x} is not UTF-8"
        raise _unreadable(path, message, hint="save the file as UTF-8 text", place=place) from None


def _read_bytes(path: Path) -> bytes:
    """At most one byte more than is allowed, so that a device or a pipe without an end does no harm."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file", hint="check the path; deploy/examples has examples") from None
    except IsADirectoryError:
        raise _unreadable(path, "this is a directory", hint="name the file in it, such as lbctl.yaml") from None
    except PermissionError:
        hint = "run as a user who may read it, or change its mode"
        raise _unreadable(path, "the file may not be read by this user", hint=hint) from None
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = getattr(exc, "strerror", None) or str(exc)
        raise _unreadable(path, f"the file cannot be read: {reason}", hint="check the path and the disk") from None


def _unreadable(path: Path, message: str, *, hint: str, place: Position | None = None) -> InvalidConfigError:
    return InvalidConfigError([Mistake(place, "", message, hint)], source=str(path))

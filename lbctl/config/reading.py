"""The text of a configuration file, whatever it says. (What it means takes longer to import than the text to read.)"""

from __future__ import annotations

from pathlib import Path

from lbctl.config.mistakes import InvalidConfigError, Mistake, Position

MAX_BYTES = 1 << 20


def read_regular(path: Path) -> str:
    """The text of a file, for a daemon. Raises `InvalidConfigError` (a `ConfigError`)."""
    if path.exists() and not path.is_file():
        raise _unreadable(path, "the file is not a regular one", hint="write the configuration to a file on disk")
    return read_text(path)


def read_text(path: Path) -> str:
    """The text of a file, whatever it says. Raises `InvalidConfigError` (a `ConfigError`)."""
    content = _read_bytes(path)
    if len(content) > MAX_BYTES:
        raise too_large(str(path))
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


def too_large(source: str) -> InvalidConfigError:
    """What a text is refused with, wherever it comes from."""
    hint = "a configuration is a few kilobytes; is this the right file?"
    return InvalidConfigError(
        [Mistake(None, "", f"the file is larger than {MAX_BYTES >> 20} MiB", hint)], source=source
    )


def _unreadable(path: Path, message: str, *, hint: str, place: Position | None = None) -> InvalidConfigError:
    return InvalidConfigError([Mistake(place, "", message, hint)], source=str(path))

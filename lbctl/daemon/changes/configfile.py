"""The daemon's own configuration file, which what is applied from elsewhere replaces."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

from lbctl.config.reading import read_regular
from lbctl.daemon.changes.history import digest
from lbctl.daemon.state.durable import replace_durably
from lbctl.errors import LbctlError


class ConfigFile:
    """The text as a whole is replaced, so its comments are kept; owner and mode of the file stay as they are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_named(self, source: str) -> bool:
        """Whether a path is this file's; not if it cannot be one at all."""
        try:
            return Path(source).resolve() == self.path.resolve()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of links
            return False

    def text(self) -> str:
        """`ConfigError` if it cannot be read."""
        return read_regular(self.path)

    def sha256(self) -> str | None:
        """What its text is known by; nothing if it cannot be read."""
        try:
            return digest(self.text())
        except LbctlError:
            return None

    def replace(self, text: str) -> None:
        """Make that its text. `OSError` if that cannot be done."""
        target = self.path.resolve()  # a link stays one
        replace_durably(target, text, like=target.stat() if target.exists() else None)

    def set_aside(self) -> Path:
        """Have what it is now also by another name, one that is free, which is told. `OSError` if that cannot be done."""
        target = self.path.resolve()
        names = chain([f"{target.name}.saved"], (f"{target.name}.saved.{number}" for number in count(2)))
        aside = next(path for path in map(target.with_name, names) if not path.exists())
        aside.hardlink_to(target)
        return aside

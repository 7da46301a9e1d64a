"""The daemon's own configuration file, which what is applied from elsewhere replaces."""

from __future__ import annotations

from pathlib import Path

from lbctl.config.reading import read_regular
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

    def holds(self, text: str) -> bool:
        """Whether that is its text; not if it cannot be read."""
        try:
            return self.text() == text
        except LbctlError:
            return False

    def replace(self, text: str) -> str | None:
        """Make that its text. Why that could not be done, or nothing."""
        if self.holds(text):
            return None
        target = self.path.resolve()  # a link stays one
        try:
            replace_durably(target, text, like=target.stat() if target.exists() else None)
        except OSError as error:
            return error.strerror or str(error)
        return None

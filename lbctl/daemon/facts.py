"""What the daemon knows of itself, and tells in ``lbctl status``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from lbctl.core.model import Director
from lbctl.daemon.changes.history import Entry, digest
from lbctl.daemon.changes.pending import Waiting
from lbctl.errors import LbctlError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The text that is in force, where it is from, and its entry in the history; ``None`` if the disk refused that."""

    text: str
    source: str
    entry: Entry | None = None

    @property
    def sha256(self) -> str:
        """What the text is known by."""
        return digest(self.text)

    @property
    def words(self) -> str:
        """Who put it there, as messages name it."""
        return self.entry.words if self.entry else "the start of the daemon"


@dataclass(slots=True, kw_only=True)
class Facts:
    """``started`` is monotonic seconds; ``director`` is as declared then, as the tables were made. ``unprobed`` says, by
    label, why a backend cannot be probed: a fault of ours. ``remarks`` say, by subject, what is not as it should be with the
    file or the state directory. ``lost`` says what this start could not take along."""

    started: float
    config: Path
    director: Director
    in_force: InForce = InForce(text="", source="")
    waiting: Waiting | None = None
    config_error: str | None = None
    last_error: str | None = None
    warnings: tuple[str, ...] = ()
    remarks: dict[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    unprobed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.lost:
            _log.warning("%s", each)

    def warn(self, warnings: tuple[str, ...]) -> None:
        """These hold now; each is logged when it is new."""
        for warning in warnings:
            if warning not in self.warnings:
                _log.warning("%s", warning)
        self.warnings = warnings

    def remark(self, subject: str, text: str | None) -> None:
        """This holds now of a subject, or nothing any more. Logged when it is new."""
        if text is None:
            self.remarks.pop(subject, None)
        elif self.remarks.get(subject) != text:
            self.remarks[subject] = text
            _log.warning("%s", text)

    def failed(self, error: LbctlError) -> None:
        """A change could not be carried out, and is tried again. Logged once, not at each try."""
        if self.last_error != error.message:
            _log.error("%s", error)
        self.last_error = error.message

    def not_probed(self, label: str, fault: str) -> None:
        """Logged once, not at each try."""
        if self.unprobed.get(label) != fault:
            _log.error("%s is not probed: %s", label, fault)
        self.unprobed[label] = fault

    def probed(self, label: str) -> None:
        """A probe of the backend said something of it."""
        self.unprobed.pop(label, None)

"""What the daemon knows of itself, and tells in ``lbctl status``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from lbctl.core.model import Director
from lbctl.errors import LbctlError

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Facts:
    """``started`` is monotonic seconds; ``director`` is as declared then, as the tables were made. ``unprobed`` says, by
    label, why a backend cannot be probed: a fault of ours."""

    started: float
    config: Path
    director: Director
    config_error: str | None = None
    last_error: str | None = None
    warnings: tuple[str, ...] = ()
    unprobed: dict[str, str] = field(default_factory=dict)

    def warn(self, warnings: tuple[str, ...]) -> None:
        """These hold now; each is logged when it is new."""
        for warning in warnings:
            if warning not in self.warnings:
                _log.warning("%s", warning)
        self.warnings = warnings

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

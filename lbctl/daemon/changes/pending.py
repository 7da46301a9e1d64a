"""A change that waits for its confirmation: ``pending.json`` in the state directory, for as long as it does.

Who cuts himself off cannot confirm. So the change is rolled back when the time is over, also if the daemon, or the machine, was
started anew meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lbctl.daemon.changes.history import Entry
from lbctl.daemon.state.durable import replace_durably, sync_directory
from lbctl.errors import SystemRequirementError

FILE = "pending.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Pending(BaseModel):
    """``number`` is the entry of the history that waits, ``before`` the one that is to be in force again; ``deadline_s`` is
    CLOCK_BOOTTIME: it counts while the machine sleeps, and no clock that is set moves it."""

    model_config = ConfigDict(frozen=True)

    number: int
    before: int
    deadline_s: float
    boot_id: str

    def left_s(self) -> float:
        """Until it is rolled back; 0 if the time is over, or the machine was started anew."""
        if self.boot_id != boot_id():
            return 0.0
        return max(0.0, self.deadline_s - boot_time_s())


def boot_time_s() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Another one after each start of the machine."""
    return _BOOT_ID.read_text().strip()


def until(seconds: float, *, number: int, before: int) -> Pending:
    """So many seconds from now on."""
    return Pending(number=number, before=before, deadline_s=boot_time_s() + seconds, boot_id=boot_id())


class PendingStore:
    """The file."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE

    def load(self) -> Pending | None:
        """What waits. `SystemRequirementError` if that cannot be understood."""
        try:
            return Pending.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise SystemRequirementError(
                f"{self._path} cannot be read: {str(error).splitlines()[0]}",
                hint="move it away: then the change that waited counts as confirmed",
            ) from error

    def save(self, pending: Pending) -> None:
        """`SystemRequirementError` if the disk refuses."""
        try:
            replace_durably(self._path, pending.model_dump_json() + "\n")
        except OSError as error:
            raise SystemRequirementError(
                f"{self._path} cannot be written: {error.strerror or error}",
                hint="nothing was changed; free space, then try again",
            ) from error

    def clear(self) -> None:
        """Nothing waits any more. Needs no room on the disk."""
        try:
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SystemRequirementError(
                f"{self._path} cannot be removed: {error.strerror or error}", hint="make its directory writable"
            ) from error


@dataclass(frozen=True, slots=True)
class Waiting:
    """The change that waits, while it does."""

    entry: Entry
    pending: Pending

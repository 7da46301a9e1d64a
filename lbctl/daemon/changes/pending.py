"""A change that waits for its confirmation: ``pending.json`` in the state directory, for as long as it does.

Who cuts himself off cannot confirm. So the change is rolled back when the time is over, also if the daemon, or the machine, was
started anew meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from lbctl.core.assignments import Book
from lbctl.core.durations import seconds_text
from lbctl.daemon.changes.history import Entry
from lbctl.daemon.state.durable import replace_durably, sync_directory
from lbctl.errors import SystemRequirementError

FILE = "pending.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Pending(BaseModel):
    """``number`` is the entry of the history that waits, ``before`` the one that is to be in force again; ``deadline_s`` is
    CLOCK_BOOTTIME: it counts while the machine sleeps, and no clock that is set moves it. ``taken`` are the sources, by pool,
    whose backends the change removes: they have them again if it does not stay, for nobody else has their studies.
    ``actives`` are who was the active one of each pool with failover, and is to be that again."""

    model_config = ConfigDict(frozen=True)

    number: int
    before: int
    deadline_s: float
    boot_id: str
    taken: dict[str, dict[IPv4Address | IPv6Address, str]] = {}
    actives: dict[str, str] = {}

    def renewed(self, seconds: float) -> Pending:
        """The same, for so many seconds from now on."""
        return self.model_copy(update={"deadline_s": boot_time_s() + seconds})

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


def until(
    seconds: float,
    *,
    number: int,
    before: int,
    taken: Mapping[str, Book] = MappingProxyType({}),
    actives: Mapping[str, str] = MappingProxyType({}),
) -> Pending:
    """So many seconds from now on."""
    return Pending(
        number=number,
        before=before,
        deadline_s=boot_time_s() + seconds,
        boot_id=boot_id(),
        taken={pool: dict(book) for pool, book in taken.items()},
        actives=dict(actives),
    )


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
    """The change that waits, while it does. ``is_shortened``: its time began before it was carried out, for the disk refused to
    note that it begins later."""

    entry: Entry
    pending: Pending
    is_shortened: bool = False

    def words(self, confirm_s: float) -> str:
        """What becomes of it, to somebody who asked for so many seconds."""
        span = seconds_text(confirm_s)
        if self.is_shortened:
            left_s = math.floor(self.pending.left_s())
            left = seconds_text(left_s) if left_s else "less than a second"
            span = f"{left} (and not in {span}, for the disk refused to note that)"
        return f"it is rolled back in {span} unless you `lbctl confirm`"

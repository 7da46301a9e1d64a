"""One step of a run: of what kind it is, whom it concerns, and the world before and after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lbctl.core.model import Address
from lbctl.lab.chaos.world import World


class Kind(StrEnum):
    """The kinds of steps."""

    CHANGE = "change of the file"
    CONFIRMED = "change by plan, apply and confirm"
    UNCONFIRMED = "change that nobody confirms"
    BAD_FILE = "bad file"
    DRAIN = "drain"
    HALT = "halt"
    ENABLE = "enable"
    ACTIVATE = "activate"
    WEIGHT = "weight"
    ASSIGN = "assign"
    UNASSIGN = "unassign"
    CRASH = "daemon killed"
    CRASH_IN_RELOAD = "daemon killed in a reload"
    CRASH_IN_START = "daemon killed in a start"
    RESTART = "restart"
    UPGRADE = "upgrade"
    DISK_FULL = "disk full"
    DIRECTOR_CABLE = "director's cable out and in"
    DIRECTOR_LINK = "director's link down and up"
    DIRECTOR_NIC = "director's NIC anew"
    DIRECTOR_MAC = "director's MAC"
    SERVER_CABLE = "server's cable out and in"
    SERVER_LINK = "server's link down and up"
    SERVER_MAC = "server's MAC, announced"
    SERVER_MAC_SILENT = "server's MAC, silent"
    SERVER_KILLED = "server killed"
    SERVER_CUT = "server cut off"
    SERVER_BACK = "server back"


OF_DIRECTORS_PATH = frozenset({Kind.DIRECTOR_CABLE, Kind.DIRECTOR_LINK, Kind.DIRECTOR_NIC})
OF_SERVERS = frozenset(kind for kind in Kind if kind.name.startswith("SERVER_"))
OF_FILES = frozenset(
    (Kind.CHANGE, Kind.CONFIRMED, Kind.UNCONFIRMED, Kind.CRASH_IN_RELOAD, Kind.UPGRADE, Kind.DISK_FULL)
)
OF_MEMBERS = frozenset((Kind.DRAIN, Kind.HALT, Kind.ENABLE, Kind.ACTIVATE, Kind.WEIGHT, Kind.ASSIGN))
"""What an operator says of a member."""
WITHOUT_DAEMON = (OF_SERVERS | {Kind.DIRECTOR_CABLE}) - {Kind.SERVER_CUT}
"""What may happen while no daemon runs, too. (A server that is cut off and back before anybody looks may leave its connections
as they were, or not.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. ``node`` is the server that it concerns, ``label`` the member; ``delay_s`` is when the daemon is killed, or how
    long a link is down; ``text`` is a file that is bad. ``weight`` is given to the member (``None``: the file's again), or
    ``source`` assigned to it. ``is_absent``: the daemon is killed before, and started after it;
    ``has_crash``: it is killed on the way. ``between`` is what is in force meanwhile, of a change that nobody confirms."""

    number: int
    kind: Kind
    words: str
    before: World
    after: World
    node: str = ""
    label: str = ""
    source: Address | None = None
    weight: int | None = None
    delay_s: float = 0.0
    text: str = ""
    is_absent: bool = False
    has_crash: bool = False
    between: World | None = None

    def worlds(self) -> tuple[World, ...]:
        """Every world that there is in the course of it."""
        return (self.before, self.between or self.after, self.after)

    def __str__(self) -> str:
        return f"step {self.number}, {self.kind}" + (f": {self.words}" if self.words else "")

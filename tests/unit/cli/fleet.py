"""A daemon whose backends empty while one looks: each look at a target lets a connection end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from lbctl.core.targets import Host, Target, WholePool
from lbctl.daemon.models import Status, TargetBackend, TargetStatus
from lbctl.errors import ConflictError, UsageError
from tests.unit.cli import samples
from tests.unit.cli.canned import Canned


@dataclass(slots=True, kw_only=True)
class Server:
    """A backend; the kernel has what was said of it unless that ``is_refused``. Each look adds to its slow start, and lets a
    handshake or else a connection end."""

    pool: str
    name: str
    host: int
    connections: int = 0
    half_open: int = 0
    is_refused: bool = False
    is_stuck: bool = False
    override: str | None = None
    slow: int | None = None
    state: str = "up"

    def look(self) -> TargetBackend:
        """What it is now; then time passes."""
        found = samples.target_backend(
            self.pool,
            self.name,
            address=ip_address(f"192.0.2.{self.host}"),
            state="draining" if self.override else self.state,
            override=self.override,
            takes_new=self.is_refused or not (self.override or self.state in ("down", "removed")),
            connections=self.connections,
            half_open=self.half_open,
            slow_start_percent=self.slow,
        )
        if self.override and not self.is_stuck:
            self.connections, self.half_open = max(0, self.connections - 1), max(0, self.half_open - 1)
        if self.slow is not None:
            self.slow = self.slow + 30 if self.slow < 90 else None
        return found


class Fleet(Canned):
    """Notes what it was told in ``told``; ``meanwhile`` happens at every look."""

    def __init__(self, *servers: Server) -> None:
        self.servers = servers
        self.told: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.most_drained = 0

    def _of(self, target: Target) -> list[Server]:
        if isinstance(target, Host):
            found = [each for each in self.servers if f"192.0.2.{each.host}" == str(target.address)]
        elif isinstance(target, WholePool):
            found = [each for each in self.servers if each.pool == target.pool]
        else:
            found = [each for each in self.servers if (each.pool, each.name) == (target.pool, target.name)]
        if not found:
            raise UsageError(f"there is no {target}", hint="none")
        return found

    async def status(self) -> Status:
        return samples.status()

    async def target(self, target: Target) -> TargetStatus:
        self.meanwhile()
        return TargetStatus(backends=tuple(each.look() for each in self._of(target)), swept_s=0.5)

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        chosen = self._of(target)
        if spare_last and all(each.override or each in chosen for each in self.servers):
            raise ConflictError(f"nobody else, so {target} was not drained", hint="wait")
        for each in chosen:
            each.override = "drained"
        self.most_drained = max(self.most_drained, len({each.host for each in self.servers if each.override}))
        self.told.append(f"drain {target}")
        return self.told[-1]

    async def enable(self, target: Target, *, slow_start_s: float | None = None) -> str:
        for each in self._of(target):
            each.override, each.slow = None, 10 if slow_start_s else None
        self.told.append(f"enable {target}" + (f" in {slow_start_s:g} s" if slow_start_s else ""))
        return self.told[-1]


def two_hosts(**first: object) -> Fleet:
    """The first one in two pools, with three connections."""
    return Fleet(
        Server(pool="p", name="a", host=11, connections=3, **first),  # type: ignore[arg-type]
        Server(pool="q", name="w", host=11),
        Server(pool="p", name="b", host=12),
        Server(pool="q", name="x", host=12, connections=1),
    )


class Clock:
    """Time passes only while one sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

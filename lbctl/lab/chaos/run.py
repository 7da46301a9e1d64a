"""The run itself: take a step, wait until everything is as it should be again, and let the ledger judge what was suffered."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from lbctl.errors import LabError
from lbctl.lab.chaos import control, invariants, kerneltables, leaks
from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.disk import mounted
from lbctl.lab.chaos.document import configuration
from lbctl.lab.chaos.faults import READY_WITHIN_S, Stage
from lbctl.lab.chaos.homeward import homeward
from lbctl.lab.chaos.leaks import Census
from lbctl.lab.chaos.ledger import Ledger
from lbctl.lab.chaos.sessions import Crowd, Servers
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.world import SOURCES, VAULT, VIPS, World, first_world
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, LabPlan, plan_lab
from lbctl.lab.wait import wait_until

SETTLED_WITHIN_S = 60.0
TOLD_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.1
_RETIRED_EACH_STEP = 4
_HEARD_EACH_STEP = 5
"""One in so many clients has said something since a step had settled, before the next one."""
_RELOADS_AT_THE_END = 10
"""There and back: a change that leaves something behind has left it so many times."""
_COUNTS = 20
_Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Tally:
    """The figures of a run."""

    seed: int
    sessions: int
    taken: Counter[Kind] = field(default_factory=Counter)
    recovered_s: defaultdict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From the step's beginning until all was as it should be, the step's own time included."""
    first: Census | None = None
    last: Census | None = None
    failures: list[str] = field(default_factory=list)
    step: Step | None = None
    """The latest."""
    log_tail: str = ""
    elapsed_s: float = 0.0

    @property
    def has_passed(self) -> bool:
        """Whether nothing was told that should not be."""
        return not self.failures


@dataclass(slots=True, kw_only=True)
class Run:
    """One run on a stage that is set."""

    stage: Stage
    crowd: Crowd
    ledger: Ledger
    tally: Tally

    def open(self, say: _Say) -> None:
        """Until every connection is held and everything is as declared."""
        say(f"{self.crowd.wanted} connections")
        world = self.ledger.chronicle.world
        self._until(lambda: self._amiss(world), "begin")
        self._look(world)
        self.crowd.aim(world.accepting())
        self._until(lambda: [] if len(self.ledger.live) >= self.crowd.wanted else ["too few connections"], "begin")
        self._until(lambda: self._amiss(world), "begin")
        self.crowd.held.clear()  # what was held while they were still dialling says nothing
        self.tally.first = leaks.count(self.stage.daemon)

    def take(self, step: Step) -> bool:
        """Take a step and see how it ends; whether the run may go on."""
        self.tally.step = step
        began = time.monotonic()
        self.crowd.aim(name for name in step.before.accepting() if all(w.accepts(name) for w in step.worlds()))
        self.crowd.retire(_RETIRED_EACH_STEP)
        self.ledger.begin(step, at_s=began)
        try:
            self.stage.carry_out(step)
            self._until(lambda: self._amiss(self._expected(step)), str(step))
            self._look(step.after)
            self._until_told()
            self._until_heard()
        except LabError as error:
            self.tally.failures.append(f"{step}: {error.message}")
        now = time.monotonic()
        self.ledger.settle(at_s=now)
        self.crowd.aim(step.after.accepting())
        self.crowd.feed(self.ledger)
        self.tally.taken[step.kind] += 1
        self.tally.recovered_s[step.kind].append(now - began)
        return self._judge()

    def _expected(self, step: Step) -> World:
        """What must be so after a step: where nobody else may have become active, whoever was."""
        return replace(step.after, actives=self.ledger.chronicle.may_be_active(step))

    def _look(self, world: World) -> None:
        """The rest is for the tables to tell: who became active, and to whom new sources were assigned."""
        held = kerneltables.read(self.stage.daemon.pins, vips=VIPS)
        active, holders = invariants.actives(world, held), invariants.holders(world, held)
        self.ledger.look(actives=active, holders=holders, at_s=time.monotonic())

    def _judge(self) -> bool:
        self.tally.failures += self.ledger.breaches
        self.ledger.breaches.clear()
        return self.tally.has_passed

    def _until_heard(self) -> None:
        """Steps that are over at once would outrun the clients: let some of them say something after each. What they tell of
        now may be of before, so two more of their counts are awaited first."""
        counts = len(self.crowd.held) + 2
        self._until(lambda: [] if len(self.crowd.held) >= counts else ["the clients do not count"], "")
        wanted = self.crowd.messages + self.crowd.wanted // _HEARD_EACH_STEP
        self._until(lambda: [] if self.crowd.messages >= wanted else ["the clients are silent"], "")

    def _until_told(self) -> None:
        try:
            self._until(lambda: self.ledger.untold(at_s=time.monotonic()), "", within_s=TOLD_WITHIN_S)
        except LabError:
            now = time.monotonic()
            self.ledger.never_told(self.ledger.untold(at_s=now), within_s=TOLD_WITHIN_S, at_s=now)

    def _until(self, amiss: Callable[[], Iterable[object]], what: str, *, within_s: float | None = None) -> None:
        """Wait until nothing is amiss."""
        found: list[object] = []

        def is_well() -> bool:
            self.crowd.feed(self.ledger)
            found[:] = list(amiss())
            return not found

        wait_until(
            is_well,
            deadline_s=within_s or SETTLED_WITHIN_S,
            what=lambda: f"{what} to settle; still: {'; '.join(map(str, found))}",
            pause_s=_LOOK_EVERY_S,
        )

    def _amiss(self, world: World) -> list[str]:
        """What is not as it should be."""
        held = kerneltables.read(self.stage.daemon.pins, vips=VIPS)
        found = list(invariants.unlike(world, held, self.stage.macs(), own=self.stage.own_interface()))
        if found:
            return found
        found = list(invariants.misassigned(world, held, self.ledger.chronicle.must_hold(), self._said_holders(world)))
        if found:
            return found
        status = self.stage.daemon.status()
        faults = [f"lbctl's own fault: {name} {count}" for name, count in invariants.faults(status).items()]
        unwell = [*invariants.unwell(world, status), *faults]
        return unwell or list(invariants.unplanned(control.plan(self.stage.daemon.socket, configuration(world))))

    def _said_holders(self, world: World) -> dict[str, str]:
        """What the daemon says of who holds what."""
        if VAULT not in world.pools:
            return {}
        said = control.tell(self.stage.daemon.socket, f"/v1/assignments?pool={VAULT}")["assignments"]
        return {row["source"]: row["backend"] for row in said}

    def close(self) -> None:
        """Back to where it began, and the same state for a while: what has grown?"""
        for step in homeward(self.ledger.chronicle.world, number=1 + self.tally.taken.total()):
            if not self.take(step):
                return
        for _ in range(_RELOADS_AT_THE_END):
            self._reload_twice()
        self._count_again()
        self.crowd.stop(self.ledger)
        self._judge()

    def _count_again(self) -> None:
        """What a step began may still go on: a compiler, a connection. It must end. (The neighbour of a server whose last
        connection has ended is let go with the next change of the file.)"""
        first = self.tally.first
        assert first is not None

        grown: list[str] = []
        for _ in range(_COUNTS):
            self.tally.last = leaks.count(self.stage.daemon)
            grown = self.tally.last.growth_over(first)
            if not grown:
                return
            self._reload_twice()
        self.tally.failures += [f"leak: {words}" for words in grown]

    def _reload_twice(self) -> None:
        """There and back."""
        home = first_world()
        for world in (replace(home, drops_wrong_ports=True), home):
            self.stage.daemon.reload(configuration(world))
            self._until(partial(self._amiss, world), "a reload")


def lab_plan() -> LabPlan:
    """One director, the servers, one client."""
    return plan_lab(backends=len(first_world().fates), clients=1, vips=VIPS, ipv6=True)


@contextmanager
def set_stage(lab: Lab, *, seed: int, sessions: int, say: _Say) -> Iterator[Run]:
    """Servers, daemon and clients, ready to begin."""
    say("six servers, each with an echo on every service's port")
    servers = Servers(lab.backends)
    world = first_world()
    daemon = Daemon(lab, config=configuration(world))
    tally = Tally(seed=seed, sessions=sessions)
    with mounted(daemon.state) as disk:
        stage = Stage(lab=lab, daemon=daemon, servers=servers, disk=disk)
        say("lbctl: bcc compiles the XDP program, the kernel verifies it, the daemon starts")
        daemon.start(ready_within_s=READY_WITHIN_S)
        lab.clients[0].ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        crowd = Crowd(lab.clients[0], sessions=sessions)
        try:
            yield Run(stage=stage, crowd=crowd, ledger=Ledger(Chronicle(world)), tally=tally)
        finally:
            tally.log_tail = daemon.log_tail(lines=30)
            if daemon.is_running:
                daemon.stop()

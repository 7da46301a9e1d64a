"""What a reconciler would do: asked of a copy that may be told anything, for nobody hears of it and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

from lbctl.core import failover
from lbctl.core.capacity import Capacity
from lbctl.core.health import Health
from lbctl.core.model import Backend, Declaration
from lbctl.core.tables import Tables
from lbctl.daemon.conditions import Conditions
from lbctl.daemon.neighbourhood import Neighbourhood
from lbctl.daemon.observed import Member
from lbctl.daemon.reconcile import Reconciler
from lbctl.network.port import Link, Neighbour

ASSUMED = "assumed"
"""In place of the kernel's name for the state of a neighbour: of a server that nobody has asked for yet."""


class Rehearsal(Reconciler):
    """Begins with all that another reconciler knows at this moment, and shares nothing with it that changes: it may be played
    in another thread."""

    def __init__(self, original: Reconciler) -> None:
        """Not like its base: nothing is read anew."""
        self.__dict__.update(vars(original))
        self.observed = copy(original.observed)
        self.observed.members = dict(original.observed.members)
        self.neighbourhood = _copied(original.neighbourhood)
        self.conditions, self._weighing = Conditions(), original._weighing.copied()
        self._tabling = copy(original._tabling)
        self._retention = copy(original._retention)
        self.labels, self._idle_limits = dict(original.labels), dict(original._idle_limits)

    def tables(self, *, now: float) -> Tables:
        """Those that what is declared leads to. `LbctlError` if they do not fit."""
        return self.plan(now=now)[1]

    def tables_with(self, declaration: Declaration, links: Mapping[str, Link], *, now: float) -> Tables:
        """Those that another declaration leads to, on interfaces as they are, once the servers that are new are up."""
        before = {backend.label: backend.address for backend in self.declaration.backends()}
        newcomers = [each for each in declaration.backends() if before.get(each.label) != each.address]
        self.declare(declaration, now=now)
        self.neighbourhood.met(links)
        alone = {pool.name for pool in declaration.pools if failover.has_one(pool)}
        if any(backend.pool in alone for backend in newcomers):
            self.hand_over(now=now)
        for backend in newcomers:
            self._assume_up(backend, now=now)
        return self.tables(now=now)

    def _assume_up(self, backend: Backend, *, now: float) -> None:
        self.observed.members[backend.label] = Member(Health.adopted(True, now=now), Capacity())
        known = self.neighbourhood.neighbours.get(backend.address)
        if known is None or not known.usable:
            nic = self.neighbourhood.nics.get(backend.interface)
            self.neighbourhood.neighbours[backend.address] = Neighbour(
                ifindex=nic.lan.ifindex if nic else 0, address=backend.address, mac=None, usable=True, state=ASSUMED
            )


def _copied(original: Neighbourhood) -> Neighbourhood:
    found = copy(original)
    found.neighbours, found.macs = dict(original.neighbours), dict(original.macs)
    return found

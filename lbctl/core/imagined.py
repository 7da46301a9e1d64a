"""Two declarations compared where there is no director to ask: interfaces are there, backends up, nobody is drained. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core import failover
from lbctl.core.desired import desired_tables
from lbctl.core.effects.outlook import Outlook
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration
from lbctl.core.situation import Limits, NicFacts, Situation
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendState, Lan, Tables

_BOUNDLESS = Limits(
    backends=1 << 16,
    services=1 << 16,
    pools=1 << 16,
    slots=1 << 30,
    interfaces=1 << 16,
    members=1 << 16,
    sources=1 << 30,
)
"""What fits is for the director to say that has the tables."""


def imagined(before: Declaration, after: Declaration) -> Outlook:
    """The outlook of a director that has run for long with one declaration, and is given the other."""
    actives = failover.actives_of(before, _able(before), before={})
    was = desired_tables(before, _situation(before, actives, frozenset()), current=Tables(), limits=_BOUNDLESS)
    kept = failover.still_declared(actives, before, after)
    later = failover.actives_of(after, _able(after), before=kept)
    halted = _former_receivers(before, after)
    will_be = desired_tables(after, _situation(after, later, halted), current=was, limits=_BOUNDLESS)
    return Outlook(before=before, after=after, was=was, will_be=will_be)


def _situation(declaration: Declaration, actives: Mapping[str, str], former_receivers: frozenset[int]) -> Situation:
    """Interfaces are numbered by their names, so that one that stays is the same."""
    return Situation(
        nics={each.name: NicFacts(lan=Lan(identity(each.name) >> 33), mac=bytes(6)) for each in declaration.interfaces},
        macs={},
        standings=failover.standings_with(declaration, _able(declaration), actives),
        former_receivers=former_receivers,
    )


def _able(declaration: Declaration) -> Mapping[str, Standing]:
    return {backend.label: _stands(backend) for backend in declaration.backends()}


def _stands(backend: Backend) -> Standing:
    """As declared: hundredths, as an agent would report them."""
    if backend.weight:
        return Standing(condition=Condition.UP, reason="", state=BackendState.UP, weight=100 * backend.weight)
    return Standing(condition=Condition.DRAINING, reason="its weight is 0", state=BackendState.DRAINING, weight=0)


def _former_receivers(before: Declaration, after: Declaration) -> frozenset[int]:
    """Of those that are not declared any more, whoever must not receive beside another."""
    both = (*failover.receivers(before), *failover.turned_receivers(before, after))
    declared = {identity(backend.key) for backend in after.backends()}
    return frozenset(identity(backend.key) for backend in both) - declared

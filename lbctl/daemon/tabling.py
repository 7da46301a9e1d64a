"""Tables follow from facts. With thousands of backends that takes a while, so only if a fact is another than before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lbctl.core.desired import desired_tables
from lbctl.core.model import Declaration
from lbctl.core.plan import Plan, diff
from lbctl.core.situation import Limits, Situation
from lbctl.core.tables import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    declaration: Declaration
    situation: Situation
    current: Tables
    found: Tables | None
    plan: Plan
    desired: Tables


class Tabling:
    """Remembers what it made last, and of what."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._made: _Made | None = None

    def make(
        self, declaration: Declaration, situation: Situation, *, current: Tables, found: Tables | None = None
    ) -> tuple[Plan, Tables]:
        """The tables that should be, and the way there: from the current ones, or from what was ``found`` in the kernel in
        their place. `LbctlError` if they do not fit."""
        made = self._made
        if (
            made is None
            or made.declaration is not declaration
            or made.current is not current
            or made.situation != situation
        ):
            desired = desired_tables(declaration, situation, current=current, limits=self._limits)
            kept = replace(situation, macs=dict(situation.macs))  # the caller goes on writing to its own
            self._made = made = _Made(
                declaration=declaration,
                situation=kept,
                current=current,
                found=found,
                plan=diff(found or current, desired),
                desired=desired,
            )
        elif made.found is not found:
            self._made = made = replace(made, found=found, plan=diff(found or current, made.desired))
        return made.plan, made.desired

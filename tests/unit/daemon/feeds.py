"""A pool of which only one backend may receive, and plans in a few words."""

from __future__ import annotations

from lbctl.core.model import Declaration
from lbctl.core.plan import Plan, SetBackend
from tests.unit.daemon.rig import declared

MANUAL, AUTOMATIC = "policy: failover", "policy: failover, failback: automatic"


def feeds(*backends: str, keys: str = MANUAL) -> Declaration:
    """Pool ``p`` with failover."""
    return declared(*backends or ("a", "b", "c"), keys=keys)


def shape(plan: Plan) -> list[tuple[str, ...]]:
    """The steps in a word each; a backend's states before and after."""
    return [_word(step) for step in plan.steps]


def _word(step: object) -> tuple[str, ...]:
    if isinstance(step, SetBackend):
        return tuple(row.state.name.lower() if row else "none" for row in (step.before, step.after))
    return (type(step).__name__,)


SWITCH = [("up", "halted"), ("halted", "up"), ("SetSlots",), ("SetMembers",)]
"""The former one is halted before all else."""

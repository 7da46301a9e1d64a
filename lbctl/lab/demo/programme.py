"""What a demonstration consists of: a lab, a stage that is set on it, the acts, and what is told about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.console import RenderableType

from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.scene import Scene
from lbctl.lab.topology import Lab, LabPlan

StageT = TypeVar("StageT", bound=Scene)
Say = Callable[[str], None]
Account = tuple[str, RenderableType]
"""A table of the report, with its title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act(Generic[StageT]):
    """One thing that is shown: its name in the figures, its title on the screen, why it is worth a look, and the doing."""

    name: str
    title: str
    why: str
    pools: tuple[str, ...]
    """Whose backends are shown meanwhile."""
    play: Callable[[StageT, Phase], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration(Generic[StageT]):
    """All of it. ``set_stage`` gives the stage for as long as the acts go on, and says what it does until then."""

    title: str
    setting_up: str
    """What the lab consists of, in a sentence."""
    plan: Callable[[], LabPlan]
    set_stage: Callable[[Lab, Ledger, Say], AbstractContextManager[StageT]]
    acts: tuple[Act[StageT], ...]
    most_backends: int
    """So many rows the live screen has for backends."""
    accounts: Callable[[Ledger], Iterable[Account]]
    """The tables of the report, after the one of what was shown."""
    summary: Callable[[Ledger], str]
    """All of it in a sentence or two."""

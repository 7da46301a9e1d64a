"""What is heard of each backend becomes its standing, weighed anew only when it is something else than before: there may be
thousands of backends, and any word of any of them is a reason to look at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lbctl.core.model import Backend
from lbctl.core.standing import Override, Signals, Standing, standing
from lbctl.daemon.doubts import Doubts, is_heard
from lbctl.daemon.observed import Member
from lbctl.network.port import Neighbour


class Heard(NamedTuple):
    """All that is known of one backend, as it came in. (A tuple, for it is compared with the one before at every look.)"""

    backend: Backend
    member: Member
    neighbour: Neighbour | None
    override: Override | None
    is_silence_doubted: bool
    is_full: bool
    given_weight: int | None
    ramp_percent: int

    def signals(self) -> Signals:
        """The same, by its meaning."""
        return Signals(
            health=self.member.health,
            capacity=self.member.capacity,
            override=self.override,
            is_resolved=self.neighbour is not None and self.neighbour.usable,
            neighbour=self.neighbour.state if self.neighbour else "missing",
            is_silence_doubted=self.is_silence_doubted,
            is_full=self.is_full,
            given_weight=self.given_weight,
            ramp_percent=self.ramp_percent,
        )

    @property
    def answers(self) -> bool:
        """Whether its neighbour entry says so."""
        return self.neighbour is not None and is_heard(self.neighbour)

    @property
    def is_by_hand(self) -> bool:
        """Whether its neighbour entry never tells if it is alive, so that only its probes do."""
        return self.neighbour is not None and self.neighbour.state == "permanent"


class _Weighed(NamedTuple):
    heard: Heard
    is_silent: bool
    standing: Standing


class Weighing:
    """Remembers the latest of each backend; a standing follows from what is heard alone."""

    def __init__(self) -> None:
        self._known: dict[str, _Weighed] = {}
        self._doubts = Doubts()

    @property
    def doubted(self) -> Collection[str]:
        """Whose silence is not believed, by label."""
        return self._doubts.labels

    def look(self, heard: Mapping[str, Heard]) -> tuple[Mapping[str, Standing], frozenset[str]]:
        """What is heard of all the declared, by label, becomes their standings; and who is silent where nobody is heard. Then
        the silence may be the director's own fault, and is doubted from then on."""
        weighed = {label: self._weighed(each) for label, each in heard.items()}
        silent = {label for label, found in weighed.items() if found.is_silent}
        answering = {each.backend.interface for each in heard.values() if each.answers}
        answering |= {
            each.backend.interface for label, each in heard.items() if each.is_by_hand and label not in silent
        }
        doubted_before = frozenset(self.doubted)
        self._doubts.note((each.backend for each in heard.values()), silent=silent, heard=answering)
        for label in doubted_before.symmetric_difference(self.doubted) & heard.keys():
            weighed[label] = self._weighed(heard[label]._replace(is_silence_doubted=label in self.doubted))
        unheard = frozenset(label for label in silent if heard[label].backend.interface not in answering)
        return {label: found.standing for label, found in weighed.items()}, unheard

    def standing(self, heard: Heard) -> Standing:
        """As `lbctl.core.standing.standing`."""
        return self._weighed(heard).standing

    def copied(self) -> Weighing:
        """One that goes its own way from here."""
        found = Weighing()
        found._known, found._doubts.labels = dict(self._known), set(self.doubted)
        return found

    def keep_only(self, labels: Collection[str]) -> None:
        """The others are declared no longer."""
        self._known = {label: found for label, found in self._known.items() if label in labels}

    def _weighed(self, heard: Heard) -> _Weighed:
        label = heard.backend.label
        found = self._known.get(label)
        if found is None or found.heard != heard:
            signals = heard.signals()
            self._known[label] = found = _Weighed(heard, signals.is_silent, standing(heard.backend, signals))
        return found

"""What is heard of each backend becomes its standing, weighed anew only when it is something else than before: there may be
thousands of backends, and any word of any of them is a reason to look at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lbctl.core.model import Backend
from lbctl.core.standing import Override, Signals, Standing, standing
from lbctl.daemon.doubts import Doubts, is_heard
from lbctl.daemon.observed import Member
from lbctl.daemon.state.overrides import Overrides
from lbctl.network.port import Neighbour


class Special(NamedTuple):
    """What there is to say of few backends; the fields are those of `Signals`."""

    override: Override | None = None
    is_silence_doubted: bool = False
    is_full: bool = False
    given_weight: int | None = None
    ramp_percent: int = 100


NOTHING_SPECIAL = Special()


class Heard(NamedTuple):
    """All that is known of one backend, as it came in. (A tuple, for it is compared with the one before at every look.)"""

    backend: Backend
    member: Member
    neighbour: Neighbour | None
    special: Special = NOTHING_SPECIAL

    def signals(self) -> Signals:
        """The same, by its meaning."""
        return Signals(
            health=self.member.health,
            capacity=self.member.capacity,
            is_resolved=self.neighbour is not None and self.neighbour.usable,
            neighbour=self.neighbour.state if self.neighbour else "missing",
            **self.special._asdict(),
        )

    def answers(self, *, is_silent: bool) -> bool:
        """Whether its neighbour entry says so. One that was made by hand never tells; then the probes do."""
        if self.neighbour is None:
            return False
        return is_heard(self.neighbour) or (self.neighbour.state == "permanent" and not is_silent)


class _Weighed(NamedTuple):
    heard: Heard
    is_silent: bool
    answers_on: str | None  # the interface, if it does
    standing: Standing


class _Look(NamedTuple):
    heard: Mapping[str, Heard]
    standings: Mapping[str, Standing]
    unheard: frozenset[str]


class Weighing:
    """Remembers the latest of each backend; a standing follows from what is heard alone."""

    def __init__(self) -> None:
        self._known: dict[str, _Weighed] = {}
        self._latest = _Look({}, {}, frozenset())
        self._doubts = Doubts()

    def special(
        self, overrides: Overrides, ramps: Mapping[str, int], *, full: Collection[str]
    ) -> Mapping[str, Special]:
        """What there is to say of few backends, by label: an operator's words, how far slow starts have come (percent), who
        is ``full``, and whose silence is doubted."""
        doubted = self._doubts.labels
        return {
            label: Special(
                override=overrides.of(label),
                is_silence_doubted=label in doubted,
                is_full=label in full,
                given_weight=overrides.weight_of(label),
                ramp_percent=ramps.get(label, 100),
            )
            for label in {*full, *doubted, *overrides.labels, *ramps}
        }

    def look(self, heard: Mapping[str, Heard]) -> tuple[Mapping[str, Standing], frozenset[str]]:
        """What is heard of all the declared, by label, becomes their standings; and who is silent where nobody is heard. Then
        the silence may be the director's own fault, and is doubted from then on."""
        if heard != self._latest.heard:  # what is doubted is a part of it
            self._latest = self._looked(heard)
        return self._latest.standings, self._latest.unheard

    def _looked(self, heard: Mapping[str, Heard]) -> _Look:
        weighed = {label: self._weighed(each) for label, each in heard.items()}
        silent = {label: heard[label].backend.interface for label, found in weighed.items() if found.is_silent}
        answering = {found.answers_on for found in weighed.values()}
        unheard = frozenset(label for label, interface in silent.items() if interface not in answering)
        doubted_before = self._doubts.labels
        self._doubts.note(silent=silent.keys(), unheard=unheard, declared=heard.keys())
        for label in (doubted_before ^ self._doubts.labels) & heard.keys():
            special = heard[label].special._replace(is_silence_doubted=label in self._doubts.labels)
            weighed[label] = self._weighed(heard[label]._replace(special=special))
        return _Look(heard, {label: found.standing for label, found in weighed.items()}, unheard)

    def standing(self, heard: Heard) -> Standing:
        """As `lbctl.core.standing.standing`."""
        return self._weighed(heard).standing

    def copied(self) -> Weighing:
        """One that goes its own way from here."""
        found = Weighing()
        found._known, found._doubts.labels = dict(self._known), self._doubts.labels
        return found

    def keep_only(self, labels: Collection[str]) -> None:
        """The others are declared no longer."""
        self._known = {label: found for label, found in self._known.items() if label in labels}

    def _weighed(self, heard: Heard) -> _Weighed:
        label = heard.backend.label
        found = self._known.get(label)
        if found is None or found.heard != heard:
            signals = heard.signals()
            is_silent = signals.is_silent
            answers_on = heard.backend.interface if heard.answers(is_silent=is_silent) else None
            found = _Weighed(heard, is_silent, answers_on, standing(heard.backend, signals))
            self._known[label] = found
        return found

"""What an operator said of backends at run time, in ``overrides.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lbctl.core import slow_start
from lbctl.core.standing import Override
from lbctl.daemon.models import MAX_SLOW_START_S, MAX_WEIGHT, MIN_SLOW_START_S
from lbctl.daemon.state.jsonfile import Content, JsonStore


class GivenWeight(Content):
    """A weight that an operator gave a backend; ``declared`` is what the file said then."""

    weight: int = Field(ge=0, le=MAX_WEIGHT)
    declared: int


class SlowStart(Content):
    """A backend's share grows for ``span_s`` seconds since ``began_s``, by the kernel's monotonic clock, which goes on through
    restarts of the daemon; ``None``: from when it takes connections."""

    span_s: float = Field(ge=MIN_SLOW_START_S, le=MAX_SLOW_START_S)
    began_s: float | None = Field(default=None, allow_inf_nan=False)


class Overrides(Content):
    """What an operator said of backends, by their labels (``pool/backend``): of each at most one of drained and halted."""

    drained: frozenset[str] = frozenset()
    halted: frozenset[str] = frozenset()
    weights: dict[str, GivenWeight] = Field(default={})
    slow_starts: dict[str, SlowStart] = Field(default={})

    @model_validator(mode="after")
    def _contradict_nothing(self) -> Overrides:
        both = self.drained & self.halted
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot be drained and halted at once")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """While there is none of what former versions do not know, they can read the file, too."""
        said: dict[str, Any] = dump(self)
        return {key: value for key, value in said.items() if value or key in ("drained", "halted")}

    def of(self, label: str) -> Override | None:
        """What was said of this backend, if anything."""
        if label in self.drained:
            return Override.DRAINED
        return Override.HALTED if label in self.halted else None

    @property
    def labels(self) -> frozenset[str]:
        """The backends of which something was said that is not over."""
        return self.drained | self.halted | self.weights.keys() | self.slow_starts.keys()

    def weight_of(self, label: str) -> int | None:
        """The weight that was given to this backend, if any."""
        given = self.weights.get(label)
        return given.weight if given else None

    def ramps(self, now: float) -> Mapping[str, int]:
        """How far each slow start has come, in percent; ``now`` is monotonic."""
        return {
            label: slow_start.percent(span_s=start.span_s, began_s=start.began_s, now=now)
            for label, start in self.slow_starts.items()
        }


class OverrideStore(JsonStore[Overrides]):
    """``overrides.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "overrides.json",
            Overrides,
            forgotten="nothing is drained, halted or weighted by hand any more",
            unsaved="nothing was changed; free space, then try again",
        )


def with_override(overrides: Overrides, *labels: str, to: Override | None) -> Overrides:
    """The overrides with this one said of backends, or nothing any more. A slow start that was under way is over."""
    others = {"drained": overrides.drained - set(labels), "halted": overrides.halted - set(labels)}
    if to:
        others[to] |= set(labels)
    starts = {label: start for label, start in overrides.slow_starts.items() if label not in labels}
    return overrides.model_copy(update={**others, "slow_starts": starts})


def with_slow_start(overrides: Overrides, *labels: str, span_s: float) -> Overrides:
    """The overrides with these backends starting slowly from when they take connections."""
    starts = dict.fromkeys(labels, SlowStart(span_s=span_s))
    return overrides.model_copy(update={"slow_starts": {**overrides.slow_starts, **starts}})


def with_weights(overrides: Overrides, declared: Mapping[str, int], *, weight: int | None) -> Overrides:
    """The overrides with this weight given to backends, or their own back; ``declared`` is that by label."""
    others = {label: given for label, given in overrides.weights.items() if label not in declared}
    if weight is not None:
        others |= {label: GivenWeight(weight=weight, declared=own) for label, own in declared.items()}
    return overrides.model_copy(update={"weights": others})

"""An operator's weight and a slow start, in the ways in which a pool shares its connections."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.shares import Share
from lbctl.core.standing import Standing
from tests.unit.core.declarations import CT, down, pool, up

POOL = pool("p", {"a": 11, "b": 12, "c": 13}, class_weights={"ct": {"a": 40}})
OWN, OF_CT = Share(pool=POOL), Share(pool=POOL, traffic_class=CT)


def standings(**changed: Standing) -> dict[str, Standing]:
    return {f"p/{name}": changed.get(name, up()) for name in "abc"}


def ratios(share: Share, found: dict[str, Standing]) -> list[float]:
    weights = list(share.weights(found).values())
    return [weight / weights[2] for weight in weights]


def test_given_weight_is_that_of_a_backend_whom_a_class_does_not_name() -> None:
    found = standings(a=replace(up(2_000), given_weight=20), b=replace(up(5_000), given_weight=50))
    assert ratios(OWN, found) == [0.2, 0.5, 1.0]
    assert ratios(OF_CT, found) == [0.4, 0.5, 1.0]


def test_slow_start_is_one_in_every_class() -> None:
    found = standings(a=replace(up(3_000), ramp_percent=30), b=replace(up(1_000), ramp_percent=10))
    assert ratios(OWN, found) == [0.3, 0.1, 1.0]
    assert ratios(OF_CT, found) == [0.3 * 0.4, 0.1, 1.0]


def test_given_weight_of_one_that_takes_nothing_counts_nowhere() -> None:
    found = standings(b=replace(down(), given_weight=200))
    assert ratios(OWN, found)[1] == ratios(OF_CT, found)[1] == 0

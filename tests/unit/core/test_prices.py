"""What the steps of a change cost."""

from __future__ import annotations

from hypothesis import given

from lbctl.config.loader import parse
from lbctl.core.effects.prices import prices, writes_of
from lbctl.core.features import Features, features_of
from lbctl.core.plan import diff
from tests.unit.core.test_effects import FILE, edited, outlook, outlook_of
from tests.unit.core.worlds import WORLDS, World


@given(WORLDS)
def test_prices_count_every_write(worlds: list[World]) -> None:
    found = outlook_of(worlds)
    steps = diff(found.was, found.will_be).steps
    assert sum(each.writes for each in prices(found, features=Features())) == sum(map(writes_of, steps))


def test_prices_tell_what_takes_long() -> None:
    text = edited("vip: 192.0.2.101", "vip: 192.0.2.111", FILE.replace("storage: shared", "storage: private"))
    found = {
        each.text: each.takes_s for each in prices(outlook(FILE, text), features=features_of(parse(FILE, source="x")))
    }
    assert found["ask the network whether anybody else has 192.0.2.111"] == 0.6
    assert found["compile the program anew, for the file uses more of it; the one before goes on meanwhile"] == 1.5
    assert "announce 192.0.2.111 three times, a second apart" in found

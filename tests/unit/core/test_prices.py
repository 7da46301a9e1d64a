"""What the steps of a change cost."""

from __future__ import annotations

import pytest
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


MORE = "      pacs2: {address: 192.0.2.12}\n      pacs3: {address: 192.0.2.13}\n      pacs4: {address: 192.0.2.21}\n"
PATHS = {
    "backends": (
        "      pacs2: {address: 192.0.2.12}\n",
        MORE,
        ["have the kernel resolve 1 neighbour", "add 2 rules and 4 routes of the checks"],
    ),
    "no backend": (
        MORE,
        "",
        ["let go of 2 neighbours, once no connection goes there", "remove 3 rules and 6 routes of the checks"],
    ),
    "another address": (
        "pacs2: {address: 192.0.2.12}",
        "pacs2: {address: 192.0.2.13}",
        [
            "have the kernel resolve 1 neighbour; let go of 1 neighbour, once no connection goes there",
            "add 2 routes, remove 2 routes of the checks",
        ],
    ),
    "another VIP": (
        "  log: {",
        "  qr: {vip: 192.0.2.102, preset: dicom-tls, pool: archives}\n  log: {",
        ["add 4 routes of the checks"],
    ),
    "a weight": ("pacs2: {address: 192.0.2.12}", "pacs2: {address: 192.0.2.12, weight: 7}", []),
}


@pytest.mark.parametrize(("old", "new", "expected"), PATHS.values(), ids=PATHS)
def test_prices_tell_of_neighbours_rules_and_routes(old: str, new: str, expected: list[str]) -> None:
    text = FILE.replace("      pacs2: {address: 192.0.2.12}\n", MORE) if old == MORE else FILE
    found = prices(outlook(text, edited(old, new, text)), features=features_of(parse(FILE, source="x")))
    told = [each.text for each in found if "neighbour" in each.text or "route" in each.text]
    assert told == expected


def test_prices_tell_what_takes_long() -> None:
    text = edited("vip: 192.0.2.101", "vip: 192.0.2.111", FILE.replace("storage: shared", "storage: private"))
    found = {
        each.text: each.takes_s for each in prices(outlook(FILE, text), features=features_of(parse(FILE, source="x")))
    }
    assert found["ask the network whether anybody else has 192.0.2.111"] == 0.6
    assert found["compile the program anew, for the file uses more of it; the one before goes on meanwhile"] == 1.5
    assert "announce 192.0.2.111 three times, a second apart" in found

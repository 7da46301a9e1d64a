"""What a change does, in words and figures: the figures are those of the tables, and who is cut is always told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.config.loader import parse
from lbctl.core.desired import desired_tables
from lbctl.core.effects.effects import EffectKind, Live, Outlook, effects
from lbctl.core.effects.moves import HASHES, moved
from lbctl.core.effects.prices import prices
from lbctl.core.features import features_of
from lbctl.core.ids import identity
from lbctl.core.imagined import imagined
from lbctl.core.tables import BackendState
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.core.controlling import reconcile
from tests.unit.core.declarations import LIMITS
from tests.unit.core.worlds import WORLDS, World

FILE = """
interfaces:
  eth0: {address: 192.0.2.10/24}
services:
  pacs: {vip: 192.0.2.100, preset: dicom, pool: archives, allow: [10.0.0.0/8], idle_timeout: 4h}
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
  log: {vip: 192.0.2.100, ports: [514], protocol: udp, pool: logs}
pools:
  archives:
    kind: archive
    storage: shared
    connection_limit: 20
    backends:
      pacs1: {address: 192.0.2.11}
      pacs2: {address: 192.0.2.12}
  engine:
    kind: hl7
    backends:
      one: {address: 192.0.2.21}
      two: {address: 192.0.2.22}
  logs:
    kind: other
    check: {type: tcp, port: 6514}
    backends:
      log1: {address: 192.0.2.31}
"""
PRIVATE = FILE.replace("storage: shared", "storage: private")
LIVE = Live(
    connections={"archives/pacs1": 12, "archives/pacs2": 25, "engine/one": 1},
    flows={1: 5, 2: 7, 3: 1, 4: 0},
    sources={"archives/pacs2": 3},
)


def outlook(old: str, new: str, *, live: Live = LIVE) -> Outlook:
    """Of two texts."""
    return replace(imagined(parse(old, source="old"), parse(new, source="new")), live=live)


def told(old: str, new: str, *, live: Live = LIVE) -> list[str]:
    """Effects as a person reads them; a live session that is touched begins with ``!``."""
    found = effects(outlook(old, new, live=live))
    return [f"{'! ' if each.kind is EffectKind.LIVE_SESSIONS else ''}{each.text}" for each in found]


def edited(old: str, new: str, text: str = FILE) -> str:
    assert old in text
    return text.replace(old, new)


EDITS = {
    "nothing": ("pacs1", "pacs1", []),
    "a backend removed": (
        "      pacs2: {address: 192.0.2.12}\n",
        "",
        [
            "archives: 50.0 % of new connections move from pacs2 to pacs1; no live session is touched",
            "archives: pacs2 is removed: no new connections, its 25 live connections go on until they end",
        ],
    ),
    "weight nought": (
        "192.0.2.11}",
        "192.0.2.11, weight: 0}",
        [
            "archives: 50.0 % of new connections move from pacs1 to pacs2; no live session is touched",
            "archives: pacs1 takes no new connections any more; its 12 live connections go on until they end",
        ],
    ),
    "the active receiver removed": (
        "      one: {address: 192.0.2.21}\n",
        "",
        [
            "! engine: one is removed, and no two may receive at a time: its 1 live connection is reset",
            "engine: all new connections move from one to two",
        ],
    ),
    "the standby removed": (
        "      two: {address: 192.0.2.22}\n",
        "",
        ["engine: two is removed: no new connections, it has no live connections now"],
    ),
    "another address": (
        "192.0.2.12}",
        "192.0.2.19}",
        [
            "archives: 50.0 % of new connections move from pacs2 (192.0.2.12) to pacs2 (192.0.2.19) (once it is up); "
            "no live session is touched",
            "archives: pacs2 (192.0.2.12) is removed: no new connections, its 25 live connections go on until they end",
            "archives: pacs2 (192.0.2.19) is new: probed first, and takes part once a check has succeeded",
        ],
    ),
    "fewer may come": (
        "allow: [10.0.0.0/8]",
        "allow: [10.0.0.0/9, 192.0.2.7]",
        [
            "pacs: new connections from 10.0.0.0/8 (other than 10.0.0.0/9) are denied, live ones go on; 192.0.2.7 may come",
        ],
    ),
    "everybody may come": (
        "allow: [10.0.0.0/8], ",
        "",
        ["pacs: everybody may come, no longer 10.0.0.0/8 only"],
    ),
    "not everybody may come": (
        "pool: engine}",
        "pool: engine, allow: [10.1.0.0/16]}",
        ["feed: new connections are denied unless from 10.1.0.0/16; live ones go on"],
    ),
    "the same may come": (
        "allow: [10.0.0.0/8]",
        "allow: [10.0.0.0/9, 10.128.0.0/9]",
        ["pacs: the same may come as before"],
    ),
    "a service removed": (
        "  log: {vip: 192.0.2.100, ports: [514], protocol: udp, pool: logs}\n",
        "  log: {vip: 192.0.2.103, ports: [514], protocol: udp, pool: logs}\n",
        [
            "log: 192.0.2.100 udp 514 is no longer served: new connections are refused; there are no live ones",
            "log: 192.0.2.103 udp 514 is served: new connections go to pool logs",
            "logs: its backends are checked at 192.0.2.103 from now on; "
            "who lacks it on the loopback goes down for every service",
        ],
    ),
    "a shorter idle limit": (
        "idle_timeout: 4h",
        "idle_timeout: 90m",
        [
            "! pacs: those of 12 live connections that have been silent for 90m (before: 4h) are forgotten, and may break",
        ],
    ),
    "a longer idle limit": ("idle_timeout: 4h", "idle_timeout: 5h", []),
    "a lower limit": (
        "connection_limit: 20",
        "connection_limit: 15",
        [
            "archives: pacs2 has 25 connections and may have 15 at most: no new ones until it has come down to 14; "
            "live ones go on",
        ],
    ),
    "failover": (
        "storage: shared\n    connection_limit: 20",
        "storage: shared\n    connection_limit: 20\n    policy: failover",
        [
            "! archives: pacs2 does not receive any more, for only the active one may: its 25 live connections are reset",
            "archives: 50.0 % of new connections move from pacs2 to pacs1",
            "archives: one backend receives at a time, the others stand by",
        ],
    ),
    "checks": (
        "    connection_limit: 20\n",
        "    connection_limit: 20\n    check: {interval: 2s, called_ae: PACS}\n",
        [
            "archives: all backends are probed in another way; who fails that goes down after 2 probes",
            "archives: all backends are probed at other times: a failure is noticed within about 5.2s, not 13s",
        ],
    ),
    "another pool": (
        "pool: logs}",
        "pool: more}",
        [
            "logs: log1 is removed: no new connections, it has no live connections now",
            "log: new connections go to pool more, which is new, no longer to logs; live ones stay with their servers",
        ],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), EDITS.values(), ids=EDITS)
def test_effects_of_a_change_are_told_in_words(old: str, new: str, expected: list[str]) -> None:
    text = edited(old, new)
    if "pool: more" in text:
        text = text.replace("  logs:\n", "  more:\n").replace(
            "log1: {address: 192.0.2.31}", "more1: {address: 192.0.2.32}"
        )
    assert told(FILE, text) == expected


def test_effects_of_a_new_backend_take_it_to_be_up() -> None:
    old, new = FILE, edited("      pacs2:", "      pacs3: {address: 192.0.2.13}\n      pacs2:")
    moving, coming = effects(outlook(old, new))
    assert (
        moving.text.startswith("archives: 33.3 % of new connections move to pacs3: ")
        or "(once it is up)" in moving.text
    )
    assert moving.text.endswith("(once it is up); no live session is touched")
    assert sum(move.part for move in moving.moves if move.taker == "pacs3") == pytest.approx(1 / 3, abs=0.001)
    assert coming.text == "archives: pacs3 is new: probed first, and takes part once a check has succeeded"


def test_effects_without_a_daemon_count_nobody() -> None:
    text = edited("      pacs2: {address: 192.0.2.12}\n", "")
    assert told(FILE, text, live=Live())[-1] == (
        "archives: pacs2 is removed: no new connections, its live connections go on until they end"
    )


def test_effects_on_private_storage_are_on_sources_without_an_archive() -> None:
    text = edited("      pacs2: {address: 192.0.2.12}\n", "", PRIVATE)
    assert told(PRIVATE, text) == [
        "archives: 50.0 % of sources without an archive move from pacs2 to pacs1; no live session is touched",
        "archives: pacs2 is removed: no new connections, its 25 live connections go on until they end",
        "archives: 3 sources assigned to pacs2: given another archive at the next connection, which does not have the "
        "studies stored before",
    ]


# Figures --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_moves_are_what_the_program_would_do_with_every_hash(before: int, after: int, data: st.DataObject) -> None:
    """The range of hashes cut into so many that no slot begins within one: each hash then counts alike."""
    was = np.array(data.draw(st.lists(st.integers(0, 3), min_size=before, max_size=before)), np.uint32)
    will_be = np.array(data.draw(st.lists(st.integers(0, 3), min_size=after, max_size=after)), np.uint32)
    pieces = before * after
    slots = [(was[i * before // pieces], will_be[i * after // pieces]) for i in range(pieces)]
    expected = {pair: slots.count(pair) / pieces for pair in set(slots) if pair[0] != pair[1]}
    found = moved(was, will_be)
    assert found.keys() == expected.keys()
    assert all(found[pair] == pytest.approx(part, abs=100 / HASHES) for pair, part in expected.items())
    assert list(found.values()) == sorted(found.values(), reverse=True)


def outlook_of(worlds: list[World]) -> Outlook:
    """A director that went through these, and is given the declaration of the last, all else being as in the one before."""
    dataplane, last, proposed = FakeDataplane(), worlds[0], worlds[-1].declared
    reconcile(dataplane, last.declared, last.observed)
    was = reconcile(dataplane, last.declared, last.observed)
    standings = {**worlds[-1].observed.standings, **last.observed.standings}
    observed = replace(last.observed, standings={b.label: standings[b.label] for b in proposed.backends()})
    macs = {**worlds[-1].observed.macs, **last.observed.macs}
    will_be = desired_tables(proposed, replace(observed, macs=macs), current=was, limits=LIMITS)
    return Outlook(before=last.declared, after=proposed, was=was, will_be=will_be, live=Live(connections={}))


@given(WORLDS)
def test_effects_figures_are_the_differences_of_the_slots(worlds: list[World]) -> None:
    found = outlook_of(worlds)
    served = {service.pool for service in found.after.services}
    told_of = {each.pool: each for each in effects(found) if each.moves and each.traffic_class is None}
    for pool in found.after.pools:
        was, will_be = found.pools_before.get(identity(pool.name)), found.pools_after[identity(pool.name)]
        if was and pool.name in served and len(found.was.slots[was]) == len(found.will_be.slots[will_be]):
            share = float((found.was.slots[was] != found.will_be.slots[will_be]).mean())
            moves = told_of[pool.name].moves if pool.name in told_of else ()
            assert sum(move.part for move in moves) == pytest.approx(share)


@given(WORLDS)
def test_effects_name_every_pool_of_which_a_backend_is_cut(worlds: list[World]) -> None:
    found = outlook_of(worlds)
    cutting = (BackendState.HALTED, BackendState.DEAD)
    cut = {
        (found.servers_before.get(number) or found.servers_after[number]).pool
        for number, row in found.rows_after.items()
        if number in found.rows_before and (number in found.servers_before or number in found.servers_after)
        if row.state in cutting and found.rows_before[number].state is not row.state
    }
    touching = [each for each in effects(found) if each.kind is EffectKind.LIVE_SESSIONS and each.pool]
    assert cut == {each.pool for each in touching if "only routers" not in each.text}


@given(WORLDS)
def test_effects_and_steps_of_what_is_in_force_are_none(worlds: list[World]) -> None:
    found = outlook_of(worlds[:1])
    settled = replace(found, will_be=found.was)
    assert effects(settled) == ()
    assert [price for price in prices(settled, features=features_of(found.before)) if price.writes] == []

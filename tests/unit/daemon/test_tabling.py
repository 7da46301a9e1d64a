"""Tables are made anew if a fact is another, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Declaration
from lbctl.daemon.changes import reading
from lbctl.daemon.changes.reading import Reader
from lbctl.errors import ConfigError
from tests.unit.daemon.rig import REFUSED, Rig, declared, file

A = IPv4Address("192.0.2.11")
TEXT = file("a", "b")


def test_tables_of_the_same_facts_are_the_same_object() -> None:
    reconciler = Rig(declared("a", "b")).up().reconciler
    reconciler.reconcile(now=0.0)
    once, again = reconciler.plan(now=1.0), reconciler.plan(now=2.0)
    assert again[0].is_empty and again[1] is once[1]


def test_tables_after_a_mac_has_changed_have_the_new_one() -> None:
    """The facts are kept where the reconciler goes on writing."""
    reconciler = Rig(declared("a", "b")).up().reconciler
    reconciler.reconcile(now=0.0)
    reconciler.plan(now=1.0)
    reconciler.neighbourhood.macs[A] = bytes.fromhex("020000000099")
    plan, desired, _ = reconciler.plan(now=2.0)
    assert not plan.is_empty
    assert {row.mac for row in desired.backends.values() if row.address == A} == {bytes.fromhex("020000000099")}


def test_tables_after_a_probe_failed_are_others() -> None:
    reconciler = Rig(declared("a", "b")).up().reconciler
    reconciler.reconcile(now=0.0)
    reconciler.plan(now=1.0)
    for at in range(9):
        reconciler.observed.probed("p/a", REFUSED, now=2.0 + at)
    assert not reconciler.plan(now=20.0)[0].is_empty


def test_tables_that_somebody_else_wrote_are_mended_although_no_fact_is_another() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.reconciler.reconcile(now=0.0)
    rig.reconciler.plan(now=1.0)
    rig.dataplane.services.clear()
    rig.reconciler.look_again()
    assert not rig.reconciler.reconcile(now=2.0).is_empty
    assert rig.dataplane.services


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that are really read."""
    texts: list[str] = []

    def noting(text: str, *, source: str) -> Declaration:
        texts.append(text)
        return parse(text, source=source)

    monkeypatch.setattr(reading, "parse", noting)
    yield texts


def test_text_that_was_planned_is_not_read_again_to_apply_it(read: list[str]) -> None:
    reader = Reader()
    planned = asyncio.run(reader.declaration(TEXT, source="new.yaml"))
    assert asyncio.run(reader.declaration(TEXT, source="lbctl.yaml")) is planned
    assert asyncio.run(reader.declaration(file("a"), source="lbctl.yaml")) != planned
    assert read == [TEXT, file("a")]


def test_text_that_is_no_configuration_is_refused_every_time(read: list[str]) -> None:
    reader = Reader()
    asyncio.run(reader.declaration(TEXT, source="new.yaml"))
    for source in ("one.yaml", "another.yaml"):
        with pytest.raises(ConfigError, match=source):
            asyncio.run(reader.declaration("nonsense: 1", source=source))
    assert read == [TEXT, "nonsense: 1", "nonsense: 1"]

"""Changes that fail, on fakes: what they may leave behind, and what a failure after the last write may not undo."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from lbctl.core.capacity import Capacity
from lbctl.core.health import Health, Status
from lbctl.core.plan import SetVip, Step
from lbctl.core.standing import Condition
from lbctl.daemon.changes import applying
from lbctl.daemon.observed import Member
from lbctl.daemon.surroundings import Claims
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import KernelError, LbctlError, RolledBackError
from tests.unit.daemon.office import FIRST, SECOND, Office
from tests.unit.daemon.rig import HEALTHY, LINK, OTHER_VIP, REFUSED, VIP, file
from tests.unit.daemon.stage import DEADLINE_S, MACS


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe succeeds here."""
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.02)
    monkeypatch.setattr(applying, "LOOK_S", 0.02)


def test_backend_that_fails_during_a_change_that_comes_to_nothing_stays_down(tmp_path: Path) -> None:
    office = Office(tmp_path, text=FIRST)
    observed = office.daemon._reconciler.observed

    def status(name: str) -> Status:
        return observed.members[f"p/{name}"].health.status

    async def scene() -> None:
        await office.daemon._monitor.close()  # the results are the test's
        for name in ("a", "b"):
            observed.members[f"p/{name}"] = Member(Health.adopted(True, now=0.0), Capacity())

        async def fails_meanwhile(*asked: object) -> Claims:
            for name in ("a", "b"):
                for _ in range(3):
                    office.daemon._probed(f"p/{name}", REFUSED)
            return Claims(owners={}, unchecked=frozenset())

        office.surroundings.find_duplicates = fails_meanwhile  # type: ignore[assignment,method-assign]
        (office.state / "history" / "000002.next").mkdir()
        with pytest.raises(LbctlError, match="history cannot be written"):
            await office.apply(file("a", "b weight=50", "c"))
        assert (status("a"), status("b")) == (Status.DOWN, Status.DOWN)

    office.act(scene)


VLAN = replace(
    LINK, ifindex=4, name="eth1", mac=bytes.fromhex("02000000000b"), addresses=(IPv4Interface("10.9.0.10/24"),)
)
ANOTHER_INTERFACE = SECOND.replace(
    "eth0: {address: 192.0.2.10/24}", "eth0: {address: 192.0.2.10/24, mode: generic}\n  eth1: {address: 10.9.0.10/24}"
)


class Refusing(FakeDataplane):
    """Never takes the second VIP."""

    refusal: Exception = KernelError("writing a map entry: no memory")

    def write(self, step: Step) -> None:
        if isinstance(step, SetVip) and step.vip == OTHER_VIP and step.after is not None:
            raise self.refusal
        super().write(step)


@pytest.mark.parametrize("has_room", [True, False], ids=["written", "not written"])
def test_change_that_comes_to_nothing_leaves_the_program_where_and_as_it_was(tmp_path: Path, has_room: bool) -> None:
    office = Office(tmp_path, text=FIRST, others=(VLAN,), dataplane=Refusing())

    async def scene() -> None:
        before = dict(office.dataplane.attachments)
        if not has_room:
            (office.state / "history" / "000002.next").mkdir()
        with pytest.raises(LbctlError, match="no memory" if has_room else "history cannot be written"):
            await office.apply(ANOTHER_INTERFACE)
        assert office.dataplane.attachments == before
        assert [each.name for each in office.status().interfaces] == ["eth0"]

    office.act(scene)


def test_change_that_fails_half_written_is_taken_back_whatever_the_failure(tmp_path: Path) -> None:
    dataplane = Refusing()
    dataplane.refusal = OverflowError("a number that nobody foresaw")
    office = Office(tmp_path, text=FIRST, dataplane=dataplane)

    async def scene() -> None:
        before = dataplane.read()
        with pytest.raises(RolledBackError, match="nobody foresaw"):
            await office.apply()
        after = dataplane.read()
        assert (after.services, after.vips) == (before.services, before.vips)
        assert office.outcomes()[-1] == ("apply", "failed")

    office.act(scene)


def test_way_back_that_fails_at_the_interfaces_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.pacing.RETRY_S", 0.01)
    office = Office(tmp_path, text=FIRST)

    async def scene() -> None:
        paths = office.network.paths

        def refuses(*_: object, **__: object) -> None:
            office.network.trouble = "a socket broke"
            raise LbctlError("the disk is full")

        office.daemon.applier._memory.begin = refuses  # type: ignore[assignment,method-assign]
        with pytest.raises(LbctlError, match="disk is full"):
            await office.apply(file("a", "b address=192.0.2.99", "c"))
        assert {each.via for each in office.network.paths} != {each.via for each in paths}
        office.network.trouble = ""
        await office.eventually(lambda: office.network.paths == paths)
        assert set(office.daemon._monitor._tasks) == {"p/a", "p/b"}

    office.act(scene)


class Clinging(FakeDataplane):
    """A program that cannot be taken off an interface, once there is one too many."""

    refusal: Exception | None = None

    def detach_others(self, keep: frozenset[int]) -> None:
        if self.refusal:
            raise self.refusal
        super().detach_others(keep)


@pytest.mark.parametrize("refusal", [KernelError("detaching a link: busy"), FileNotFoundError("link@3@native")])
def test_apply_that_fails_after_the_last_write_is_in_force_all_the_same(tmp_path: Path, refusal: Exception) -> None:
    """Else nobody would know what is in force, and what nobody confirms would stay."""
    dataplane = Clinging()
    office = Office(tmp_path, text=FIRST, dataplane=dataplane)

    async def scene() -> None:
        dataplane.refusal = refusal
        assert (await office.apply(confirm_s=1)).startswith("entry 2 is in force")
        assert office.vips() == {VIP, OTHER_VIP}
        dataplane.refusal = None
        await office.eventually((office.state / "audit.jsonl").exists)
        assert office.vips() == {VIP}
        assert office.outcomes()[-1] == ("apply", "rolled back")

    office.act(scene)


RECEIVERS, NEWCOMER = "policy: failover", IPv4Address("192.0.2.19")


@pytest.mark.parametrize("former", ["a address=192.0.2.19", "z address=192.0.2.19"], ids=["moved", "replaced"])
def test_newcomer_in_place_of_the_active_receiver_takes_over_from_nobody_even_if_it_is_up_at_once(
    former: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the plan said: it is the first in order, but another one has been up for long."""
    office = Office(tmp_path, text=file("a", "b", keys=RECEIVERS), macs={**MACS, NEWCOMER: bytes(5) + bytes([19])})
    label = f"p/{former.partition(' ')[0]}"

    async def probe_the_newcomer() -> None:
        observed = office.daemon._reconciler.observed
        before = observed.members.get(label)
        await office.eventually(lambda: label in observed.members and observed.members[label] is not before)
        office.daemon._probed(label, HEALTHY)

    async def scene() -> None:
        await office.daemon._monitor.close()  # the results are the test's
        for name in ("a", "b"):
            office.daemon._probed(f"p/{name}", HEALTHY)
        await office.eventually(lambda: office.daemon._reconciler.actives == {"p": "a"})
        monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", DEADLINE_S)
        probing = asyncio.create_task(probe_the_newcomer())
        await office.apply(file(former, "b address=192.0.2.12", keys=RECEIVERS))
        await probing
        assert office.daemon._reconciler.standings()[label].condition is Condition.STANDBY
        assert office.daemon._reconciler.actives == {"p": "b"}

    office.act(scene)

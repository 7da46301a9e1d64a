"""Which programs are at work: those for IPv6 behind the other, all of them with other features, and what is pinned of them."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.core.features import Features
from lbctl.core.model import Address, AttachMode
from lbctl.core.plan import SetVip
from lbctl.core.tables import Lan
from lbctl.dataplane import bpf, kernel, loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import MAPS, PROGRAMS
from lbctl.dataplane.links import pinned_links
from lbctl.dataplane.loader import INGRESS, TAILS, load
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.moving import FLOW_MAPS_6, needs_ipv6
from lbctl.dataplane.objectfile import ObjectFile, Program, compile_source
from lbctl.errors import KernelError
from tests.packets.cases import USUAL
from tests.packets.departures import Verdict
from tests.packets.devices import devices
from tests.packets.families import FAMILIES, IPV4, IPV6
from tests.packets.rig import Rig
from tests.packets.world import HERE, VIP6

WITHOUT_IPV6 = Features(ipv6=False)
LEAN = Features(ipv6=False, lans=False, sources=False, limits=False, private=False)
LOOPBACK = 1
OPTIONAL = [field for field in Features.__dataclass_fields__ if field != "ipv6"]


@pytest.fixture(scope="session")
def without_ipv6() -> ObjectFile:
    """What the build child makes for a file without IPv6."""
    return compile_source(features=WITHOUT_IPV6)


@pytest.fixture
def compiled(object_file: ObjectFile, without_ipv6: ObjectFile, monkeypatch: pytest.MonkeyPatch) -> list[Features]:
    """What was compiled in the data plane's name; here it was beforehand."""
    made = {source.features: source for source in (object_file, without_ipv6)}
    asked: list[Features] = []

    def give(*, features: Features) -> ObjectFile:
        asked.append(features)
        return made[features]

    monkeypatch.setattr(kernel, "compile_source", give)
    return asked


@pytest.fixture
def attached(fresh_rig: Rig) -> Iterator[Rig]:
    """At work on the loopback device of a namespace of its own, with the usual tables."""
    fresh_rig.hold(USUAL.tables)
    with devices() as around, around.entered():
        fresh_rig.dataplane.attach(LOOPBACK, AttachMode.GENERIC)
        yield fresh_rig
        fresh_rig.dataplane.detach_others(frozenset())


def pinned(pins: Path) -> set[str]:
    """The names of all pins."""
    return {path.name for path in pins.glob("*@*")}


def leave_ipv6(rig: Rig) -> None:
    """Answer for no VIP of it any more."""
    vips: dict[Address, Lan] = {vip: lan for vip, lan in rig.dataplane.read().vips.items() if vip.version == 4}
    rig.hold(replace(rig.dataplane.read(), vips=vips))


def tails(pins: Path) -> list[str]:
    """The pins of what programs lead to."""
    return sorted(name for name in pinned(pins) if name.startswith(TAILS))


def program_behind_the_link(pins: Path) -> int:
    """Its id."""
    ((path, _, _),) = pinned_links(pins)
    with bpf.opened_pin(path) as link:
        return bpf.link_info(link).program_id


def run_pinned(pins: Path, frame: bytes) -> bpf.TestRun:
    """By the program that is pinned as the running one."""
    with bpf.opened_pin(pins / INGRESS) as program:
        return bpf.test_run(program, frame)


# Programs behind the other -------------------------------------------------------------------------------------------


def test_programs_for_ipv6_outlive_the_daemon(attached: Rig) -> None:
    """Its descriptors are closed, as when it dies: packets of both families go on to their backends."""
    before = [attached.run(family.tcp("S")).data for family in FAMILIES]
    attached.close()

    assert [run_pinned(attached.pins, family.tcp("S")).data for family in FAMILIES] == before
    assert before[1] != IPV6.tcp("S")


def test_each_program_leads_to_those_that_were_loaded_with_it(object_file: ObjectFile, attached: Rig) -> None:
    (first,) = tails(attached.pins)
    loaded = load(object_file, attached.pins)
    successor = KernelDataplane(loaded, attached.pins)
    assert tails(attached.pins) == [first]
    assert loader.left_overs(attached.pins, MAPS) == []

    successor.attach(LOOPBACK, AttachMode.GENERIC)

    assert len(tails(attached.pins)) == 2
    loader.remove_left_overs(attached.pins, MAPS)
    (second,) = tails(attached.pins)
    assert second == f"{TAILS}@{MAPS[TAILS].layout_id}@{bpf.program_id(loaded.programs[INGRESS])}"
    assert program_behind_the_link(attached.pins) == bpf.program_id(loaded.programs[INGRESS])


# Other features ------------------------------------------------------------------------------------------------------


def test_data_plane_with_other_features_goes_on_with_tables_flows_and_counters(
    compiled: list[Features], attached: Rig
) -> None:
    leave_ipv6(attached)
    sent = attached.run(IPV4.tcp("A")).data
    before, memory = attached.dataplane.read().services, attached.dataplane.memory_bytes()

    attached.dataplane.specialise(WITHOUT_IPV6)

    assert attached.dataplane.features == WITHOUT_IPV6
    assert set(attached.dataplane.verified_instructions()) == {"lb_ingress", "lb_clock"}
    assert run_pinned(attached.pins, IPV4.tcp("A")).data == sent
    assert [flow.client for flow in attached.dataplane.flows(limit=9)] == [IPV4.client]
    assert attached.reasons()["established"] == 1
    assert attached.dataplane.read().services == before
    assert attached.dataplane.memory_bytes() < memory - (20 << 20)
    assert loader.left_overs(attached.pins, attached.dataplane.loaded.specs) == []

    attached.dataplane.write(SetVip(vip=VIP6, before=None, after=HERE))
    assert run_pinned(attached.pins, IPV6.tcp("A")).data == IPV6.tcp("A")
    attached.dataplane.specialise(Features())
    assert run_pinned(attached.pins, IPV6.tcp("A")).data != IPV6.tcp("A")
    assert {flow.client for flow in attached.dataplane.flows(limit=9)} == {IPV4.client, IPV6.client}
    assert compiled == [WITHOUT_IPV6, Features()]


def test_every_link_gets_the_program_with_other_features_and_the_one_before_goes(
    compiled: list[Features], attached: Rig
) -> None:
    leave_ipv6(attached)
    was, before = program_behind_the_link(attached.pins), tails(attached.pins)

    attached.dataplane.specialise(WITHOUT_IPV6)

    now = program_behind_the_link(attached.pins)
    with bpf.opened_pin(attached.pins / INGRESS) as program:
        assert bpf.program_id(program) == now != was
    assert len(tails(attached.pins)) == 1
    assert tails(attached.pins) != before


def test_features_that_are_there_already_are_not_compiled_again(compiled: list[Features], fresh_rig: Rig) -> None:
    fresh_rig.dataplane.specialise(Features())

    assert compiled == []


def test_ipv6_stays_in_while_there_are_vips_or_flows_of_it(compiled: list[Features], fresh_rig: Rig) -> None:
    assert not needs_ipv6(fresh_rig.pins)
    fresh_rig.hold(USUAL.tables)
    fresh_rig.run(IPV6.tcp("A"))

    fresh_rig.dataplane.specialise(WITHOUT_IPV6)
    assert (fresh_rig.dataplane.features, needs_ipv6(fresh_rig.pins)) == (Features(), True)

    leave_ipv6(fresh_rig)
    fresh_rig.dataplane.specialise(WITHOUT_IPV6)
    assert (fresh_rig.dataplane.features, needs_ipv6(fresh_rig.pins)) == (Features(), True)

    fresh_rig.forget()
    fresh_rig.dataplane.specialise(WITHOUT_IPV6)
    assert (fresh_rig.dataplane.features, needs_ipv6(fresh_rig.pins)) == (WITHOUT_IPV6, False)


def test_program_that_the_kernel_refuses_leaves_everything_as_it_was(
    attached: Rig, without_ipv6: ObjectFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_ipv6(attached)
    sent = attached.run(IPV4.tcp("A")).data
    before, was, held = pinned(attached.pins), program_behind_the_link(attached.pins), descriptors()
    no_exit = Program(name=PROGRAMS[0], code=without_ipv6.programs["lb_clock"].code[:8], references=())
    programs = {INGRESS: without_ipv6.programs[INGRESS], PROGRAMS[0]: no_exit}
    broken = ObjectFile(programs=programs, build_s=0.0, features=WITHOUT_IPV6)
    monkeypatch.setattr(kernel, "compile_source", lambda *, features: broken)

    with pytest.raises(KernelError, match=f"loading program {PROGRAMS[0]}"):
        attached.dataplane.specialise(WITHOUT_IPV6)

    assert attached.dataplane.features == Features()
    assert (pinned(attached.pins), program_behind_the_link(attached.pins), descriptors()) == (before, was, held)
    assert run_pinned(attached.pins, IPV4.tcp("A")).data == sent


def test_programs_that_could_not_be_put_to_work_do_not_stay_in_the_kernel(
    attached: Rig, compiled: list[Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator tries again and again."""
    leave_ipv6(attached)
    before, was, held = pinned(attached.pins), program_behind_the_link(attached.pins), descriptors()
    update_link = bpf.update_link

    def refuse(link: int, program: int) -> None:
        monkeypatch.setattr(bpf, "update_link", update_link)
        raise KernelError("no memory")

    for _ in range(3):
        monkeypatch.setattr(bpf, "update_link", refuse)
        with pytest.raises(KernelError, match="no memory"):
            attached.dataplane.specialise(WITHOUT_IPV6)

    assert (pinned(attached.pins), program_behind_the_link(attached.pins), descriptors()) == (before, was, held)
    assert compiled == [WITHOUT_IPV6] * 3


def descriptors() -> Counter[str]:
    """How many of programs and of maps this process has."""
    gc.collect()
    found = [path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return Counter(name for name in found if name in ("anon_inode:bpf-map", "anon_inode:bpf-prog"))


def test_table_that_somebody_still_reads_is_not_closed(fresh_rig: Rig) -> None:
    name = FLOW_MAPS_6[0]
    descriptor = os.dup(fresh_rig.loaded.maps[name])
    table = HashMap(descriptor, MAPS[name])
    reading = table.batches()
    table.close_when_unused()
    del table

    assert list(reading) == []
    del reading
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("features", [LEAN, Features(**dict.fromkeys(OPTIONAL, False))], ids=["ipv4", "both"])
def test_program_with_everything_left_out_still_balances(features: Features, fresh_rig: Rig) -> None:
    fresh_rig.hold(USUAL.tables)
    loaded = load(compile_source(features=features), fresh_rig.pins)

    for family in FAMILIES[: 2 if features.ipv6 else 1]:
        frame = family.tcp("S")
        assert bpf.test_run(loaded.programs[INGRESS], frame).data == fresh_rig.run(frame).data != frame


def test_program_with_everything_left_out_takes_a_priority_tag_and_sends_nothing_to_another_segment(
    fresh_rig: Rig,
) -> None:
    far = {number: replace(row, lan=Lan(100)) for number, row in USUAL.tables.backends.items()}
    fresh_rig.hold(USUAL.tables)
    program = load(compile_source(features=LEAN), fresh_rig.pins).programs[INGRESS]

    assert bpf.test_run(program, IPV4.tcp("S", tags=((0x8100, 0xA000),))).verdict == Verdict.TX
    fresh_rig.hold(replace(USUAL.tables, backends=far))
    assert bpf.test_run(program, IPV4.tcp("S")).verdict == Verdict.DROP


@pytest.mark.long
@pytest.mark.parametrize("is_in", [False, True], ids=["without", "alone"])
@pytest.mark.parametrize("name", OPTIONAL)
def test_program_loads_whatever_is_left_out(name: str, is_in: bool, fresh_rig: Rig) -> None:
    others = dict.fromkeys(OPTIONAL, not is_in)

    assert load(compile_source(features=Features(**(others | {name: is_in}))), fresh_rig.pins).programs[INGRESS]

"""Every parser of what others can shape keeps its promises, whatever it is fed: nothing but its documented outcomes, each
within bounds of time, all of them within bounds of memory."""

from __future__ import annotations

import importlib
import pkgutil
import time
from random import Random

import pytest

from lbctl.daemon import state
from lbctl.daemon.state.jsonfile import JsonStore
from tests.fuzz import running, states
from tests.fuzz.__main__ import INPUTS, SEED
from tests.fuzz.catalogue import FUZZERS
from tests.fuzz.fuzzer import Feed, Fuzzer, pure
from tests.fuzz.running import FoundError, HangError, input_of, minimised, run

SLOW = {"config": 2_000, "api-request": 5_000, "cli-answer": 5_000, "watchdog-interval": 5_000}
FEW = 10_000
EACH_PARSER = pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.name)


@EACH_PARSER
def test_parser_fed_with_what_is_nearly_right_keeps_its_promises(fuzzer: Fuzzer) -> None:
    row = run(fuzzer, inputs=SLOW.get(fuzzer.name, FEW), seed=SEED)
    assert row.accepted > 0
    assert row.refused > 0


@pytest.mark.long
@EACH_PARSER
def test_parser_fed_a_million_times_keeps_its_promises(fuzzer: Fuzzer) -> None:
    row = run(fuzzer, inputs=INPUTS, seed=time.time_ns() % (1 << 32))
    assert row.accepted > 0
    assert row.refused > 0


def test_fuzzers_of_state_files_leave_out_no_store() -> None:
    for module in pkgutil.iter_modules(state.__path__, f"{state.__name__}."):
        importlib.import_module(module.name)
    assert set(states.STORES) == set(JsonStore.__subclasses__())


# The fuzzers themselves ----------------------------------------------------------------------------------------------


def fuzzer_of(feed: Feed) -> Fuzzer:
    """Of a parser of single bytes."""
    return Fuzzer(name="made-up", make=lambda dice: b"ab" + dice.randbytes(1) + b"cd", opened=pure(feed))


def test_fuzzer_of_a_parser_that_stumbles_tells_how_to_have_it_again_and_with_how_little() -> None:
    def feed(data: bytes) -> bool:
        if b"\x07" in data:
            raise ZeroDivisionError("ours")
        return True

    fuzzer = fuzzer_of(feed)
    with pytest.raises(FoundError) as caught:
        run(fuzzer, inputs=10_000, seed=5)
    number = int(str(caught.value).partition("--at ")[2].split()[0])
    assert b"\x07" in input_of(fuzzer, seed=5, number=number)
    assert "made-up: ZeroDivisionError('ours')" in str(caught.value)
    assert f"--only made-up --seed 5 --at {number}" in str(caught.value)
    assert r"minimised: b'\x07'" in str(caught.value)


def test_fuzzer_of_a_parser_that_hangs_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LIMIT_S", 0.05)

    def feed(data: bytes) -> bool:
        while data[2] == 7:
            pass
        return True

    with pytest.raises(FoundError, match="HangError") as caught:
        run(fuzzer_of(feed), inputs=10_000, seed=5)
    assert isinstance(caught.value.__cause__, HangError)


def test_fuzzer_of_a_parser_that_wants_all_memory_tells_of_it() -> None:
    def feed(data: bytes) -> bool:
        return bool(bytes(running.ROOM_BYTES * 2)) if data[2] == 7 else True

    with pytest.raises(FoundError, match="MemoryError"):
        run(fuzzer_of(feed), inputs=10_000, seed=5)


def test_fuzzer_of_a_parser_that_forgets_nothing_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_GROWTH_BYTES", 4 << 20)
    kept: list[bytes] = []

    def feed(data: bytes) -> bool:
        kept.append(data * 1000)
        return True

    with pytest.raises(AssertionError, match="MiB more after 10000 inputs"):
        run(fuzzer_of(feed), inputs=10_000, seed=5)


@EACH_PARSER
def test_input_of_a_number_is_always_the_same_and_of_another_seed_another(fuzzer: Fuzzer) -> None:
    first = [input_of(fuzzer, seed=1, number=number) for number in range(30)]
    assert first == [input_of(fuzzer, seed=1, number=number) for number in range(30)]
    assert first != [input_of(fuzzer, seed=2, number=number) for number in range(30)]
    assert len(set(first)) > 10


def test_minimised_input_is_as_small_as_what_is_asked_of_it() -> None:
    data = Random(1).randbytes(500) + b"needle" + Random(2).randbytes(500)
    assert minimised(data, lambda candidate: b"needle" in candidate) == b"needle"

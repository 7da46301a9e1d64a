"""The emulated machine itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.otherkernel.machine import MachineError, run
from tests.otherkernel.stock import stock_kernel

DEADLINE_S = 120.0


def test_command_has_its_words_and_its_exit_code_and_leaves_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "asked").write_text("what is this?", encoding="ascii")
    script = 'cat asked && uname -r && echo "$WORD" && echo here >answered && cat answered && exit 7'

    outcome = run(["sh", "-c", script], cwd=tmp_path, deadline_s=DEADLINE_S, environment={"WORD": "two words"})

    said = ["what is this?" + stock_kernel().release, "two words", "here"]
    assert (outcome.output.splitlines(), outcome.code, outcome.tainted) == (said, 7, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["asked"]


def test_this_machine_s_files_are_read_only_even_for_who_mounts_them_again(tmp_path: Path) -> None:
    script = f"mkdir /run/again && mount -t virtiofs host /run/again && touch /run/again{tmp_path}/written"

    outcome = run(["sh", "-c", script], cwd=Path("/"), deadline_s=DEADLINE_S)

    assert (outcome.code, "Read-only file system" in outcome.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_panic_ends_the_run_with_the_kernel_s_last_words() -> None:
    with pytest.raises(MachineError, match="sysrq triggered crash"):
        run(["sh", "-c", "echo c >/proc/sysrq-trigger"], cwd=Path("/"), deadline_s=DEADLINE_S)


def test_command_beyond_its_deadline_is_ended() -> None:
    started = time.monotonic()

    with pytest.raises(MachineError, match="not done after 1 s"):
        run(["true"], cwd=Path("/"), deadline_s=1)

    assert time.monotonic() - started < DEADLINE_S

"""The runner of the whole suite, with parts made for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.__main__ import STAGES, Part

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
SUMMED_UP = "short test summary info"

PASSES = "def test_passes():\n    pass\n"
FAILS = "def test_fails():\n    assert 1 == 2\n"
WAITS = """
import pathlib, time
def test_waits():
    here = pathlib.Path(__file__)
    try:
        here.with_suffix(".begun").touch()
        time.sleep(600)
    finally:
        here.with_suffix(".ended").touch()
"""


def started(tmp_path: Path, stages: list[list[str]], *options: str) -> subprocess.Popen[str]:
    """The runner at work; each part has one module, of that text."""
    parts = [[Part(name="some", paths=(written(tmp_path, text),)) for text in texts] for texts in stages]
    program = f"import sys; from tests.__main__ import Part, Suite; sys.exit(Suite(sys.argv[1:]).play({parts}))"
    own = ["--rootdir", str(tmp_path), "-p", "no:cacheprovider", *options]
    return subprocess.Popen(
        [sys.executable, "-c", program, *own],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # they take seconds
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def written(tmp_path: Path, text: str) -> str:
    """Its path from the project's root."""
    directory = tmp_path / f"part{len(list(tmp_path.iterdir()))}"
    directory.mkdir()
    (directory / f"test_{directory.name}.py").write_text(text)
    return os.path.relpath(directory, ROOT)


def told(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE_S)
    print(said)
    return process.returncode, said


def modules(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def test_suite_plays_every_module_of_tests_once() -> None:
    played = [ROOT / path for parts in STAGES for part in parts for path in part.found]
    assert sorted(module for path in played for module in modules(path)) == sorted(modules(ROOT / "tests"))


def test_suite_that_passes_ends_with_0_and_a_line_for_each_part(tmp_path: Path) -> None:
    code, said = told(started(tmp_path, [[PASSES, PASSES], [PASSES]]))
    assert (code, said.count("1 passed in")) == (0, 2 * 3)
    assert SUMMED_UP not in said


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "beside it", "afterwards"])
def test_suite_with_a_failure_anywhere_tells_it_at_its_end_and_plays_the_rest(tmp_path: Path, place: int) -> None:
    first, second, third = (FAILS if place == number else PASSES for number in range(3))
    code, said = told(started(tmp_path, [[first, second], [third]]))
    assert code == 1
    assert said.count("1 passed in") == 2 * 2
    assert f"/test_part{place}.py::test_fails" in said[said.rindex(SUMMED_UP) :]


def test_suite_with_options_plays_what_they_name_wherever_it_is(tmp_path: Path) -> None:
    assert told(started(tmp_path, [[PASSES, FAILS], [FAILS]], "-k", "passes"))[0] == 0


def test_suite_with_options_that_name_nothing_fails(tmp_path: Path) -> None:
    assert told(started(tmp_path, [[PASSES], [PASSES]], "-k", "nothing"))[0] == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_suite_that_is_ended_ends_all_of_its_parts(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, [[WAITS, WAITS], [WAITS]])
    until = time.monotonic() + PATIENCE_S
    while len(list(tmp_path.glob("*/*.begun"))) < 2:
        assert time.monotonic() < until
    os.kill(process.pid, number)
    assert told(process)[0] == 128 + number
    if number is signal.SIGINT:
        assert len(list(tmp_path.glob("*/*.ended"))) == 2
    assert len(list(tmp_path.glob("*/*.begun"))) == 2

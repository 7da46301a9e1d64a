"""What stands in for the compiler here: it answers what the compiler did, for the same sources and options only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

COMPILED_ONCE = Path(__file__).with_name("compiled-once")
BUILD = """
import pathlib, sys
shim, source, *options = sys.argv[1:]
if "-DFAULTY" in options:
    sys.exit("lb.c:7:1: error")
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    calls.write("call\\n")
print(options, [path.read_text() for path in sorted(pathlib.Path(source).parent.iterdir())])
"""


class Compiler:
    """A made-up one, and its sources."""

    def __init__(self, directory: Path) -> None:
        self.builds, self.sources, self._build = directory / "builds", directory / "ebpf", directory / "build.py"
        self.builds.mkdir()
        self.sources.mkdir()
        self._build.write_text(BUILD)
        for name in ("lb.c", "types.h"):
            (self.sources / name).write_text(f"{name}, the first\n")

    def asked(self, *options: str) -> subprocess.CompletedProcess[str]:
        """By way of what stands in for it."""
        files = [self._build, self.sources / "kshim", self.sources / "lb.c"]
        argv = [str(COMPILED_ONCE), "-I", *map(str, files), *options]
        environment = {**os.environ, "BUILDS": str(self.builds)}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> int:
        """How often it was at work."""
        return len(self._build.with_name("calls").read_text().splitlines())


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler(tmp_path)


def test_same_sources_with_the_same_options_are_compiled_once(compiler: Compiler) -> None:
    first, again = compiler.asked("-DA=1"), compiler.asked("-DA=1")
    assert first.stdout == again.stdout == "['-DA=1'] ['lb.c, the first\\n', 'types.h, the first\\n']\n"
    assert compiler.calls == 1


def test_other_options_and_other_sources_are_compiled_for_themselves(compiler: Compiler) -> None:
    compiler.asked("-DA=1")
    assert compiler.asked("-DA=0").stdout.startswith("['-DA=0']")
    (compiler.sources / "types.h").write_text("another")
    assert compiler.asked("-DA=1").stdout.endswith("'another']\n")
    assert compiler.calls == 3


def test_failure_is_told_as_it_was_and_not_remembered(compiler: Compiler) -> None:
    for _ in range(2):
        failed = compiler.asked("-DFAULTY")
        assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "lb.c:7:1: error\n")

"""ruff, mypy and bash have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lint.tree import ROOT, project_files


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["ruff", "check", "--quiet", "--output-format=concise"], id="ruff check"),
        pytest.param(["ruff", "format", "--check", "--quiet", "--diff"], id="ruff format"),
        pytest.param(["mypy", "--no-error-summary"], id="mypy strict"),
    ],
)
def test_python_whole_tree_passes(arguments: list[str]) -> None:
    done = run(sys.executable, "-m", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def is_shell_script(path: Path) -> bool:
    with (ROOT / path).open("rb") as file:
        return file.readline().startswith((b"#!/bin/bash", b"#!/bin/sh"))


def test_shell_scripts_parse() -> None:
    scripts = [path for path in project_files() if is_shell_script(path)]
    assert scripts
    complaints = [run("bash", "-n", str(path)).stderr for path in scripts]
    assert not any(complaints), "".join(complaints)

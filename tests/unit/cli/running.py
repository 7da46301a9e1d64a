"""Runs ``lbctl`` commands as a person would: in this process by click's runner, or in one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from lbctl.cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
    """In this process. `main` is what the console script calls: errors come out as a person sees them."""
    runner = CliRunner()
    with runner.isolation(env=environment) as (out, err, _):
        try:
            main([str(argument) for argument in arguments], "lbctl")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        else:
            code = 0
        sys.stdout.flush()
        sys.stderr.flush()
        return Ended(code=code, out=out.getvalue().decode(), err=err.getvalue().decode())


def spawn(*arguments: str | Path, cwd: Path | None = None) -> Ended:
    """In a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "lbctl", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)

"""The files of the project, as the lint tests see them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is, or would be, committed; relative to `ROOT`."""
    # A checkout that belongs to another user (root runs the tests of somebody's clone) is not a danger to `ls-files`.
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for name in listing.split("\0") if name and (ROOT / (path := Path(name))).is_file())


def python_modules(package: str) -> tuple[Path, ...]:
    """The Python files below a top-level directory, relative to `ROOT`."""
    return tuple(path for path in project_files() if path.parts[0] == package and path.suffix == ".py")


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file given relative to `ROOT`."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a module, nested ones too."""
    return (node for node in ast.walk(parse(path)) if isinstance(node, Function))

"""What the build child made: bytecode with map references, and the compiler's view of every map."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbctl.core.features import Features
from lbctl.dataplane import layout
from lbctl.errors import KernelError, SystemRequirementError

EVERYTHING = Features()
DISTRIBUTION_PYTHON = os.environ.get("LBCTL_PYTHON", "/usr/bin/python3")
"""Whose Python bcc belongs to; the environment may name another."""
BUILD_TIMEOUT_S = 60.0
_BUILD = Path(__file__).with_name("build.py")
_INSTRUCTION_BYTES = 8
_PSEUDO_MAP_FD = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One function's bytecode; ``references`` are (instruction index, map name)."""

    name: str
    code: bytes
    references: tuple[tuple[int, str], ...]

    def linked(self, descriptors: Mapping[str, int]) -> bytes:
        """The bytecode with each map reference replaced by the descriptor of our own map."""
        code = bytearray(self.code)
        for index, name in self.references:
            at = index * _INSTRUCTION_BYTES
            code[at + 1] = code[at + 1] & 0x0F | _PSEUDO_MAP_FD << 4
            code[at + 4 : at + 8] = descriptors[name].to_bytes(4, "little")
        return bytes(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFile:
    """All programs, what was compiled into them, and how long the build took."""

    programs: Mapping[str, Program]
    build_s: float
    features: Features = EVERYTHING


def source_directory() -> Path:
    """Where ``lb.c`` lies: beside the package in a checkout, or under the environment's ``share`` when installed."""
    candidates = (Path(__file__).parents[2] / "ebpf", Path(sys.prefix) / "share" / "lbctl" / "ebpf")
    for directory in candidates:
        if (directory / "lb.c").is_file():
            return directory
    raise SystemRequirementError(
        f"the data plane's source lb.c is in neither {candidates[0]} nor {candidates[1]}", hint="install lbctl again"
    )


class Build:
    """The build child at work. Started early, it compiles while its parent does something else."""

    def __init__(self, argv: list[str], features: Features) -> None:
        self.features = features
        self._started = time.monotonic()
        try:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError as error:
            raise SystemRequirementError(f"{argv[0]} is missing", hint="apt-get install python3-bpfcc") from error

    def wait(self) -> ObjectFile:
        """What it made, verified against `layout`. Errors: `SystemRequirementError` (bcc is missing), `KernelError` (the
        source does not compile), `LayoutError`."""
        try:
            output, errors = self._child.communicate(timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.cancel()
            raise KernelError(f"compiling the data plane took more than {BUILD_TIMEOUT_S:.0f} s") from error
        if self._child.returncode:
            raise _build_failure(errors.decode(errors="replace"))
        programs = read_programs(output)
        return ObjectFile(programs=programs, build_s=time.monotonic() - self._started, features=self.features)

    def cancel(self) -> None:
        """End the child if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()


def start_build(source: Path | None = None, *, features: Features = EVERYTHING) -> Build:
    """Start the build child on ``lb.c``, or on another source that includes it."""
    directory = source_directory()
    files = str(directory / "kshim"), str(source or directory / "lb.c")
    return Build([DISTRIBUTION_PYTHON, "-I", str(_BUILD), *files, *features.words], features)


def compile_source(source: Path | None = None, *, features: Features = EVERYTHING) -> ObjectFile:
    """`start_build` and wait."""
    return start_build(source, features=features).wait()


def read_programs(output: bytes) -> Mapping[str, Program]:
    """What the child says, verified against `layout`. `KernelError` if it is not what a build child says, `LayoutError`."""
    try:
        made: dict[str, Any] = json.loads(output)
        layout.verify(made["maps"])
        return {name: _program(name, parts) for name, parts in made["programs"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise KernelError(
            f"the data plane's compiler answered what it should not: {error!r:.200}", hint="install lbctl again"
        ) from error


def _program(name: str, parts: Mapping[str, Any]) -> Program:
    references = tuple((int(index), str(map_name)) for index, map_name in parts["maps"])
    return Program(name=name, code=bytes.fromhex(parts["code"]), references=references)


def _build_failure(stderr: str) -> SystemRequirementError | KernelError:
    if "No module named 'bcc'" in stderr:
        return SystemRequirementError(
            f"{DISTRIBUTION_PYTHON} has no bcc",
            hint="apt-get install python3-bpfcc (the name on PyPI is another package)",
        )
    return KernelError(f"the data plane does not compile:\n{stderr.strip()}")

"""Programs of traffic control on the interfaces of a lab: what a frame meets after it came in, or before it goes out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from lbctl.errors import LabError
from lbctl.lab import bpf
from lbctl.lab.bpf import Label, Op
from lbctl.lab.namespaces import enter

Program = Sequence[Op | Label]


class Hook(StrEnum):
    """Where on an interface."""

    INGRESS = "ingress"
    EGRESS = "egress"


def attach(programs: Iterable[tuple[str, Hook, Program]], *, namespace: str, bpffs: Path, preference: int = 10) -> None:
    """Put programs on interfaces of a namespace, in place of those of the same preference; they stay as long as the interfaces
    do, whoever attached them.

    Of several on one hook the one with the least preference is met first. ``bpffs`` holds them for a moment.
    """
    commands: list[str] = []
    pinned: list[Path] = []
    try:
        for number, (interface, hook, program) in enumerate(programs):
            pinned.append(bpffs / f"tc{number}")
            _pin(program, pinned[-1])
            place = f"dev {interface} {hook} pref {preference} handle 1"
            commands.append(f"qdisc replace dev {interface} clsact")
            commands.append(f"filter replace {place} bpf direct-action object-pinned {pinned[-1]}")
        _run(commands, namespace)
    finally:
        for path in pinned:
            path.unlink(missing_ok=True)


def detach(interface: str, hook: Hook, *, namespace: str, preference: int) -> None:
    """Take the program of that preference away."""
    _run([f"filter delete dev {interface} {hook} pref {preference}"], namespace)


def _pin(program: Program, path: Path) -> None:
    fd = bpf.load_tc_program(program)
    try:
        bpf.pin(fd, path)
    finally:
        os.close(fd)


def _run(commands: Iterable[str], namespace: str) -> None:
    with enter(namespace):  # `tc -netns` would hide a bpffs under /sys
        finished = subprocess.run(
            ["tc", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True, check=False
        )
    if finished.returncode:
        raise LabError(f"tc, in {namespace}: {finished.stderr.strip()}")

"""Bytecode with map references, and what is said when there is none."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from lbctl.core.features import Features
from lbctl.dataplane import objectfile
from lbctl.dataplane.objectfile import Program, compile_source, source_directory
from lbctl.errors import KernelError, LayoutError, SystemRequirementError

LOAD_IMM64, PSEUDO_MAP_FD = 0x18, 1
SECOND_HALF = struct.pack("<BBhi", 0, 0, 0, 0)
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def load_map(register: int, descriptor: int) -> bytes:
    """``register = map``: two instructions wide."""
    return struct.pack("<BBhi", LOAD_IMM64, PSEUDO_MAP_FD << 4 | register, 0, descriptor) + SECOND_HALF


def test_linked_replaces_every_descriptor_and_nothing_else() -> None:
    program = Program(
        name="p",
        code=load_map(1, 3) + EXIT + load_map(9, 4) + load_map(2, 3) + EXIT,
        references=((0, "lb_slots"), (3, "lb_pools"), (5, "lb_slots")),
    )

    linked = program.linked({"lb_slots": 70_000, "lb_pools": 12, "lb_unused": 5})

    assert linked == load_map(1, 70_000) + EXIT + load_map(9, 12) + load_map(2, 70_000) + EXIT
    assert program.code[4:8] == struct.pack("<i", 3)


def test_linked_marks_a_reference_as_a_descriptor_whatever_the_compiler_called_it() -> None:
    other_kind = struct.pack("<BBhi", LOAD_IMM64, 2 << 4 | 1, 0, 3) + SECOND_HALF
    program = Program(name="p", code=other_kind, references=((0, "lb_slots"),))

    assert program.linked({"lb_slots": 8}) == load_map(1, 8)


def test_linked_without_references_is_the_code() -> None:
    assert Program(name="p", code=EXIT, references=()).linked({}) == EXIT


def test_linked_unknown_map_is_an_error() -> None:
    with pytest.raises(KeyError, match="lb_gone"):
        Program(name="p", code=load_map(1, 3), references=((0, "lb_gone"),)).linked({"lb_slots": 3})


def test_source_directory_of_a_checkout_holds_the_program() -> None:
    assert (source_directory() / "lb.c").is_file()


def test_compile_without_the_distributions_python_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectfile, "DISTRIBUTION_PYTHON", "/nonexistent/python3")

    with pytest.raises(SystemRequirementError, match="/nonexistent/python3 is missing") as caught:
        compile_source()
    assert caught.value.hint == "apt-get install python3-bpfcc"


def test_compile_with_a_python_that_has_no_bcc_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A child that is isolated even from the machine's own packages."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o700)
    monkeypatch.setattr(objectfile, "DISTRIBUTION_PYTHON", str(python))

    with pytest.raises(SystemRequirementError, match="has no bcc") as caught:
        compile_source()
    assert "python3-bpfcc" in caught.value.hint


def test_compile_that_fails_otherwise_tells_what_the_child_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho lb.c:7:1: error: unknown type >&2\nexit 1\n")
    python.chmod(0o700)
    monkeypatch.setattr(objectfile, "DISTRIBUTION_PYTHON", str(python))

    with pytest.raises(KernelError, match=r"does not compile:\nlb\.c:7:1: error: unknown type"):
        compile_source()


def test_compile_tells_the_child_what_is_to_be_compiled_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\necho "$@" >&2\nexit 1\n')
    python.chmod(0o700)
    monkeypatch.setattr(objectfile, "DISTRIBUTION_PYTHON", str(python))

    with pytest.raises(KernelError) as caught:
        compile_source(features=Features(ipv6=False, limits=False))

    options = [word for word in caught.value.message.split() if word.startswith("-D")]
    assert sorted(options) == [
        "-DLB_IPV6=0", "-DLB_LANS=1", "-DLB_LIMITS=0", "-DLB_PRIVATE=1", "-DLB_SOURCES=1"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said", ["", "nothing", "[]", "{}", '{"maps": {}, "programs": 7}', "[" * 100_000, "NaN"], ids=range(7)
)
def test_compile_with_a_child_that_answers_nonsense_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    (tmp_path / "said").write_text(said)
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    python.chmod(0o700)
    monkeypatch.setattr(objectfile, "DISTRIBUTION_PYTHON", str(python))

    with pytest.raises((KernelError, LayoutError)):
        compile_source()

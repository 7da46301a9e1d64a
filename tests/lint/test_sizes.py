"""A function that does not fit on a screen, or a module that has no end, has two subjects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.lint.tree import ROOT, Function, functions, project_files, python_modules

MODULE_LINES = 300
FUNCTION_LINES = 60
USUAL_FUNCTION_LINES = 30
USUAL_SHARE = 0.9
C_FUNCTION_LINES = 40

C_FUNCTION = re.compile(r"^\w[^;{}()]*?(?P<name>\w+)\([^;{}]*\)\n\{\n.*?^\}$", re.DOTALL | re.MULTILINE)

MODULES = python_modules("lbctl") + python_modules("tests")
C_SOURCES = tuple(path for path in project_files() if path.parent == Path("ebpf") and path.suffix in (".c", ".h"))


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_modules_are_short() -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_python_functions_are_never_long() -> None:
    lengths = {f"{path}:{f.lineno} {f.name}": length(f) for path in MODULES for f in functions(path)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_python_functions_are_nearly_always_short() -> None:
    lengths = {f"{path}:{f.lineno} {f.name}": length(f) for path in python_modules("lbctl") for f in functions(path)}
    long_ones = sorted(name for name, lines in lengths.items() if lines > USUAL_FUNCTION_LINES)
    assert len(long_ones) <= (1 - USUAL_SHARE) * len(lengths), "\n".join(long_ones)


def c_functions(source: str) -> Iterator[tuple[str, int]]:
    """(name, lines from the signature to the closing brace) of every function, in the kernel's style: both braces of a
    body stand alone at the margin."""
    for match in C_FUNCTION.finditer(source):
        yield match["name"], match[0].count("\n") + 1


def test_c_functions_are_short() -> None:
    found = {path: c_functions((ROOT / path).read_text(encoding="utf-8")) for path in C_SOURCES}
    assert [(str(path), *f) for path, every in found.items() for f in every if f[1] > C_FUNCTION_LINES] == []


def test_c_functions_are_all_counted() -> None:
    """The rule above would be empty if the sources changed their style: every body's end must belong to a match."""
    for path in C_SOURCES:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert len(list(c_functions(source))) == source.splitlines().count("}"), path


def test_c_function_length_is_counted_from_signature_to_brace() -> None:
    source = "struct a {\n\tint b;\n};\n\nstatic int one(int a,\n\t       int b)\n{\n\tif (a) {\n\t}\n}\n"
    assert list(c_functions(source)) == [("one", 6)]

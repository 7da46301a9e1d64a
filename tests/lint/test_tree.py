"""What lies where, and that nothing of the machine it was written on came along."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lint.tree import ROOT, functions, project_files, python_modules

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "deploy",
    "ebpf",
    "lbctl",
    "pyproject.toml",
    "tests",
}

# Paths of a particular machine, and hosts that a lock or a script must leave to the machine's own configuration. Written in
# two pieces, so that this file does not hold them.
FOREIGN = ["/wo" + "rk/", "/tmp" + "/w", "/ho" + "me/", "/ro" + "ot/", "pyp" + "i.org", "pythonhost" + "ed.org"]

README = ROOT / "tests" / "README.md"


def test_top_level_holds_only_what_was_agreed() -> None:
    assert {path.parts[0] for path in project_files()} <= TOP_LEVEL


def test_no_file_names_a_machine_or_a_registry() -> None:
    pattern = re.compile("|".join(map(re.escape, FOREIGN)))
    hits = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in project_files()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert hits == []


def acceptance_rows() -> list[tuple[str, str]]:
    """(what must be shown, by what): the table at the end of tests/README.md, without its head."""
    text = README.read_text(encoding="utf-8")
    table = [line for line in text[text.index("## What must be shown") :].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    return [(what, shown_by) for what, shown_by in cells]


def defined_tests() -> set[str]:
    return {f.name for path in python_modules("tests") for f in functions(path) if f.name.startswith("test_")}


def test_acceptance_table_every_row_is_backed() -> None:
    unbacked = [
        what for what, shown_by in acceptance_rows() if not re.search(r"`test_\w+`|bench `[^`]+`|`make ", shown_by)
    ]
    assert acceptance_rows()
    assert unbacked == []


def test_acceptance_table_names_only_tests_that_exist() -> None:
    text = README.read_text(encoding="utf-8")
    files = {path.name for path in python_modules("tests")}
    assert set(re.findall(r"\btest_\w+\b(?!\.py|\w)", text)) - defined_tests() == set()
    assert set(re.findall(r"\btest_\w+\.py\b", text)) - files == set()


def test_acceptance_table_names_only_bench_rows_that_exist() -> None:
    sources = "".join(
        (ROOT / path).read_text(encoding="utf-8") for path in python_modules("tests") if "bench" in path.parts
    )
    named = set(re.findall(r"bench `([^`]+)`", README.read_text(encoding="utf-8")))
    assert {row for row in named if f'"{row}"' not in sources} == set()


def test_locks_pin_every_package_by_hash() -> None:
    for path in (Path("deploy/locks/runtime.txt"), Path("deploy/locks/dev.txt")):
        entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n", "", (ROOT / path).read_text(encoding="utf-8")).strip())
        assert entries
        assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+ \\\n +--hash=sha256:", entry)] == []


def test_development_lock_holds_the_runtime_lock() -> None:
    """What the tests run with is what `make install` installs."""
    pins = [
        set(re.findall(r"(?m)^[\w.-]+==\S+", (ROOT / "deploy" / "locks" / name).read_text(encoding="utf-8")))
        for name in ("runtime.txt", "dev.txt")
    ]
    assert pins[0] <= pins[1]

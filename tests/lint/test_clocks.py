"""Nothing decides by the wall clock, which jumps: it is asked only for what people read."""

from __future__ import annotations

import ast
import re

from tests.lint.tree import ROOT, parse, project_files, python_modules

FOR_PEOPLE = {
    "lbctl/daemon/watching.py": 1,  # when an event happened
    "lbctl/daemon/audit.py": 1,  # when a change was asked for
    "lbctl/daemon/changes/history.py": 1,  # when it was put in force
}
"""How often the wall clock is asked for, by module."""
WALL_CLOCK = frozenset(
    {
        *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime")),
        *(f"{of}.{name}" for of in ("datetime", "date") for name in ("now", "utcnow", "today")),
        "time.CLOCK_REALTIME",
    }
)
NAMES = frozenset(name.partition(".")[2] for name in WALL_CLOCK)


def uses(tree: ast.Module) -> list[int]:
    """The lines that ask for the wall clock: of a module (``time.time``, ``datetime.datetime.now``), or by a name that was
    taken from one."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and f"{_last(node.value)}.{node.attr}" in WALL_CLOCK:
            found.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [node.lineno for name in node.names if name.name in NAMES]
    return found


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_wall_clock_is_asked_for_what_people_read_only() -> None:
    found = {str(path): len(uses(parse(path))) for path in python_modules("lbctl")}
    assert {path: count for path, count in found.items() if count} == FOR_PEOPLE


def test_wall_clock_is_found_in_every_form() -> None:
    source = "import time, datetime\nfrom time import time_ns\ntime.time()\ndatetime.datetime.now()\ntime.monotonic()\n"
    assert uses(ast.parse(source)) == [2, 3, 4]


def test_data_plane_has_no_wall_clock() -> None:
    """The kernel's clocks for programs all begin at boot, but for that of the atomic time."""
    sources = [path for path in project_files() if path.parts[0] == "ebpf" and path.suffix in (".c", ".h")]
    assert sources
    pattern = re.compile(r"ktime_get_(real|tai|clocktai)")
    assert [str(path) for path in sources if pattern.search((ROOT / path).read_text(encoding="utf-8"))] == []

"""Who may import whom: the table of rooms, enforced on every import statement, `TYPE_CHECKING` ones included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lint.tree import ROOT, parse, python_modules

# Beyond the standard library, EVERYWHERE and the room itself. A name stands for everything below it.
ALLOWED: dict[str, set[str]] = {
    "lbctl": set(),
    "lbctl.config": {"pydantic", "pydantic_core", "ruamel", "lbctl.core"},
    "lbctl.core": {"numpy"},
    "lbctl.dataplane": {"numpy", "lbctl.core"},
    "lbctl.network": {"pyroute2", "lbctl.core"},
    "lbctl.probes": {"lbctl.core"},
    "lbctl.daemon": {
        "fastapi",
        "numpy",
        "pydantic",
        "starlette",
        "uvicorn",
        "lbctl.config",
        "lbctl.core",
        "lbctl.dataplane",
        "lbctl.network",
        "lbctl.probes",
    },
    "lbctl.cli": {"click", "pydantic", "rich", "lbctl.config", "lbctl.core", "lbctl.daemon.models"},
    "lbctl.lab": {"numpy", "pydicom", "rich", "lbctl.config", "lbctl.core", "lbctl.network"},
}
EVERYWHERE = {"lbctl.errors", "lbctl.__version__"}
# Single modules with a rule of their own, in place of their room's or in addition to it.
INSTEAD: dict[str, set[str]] = {
    # Runs under the distribution's Python, where nothing of lbctl is installed.
    "lbctl.dataplane.build": {"bcc"},
}
IN_ADDITION: dict[str, set[str]] = {
    "lbctl.__main__": {"lbctl.cli.main"},
    # The commands that *are* the daemon, its undoing and the lab; every other command only talks to them.
    "lbctl.cli.run": {"lbctl.daemon.app", "lbctl.daemon.early"},
    "lbctl.cli.detach": {"lbctl.daemon.teardown"},
    "lbctl.cli.lab": {"lbctl.lab"},
    # Compares what the kernel holds with what was declared, without asking the daemon.
    "lbctl.lab.chaos.kerneltables": {"lbctl.dataplane"},
}
# `bcc` and `pyroute2` each have one home; scapy belongs to the tests.
ONLY_IN = {"bcc": "lbctl.dataplane.build", "pyroute2": "lbctl.network", "scapy": "tests"}

MODULES = python_modules("lbctl")


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    room = ".".join(module.split(".")[:2])
    return room if room in ALLOWED else "lbctl"


def imports_of(path: Path) -> Iterator[str]:
    """The dotted name of everything imported, as deep as the statement tells."""
    package = path.parent.parts
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def is_below(name: str, root: str) -> bool:
    return name == root or name.startswith(root + ".")


def allowed_in(module: str) -> set[str]:
    if module in INSTEAD:
        return INSTEAD[module]
    room = room_of(module)
    # lbctl itself (errors, __init__) may not reach into its rooms: everything below it would be too much.
    own = {room} if room != "lbctl" else set()
    return ALLOWED[room] | IN_ADDITION.get(module, set()) | EVERYWHERE | own


def strangers(path: Path) -> list[str]:
    allowed = allowed_in(module_name(path))
    foreign = {name for name in imports_of(path) if name.split(".")[0] not in sys.stdlib_module_names}
    return sorted(name for name in foreign if not any(is_below(name, root) for root in allowed))


def test_modules_import_only_what_their_room_allows() -> None:
    assert {module_name(path): names for path in MODULES if (names := strangers(path))} == {}


def test_every_room_has_a_rule() -> None:
    rooms = {path.parts[1] for path in MODULES if len(path.parts) > 2}
    assert {f"lbctl.{room}" for room in rooms} == set(ALLOWED) - {"lbctl"}


@pytest.mark.parametrize(("library", "home"), ONLY_IN.items(), ids=list(ONLY_IN))
def test_library_is_imported_only_in_its_home(library: str, home: str) -> None:
    users = {module_name(path) for path in MODULES if any(is_below(name, library) for name in imports_of(path))}
    assert all(is_below(user, home) for user in users), f"{library} is imported by {sorted(users)}"


def test_daemon_process_never_loads_heavy_libraries() -> None:
    """What the statements promise, seen in a real interpreter, with everything that libraries import in their turn."""
    script = "import sys, lbctl.daemon.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {"bcc", "pydicom", "scapy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import scapy.all", ["scapy.all"]),
        ("from lbctl.network.port import Link", ["lbctl.network.port.Link"]),
        ("from lbctl import daemon", ["lbctl.daemon"]),
        ("from .. import network", ["lbctl.network"]),
        ("def f():\n    import pyroute2", ["pyroute2"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pydantic", ["pydantic"]),
        ("from lbctl.core_extras import x", ["lbctl.core_extras.x"]),
        ("from lbctl.core import model\nfrom . import plan\nimport numpy as np, json", []),
    ],
)
def test_rule_forbidden_import_is_found(statement: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("lbctl/core/imaginary.py")
    monkeypatch.setattr(sys.modules[__name__], "parse", lambda _path: ast.parse(statement))
    assert strangers(path) == expected

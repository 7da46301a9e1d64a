"""Another version with tables of another layout takes over: live connections stay where they are."""

from __future__ import annotations

import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from lbctl.dataplane.descriptions import LAYOUTS
from lbctl.lab.daemon import Daemon
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import RARE, Line, configuration, directing, reload, spread, status
from tests.netns.test_director_resize import connections, talking

CONNECTIONS = 100
ROOT = Path(__file__).parents[2]


def changed(directory: Path, *, struct: str, mirror: str, words: int) -> Path:
    """A copy of the checkout in which one structure has so many 32-bit words more, before all others."""
    for part in ("lbctl", "ebpf"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    replace(directory / "ebpf" / "types.h", rf"^struct {struct} {{\n", f"struct {struct} {{\n\tu32 added[{words}];\n")
    size = re.compile(rf"sizeof\(struct {struct}\) == (\d+)")
    types = (directory / "ebpf" / "types.h").read_text()
    grown = size.sub(lambda found: found[0].replace(found[1], str(int(found[1]) + 4 * words)), types)
    assert grown != types
    (directory / "ebpf" / "types.h").write_text(grown)
    layout = directory / "lbctl" / "dataplane" / "layout.py"
    replace(layout, rf"^{mirror} = struct\(\n", f'{mirror} = struct(\n    ("added", "<u4", {words}),\n')
    return directory


def replace(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, lambda _: by, path.read_text(), flags=re.MULTILINE)
    assert count == 1, pattern
    path.write_text(text)


@pytest.fixture(scope="module")
def other_flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed(tmp_path_factory.mktemp("flows"), struct="flow", mirror="FLOW", words=2)


@pytest.fixture(scope="module")
def other_backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed(tmp_path_factory.mktemp("backends"), struct="backend", mirror="BACKEND", words=2)


def start_as(daemon: Daemon, tree: Path | None) -> None:
    """The version in that tree takes over."""
    assert daemon.stop() == 0
    daemon.tree = tree
    daemon.start()


@pytest.fixture
def running(lab: Lab) -> Iterator[Daemon]:
    """With a look at the backends at its start, then none."""
    weights = {node.name: 100 for node in lab.backends}
    with directing(lab, configuration(*lab.backends, check=RARE, weights=weights)) as daemon:
        yield daemon


@pytest.mark.parametrize("version", ["other_flows", "other_backends"])
def test_connections_stay_at_their_servers_through_an_upgrade_to_another_layout_and_back(
    lab: Lab, running: Daemon, version: str, request: pytest.FixtureRequest
) -> None:
    """Half of them talk all the time; the others say nothing until the very end. A flow that is lost would go elsewhere."""
    first, second = (node.name for node in lab.backends)
    other: Path = request.getfixturevalue(version)
    before = running.log.read_text()
    with ExitStack() as opened:
        lines = [opened.enter_context(Line(lab.clients[0])) for _ in range(CONNECTIONS)]
        servers = Counter(line.backend for line in lines)
        assert min(servers[first], servers[second]) > CONNECTIONS // 5
        uneven = configuration(*lab.backends, check=RARE, weights={first: 250, second: 1})
        assert reload(running, uneven).endswith(f"reloaded {running.config}")
        for tree in (other, None):
            pins = {path.name for path in running.pins.iterdir()}
            with talking(lines[::2]) as wrong:
                start_as(running, tree)
            assert wrong == []
            assert {path.name for path in running.pins.iterdir()} != pins
            assert status(running).daemon.warnings == ()
        assert [line for line in lines if not line.is_alive] == []
        wait_until(lambda: connections(running) == servers, deadline_s=20, what=f"{servers} to be counted")
        assert spread(lab.clients[0])[second] < 5
        log = running.log.read_text().removeprefix(before)
        taken = [int(count) for count in re.findall(r"(\d+) flows taken along into new tables", log)]
        assert len(taken) == 2
        assert min(taken) >= CONNECTIONS  # and those that ended lately


MOMENTS = ("data plane built", "flows taken along", "program attached")
"""Lines of the log, in their order: the maps are not made yet, they are filled, the new program is at work."""


def has_come(daemon: Daemon, moment: str, log_before: str) -> bool:
    return moment in daemon.log.read_text().removeprefix(log_before)


def test_upgrade_that_is_killed_at_each_step_keeps_every_connection_at_its_server(
    lab: Lab, running: Daemon, other_backends: Path
) -> None:
    first, second = (node.name for node in lab.backends)
    with ExitStack() as opened:
        lines = [opened.enter_context(Line(lab.clients[0])) for _ in range(CONNECTIONS)]
        uneven = configuration(*lab.backends, check=RARE, weights={first: 250, second: 1})
        assert reload(running, uneven).endswith(f"reloaded {running.config}")
        assert running.stop() == 0
        running.tree = other_backends
        with talking(lines[::2]) as wrong:
            for moment in MOMENTS:
                before = running.log.read_text()
                process = running.launch()
                wait_until(partial(has_come, running, moment, before), deadline_s=60, what=f"the moment of {moment!r}")
                signal_group(process, signal.SIGKILL)
                process.wait()
                assert spread(lab.clients[0], 5)
            running.start()
        assert wrong == []
        assert status(running).daemon.warnings == ()
        assert [line for line in lines if not line.is_alive] == []
        layouts = [path.name for path in running.pins.glob("lb_backends@*")]
        assert len(layouts) == 1  # nothing of the version before, nor of the attempts


def test_flows_that_another_version_cannot_read_are_told_in_the_status_and_picked_up(
    lab: Lab, running: Daemon, other_backends: Path
) -> None:
    with ExitStack() as opened:
        lines = [opened.enter_context(Line(lab.clients[0])) for _ in range(20)]
        assert running.stop() == 0
        for path in running.pins.glob(f"{LAYOUTS}@*"):
            path.unlink()
        running.tree = other_backends
        running.start()

        (warning,) = status(running).daemon.warnings
        assert re.match(r"\d+ flows were begun by another version and could not be taken along: ", warning)
        assert "could not be taken along" in " ".join(running.ctl("status").stdout.split())
        assert f"WARNING {warning}" in running.log.read_text()
        assert [line for line in lines if not line.is_alive] == []

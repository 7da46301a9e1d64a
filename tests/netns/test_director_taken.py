"""Sources of a pool with private storage whose backend a change removes that does not stay."""

from __future__ import annotations

from lbctl.cli.client import get
from lbctl.daemon.models import Assignments
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import SUBNET, Lab
from tests.netns.director_rig import POOL, configuration, reload


def assigned(daemon: Daemon, source: str) -> str | None:
    """The backend that a source keeps to."""
    found = get(daemon.socket, "/v1/assignments", Assignments).assignments
    return next((each.backend for each in found if str(each.source) == source), None)


def test_source_of_a_removed_backend_has_it_again_when_another_daemon_takes_the_change_back(
    daemon: Daemon, lab: Lab
) -> None:
    other = daemon.directory / "second.yaml"
    source, private = str(SUBNET[77]), {"kind": "archive", "storage": "private"}
    reload(daemon, configuration(*lab.backends, pool=private))
    daemon.ctl("assign", "set", POOL, source, "backend2")
    other.write_text(configuration(lab.backends[0], pool=private))
    daemon.ctl("apply", str(other), "--yes", "--confirm", "10m")
    assert assigned(daemon, source) is None
    daemon.kill()
    daemon.start()
    daemon.ctl("rollback", "--yes")
    assert assigned(daemon, source) == "backend2"
    daemon.kill()
    daemon.start()
    assert assigned(daemon, source) == "backend2"

"""The control API on a real Unix socket, served as the daemon serves it, around a daemon on fakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from lbctl.config.loader import parse
from lbctl.core.features import Features
from lbctl.daemon.api import Controls, make_api
from lbctl.daemon.api.applying import Applying
from lbctl.daemon.api.changes import Planning
from lbctl.daemon.audit import AuditLog
from lbctl.daemon.changes.starting import Start
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.sockets import PeerProtocol, open_control_socket
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.fake import FakeDataplane
from lbctl.network.fake import FakeNetwork
from tests.unit.daemon.rig import LINK, file


def daemon_on_fakes(directory: Path, *backends: str, text: str = "", dataplane: FakeDataplane | None = None) -> Daemon:
    """A daemon that was never brought up: it probes nobody. Its file (``text``, or these backends) and its state are in the
    directory."""
    text = text or file(*backends or ("a", "b"))
    config = directory / "lbctl.yaml"
    config.write_text(text)
    daemon = Daemon(
        config=config,
        start=Start(text=text, declaration=parse(text, source=str(config)), source=str(config)),
        dataplane=dataplane or FakeDataplane(),
        surroundings=Surroundings(FakeNetwork([LINK])),
        state=directory / "state",
        features=Features(),
    )
    daemon._reconciler.neighbourhood.met({"eth0": LINK})
    return daemon


@contextmanager
def served(
    controls: Controls, path: Path, *, applying: Applying | None = None, planning: Planning | None = None
) -> Iterator[Path]:
    """Serve the API on a socket at that path, in a thread."""
    config = uvicorn.Config(
        make_api(controls, AuditLog(path.parent), applying, planning),
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    with open_control_socket(path) as control:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [control]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)  # the pause between two looks
        try:
            yield path
        finally:
            server.should_exit = True
            thread.join(timeout=10)

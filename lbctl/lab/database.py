"""One PostgreSQL cluster for a lab's archives, reached by a Unix socket (namespaces share the file system)."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lbctl.errors import LabError, SystemRequirementError
from lbctl.lab.namespaces import path_of
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until

_USER = "postgres"
_DATABASE = "orthanc"
_VOLATILE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""The cluster lives as long as the lab; nothing in it need survive a power cut."""


class Database:
    """A running cluster. It ends with the lab."""

    def __init__(self, lab: Lab) -> None:
        self.directory = lab.directory / "postgresql"
        self._bin = _find_binaries()
        self._start(lab)

    @property
    def uri(self) -> str:
        """What Orthanc's PostgreSQL plugin takes as ``ConnectionUri``."""
        return f"postgresql://{_USER}@/{_DATABASE}?host={self.directory}"

    def _start(self, lab: Lab) -> None:
        self.directory.mkdir()
        shutil.chown(self.directory, _USER)
        log = self.directory / "postgresql.log"
        data = self.directory / "data"
        self._run("initdb", "-D", data, "--no-sync", "-A", "trust", "-U", _USER, "--locale=C", "-E", "UTF8")
        settings = [word for item in (*_VOLATILE, "max_connections=200", "listen_addresses=") for word in ("-c", item)]
        # It needs no network; inside a namespace of the lab it is found and ended even if the lab was killed.
        inside = ["nsenter", f"--net={path_of(lab.plan.switch)}", "--"]
        lab.processes.start(
            [*inside, *self._as_user("postgres", "-D", data, "-k", self.directory, *settings)],
            output=log,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        )
        wait_until(self._is_ready, deadline_s=30, what=f"PostgreSQL (its log is {log})")
        self._run("createdb", "-h", self.directory, "-U", _USER, _DATABASE)

    def _is_ready(self) -> bool:
        probe = subprocess.run(
            self._as_user("pg_isready", "-q", "-h", self.directory), check=False, capture_output=True, cwd="/"
        )
        return probe.returncode == 0

    def _run(self, program: str, *arguments: str | Path) -> None:
        finished = subprocess.run(
            self._as_user(program, *arguments), check=False, capture_output=True, text=True, cwd="/"
        )
        if finished.returncode:
            raise LabError(f"{program}: {finished.stderr.strip()[-1000:]}")

    def _as_user(self, program: str, *arguments: str | Path) -> Sequence[str]:
        """PostgreSQL refuses to run as root."""
        become = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--"]
        return [*become, str(self._bin / program), *map(str, arguments)]


def _find_binaries() -> Path:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not candidates:
        raise SystemRequirementError("PostgreSQL's server is not installed", hint="run: make deps-lab")
    return candidates[-1].parent

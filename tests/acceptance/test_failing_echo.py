"""An archive whose health check fails while it still stores: new associations go elsewhere, and the one under way goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lbctl.core.tables import BackendState
from lbctl.lab import dicom
from lbctl.lab.archives import Archive
from lbctl.lab.processes import signal_group
from lbctl.lab.studies import Study
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import DETECTION_S, PEER, ArchiveStage, archive_stage, new_connections, wait_state
from tests.netns.pinned import PinnedBackends

CALLERS = (PEER.calling_ae, "LBCTL")


def modality(title: str, *, may_echo: bool) -> dict[str, object]:
    """A caller as Orthanc knows it. It asks for its address only to call back."""
    return {"AET": title, "Host": "192.0.2.1", "Port": 104, "AllowEcho": may_echo}


@pytest.fixture
def strict_archives() -> Iterator[ArchiveStage]:
    """Two archives that let only known callers echo, and everybody store. Both know the lab's clients and lbctl."""
    known = {title: modality(title, may_echo=True) for title in CALLERS}
    with (
        Lab(plan_lab(backends=2, clients=2)) as lab,
        archive_stage(lab, settings={"DicomAlwaysAllowEcho": False, "DicomModalities": known}) as stage,
    ):
        stage.make_whole()
        yield stage


def fail_every_echo(archive: Archive) -> None:
    """From now on it answers each C-ECHO with an abort."""
    for title in CALLERS:
        archive.set_modality(title, modality(title, may_echo=False))


def test_store_of_400_images_survives_that_every_echo_fails_from_its_middle_on(
    strict_archives: ArchiveStage, long_study: Study
) -> None:
    stage, daemon = strict_archives, strict_archives.daemon
    storing, other = stage.clients
    store = stage.store(storing, long_study.files, name="echo-fails")
    wait_until(lambda: store.stored >= store.count // 2, deadline_s=60, what="half of the store")
    signal_group(store.process, signal.SIGSTOP)  # the modality pauses, so that the other half comes after the verdict
    failing = stage.serving(storing)
    fail_every_echo(stage.archives[failing])
    row = wait_state(daemon, failing, "down", deadline_s=5 * DETECTION_S)
    at_verdict, before = store.stored, new_connections(daemon)[failing]
    echoes = [dicom.echo(other, PEER).succeeded for _ in range(6)]
    signal_group(store.process, signal.SIGCONT)
    result = store.wait()

    assert not dicom.echo(other, stage.archives[failing].peer).succeeded
    assert "the server aborted (A-ABORT) after the C-ECHO request" in row.reason
    assert f"{failing} is down (application): " in daemon.log.read_text()
    assert PinnedBackends(stage.lab.pins).state_of(stage.archives[failing].node) is BackendState.DOWN
    assert (all(echoes), new_connections(daemon)[failing] - before) == (True, 0)
    assert result.succeeded  # exit code 0, and every instance acknowledged
    assert at_verdict < store.count == store.stored == 400
    assert stage.count_instances() == 400
    print(
        f"down at image {at_verdict} of 400 ({row.reason}); all 400 stored all the same; "
        f"of {len(echoes)} associations after that, 0 went there"
    )

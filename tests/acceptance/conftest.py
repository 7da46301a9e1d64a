"""Fixtures of the acceptance tests. The archives run for the whole session, since their start takes the longest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lbctl.lab.studies import Study, generate_study
from lbctl.lab.topology import Lab, plan_lab
from tests.acceptance.stage import AT_A_TIME, ArchiveStage, archive_stage


@pytest.fixture(scope="session")
def running_archives() -> Iterator[ArchiveStage]:
    """Three archives behind the VIP; take `archives` instead."""
    with Lab(plan_lab(backends=3, clients=3)) as lab, archive_stage(lab) as stage:
        yield stage


@pytest.fixture
def archives(running_archives: ArchiveStage) -> ArchiveStage:
    """Three archives behind the VIP, all of them up, whatever the test before did to them."""
    running_archives.make_whole()
    return running_archives


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A CT study of 200 images, 105 MB."""
    return generate_study(tmp_path_factory.mktemp("study") / "ct", seed=71, instances=200)


@pytest.fixture(scope="session")
def stored_study(running_archives: ArchiveStage, study: Study) -> Study:
    """The study, after it was stored through the VIP from all clients at once."""
    running_archives.make_whole()
    senders = running_archives.clients * 2
    parts = study.parts(len(senders))
    stores = [
        running_archives.store(node, part, name=f"study-{number}")
        for number, (node, part) in enumerate(zip(senders, parts, strict=True))
    ]
    assert all(store.wait().succeeded for store in stores)
    return study


@pytest.fixture
def long_study(tmp_path: Path) -> Study:
    """A CT study of 400 images, 210 MB, not stored yet."""
    return generate_study(tmp_path / "ct", seed=72, instances=400)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Threads for what happens at the same time."""
    with ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
        yield pool

"""The archives, agents and studies of a lab, without a balancer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.lab import dicom, http, studies
from lbctl.lab.agent import Agent
from lbctl.lab.archives import Archive, start_archives
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2)) as built:
        yield built


def test_agent_answers_what_it_was_last_told(lab: Lab) -> None:
    node = lab.backends[0]
    agent = Agent(node, file=lab.directory / "agent", answer="75%")
    assert _ask(lab.clients[0], str(node.address)) == b"75%\n"
    agent.say("drain")
    assert _ask(lab.clients[0], str(node.address)) == b"drain\n"


def _ask(client: Node, address: str) -> bytes:
    with client.enter(), socket.create_connection((address, 3333), timeout=5) as connection:
        return connection.recv(100)


@pytest.fixture(scope="module")
def archives(lab: Lab) -> tuple[Archive, ...]:
    return start_archives(lab)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> studies.Study:
    return studies.generate_study(tmp_path_factory.mktemp("study") / "ct", seed=7, instances=24)


def test_study_generated_twice_from_one_seed_is_the_same_to_the_byte(tmp_path: Path) -> None:
    first = studies.generate_study(tmp_path / "a", seed=3, instances=3)
    second = studies.generate_study(tmp_path / "b", seed=3, instances=3)
    assert first.checksums == second.checksums
    assert [file.read_bytes() for file in first.files] == [file.read_bytes() for file in second.files]
    assert len(set(first.checksums.values())) == 3


def test_study_with_one_file_lost_and_one_damaged_is_found_incomplete(study: studies.Study) -> None:
    first = study.files[0].read_bytes()
    result = studies.compare(study, [first[:-1] + bytes([first[-1] ^ 1]), *study.files[2:]])
    uids = list(study.checksums)
    assert (result.damaged, result.missing) == (frozenset(uids[:1]), frozenset(uids[1:2]))
    assert not result.is_complete
    assert studies.compare(study, study.files).is_complete


def test_archives_store_from_two_clients_gives_all_back_through_the_other_archive(
    lab: Lab, archives: tuple[Archive, ...], study: studies.Study, tmp_path: Path
) -> None:
    stores = [
        dicom.Store(client, archive.peer, part, log=tmp_path / f"{client.name}.log")
        for client, archive, part in zip(lab.clients, archives, study.parts(2), strict=True)
    ]
    assert all(store.wait().succeeded for store in stores)
    assert dicom.find_studies(lab.clients[0], archives[0].peer, study.study_uid) == 1
    retrieval = dicom.retrieve(lab.clients[1], archives[0].peer, study.study_uid, into=tmp_path / "got")
    assert retrieval.association.succeeded
    assert studies.compare(study, retrieval.files).is_complete
    over_http = http.retrieve_study(lab.clients[0], archives[1].node.address, study.study_uid)
    assert studies.compare(study, over_http).is_complete


def test_archive_killed_refuses_and_serves_again_after_restart(lab: Lab, archives: tuple[Archive, ...]) -> None:
    archive, client = archives[0], lab.clients[0]
    assert dicom.echo(client, archive.peer).succeeded
    archive.kill()
    assert not dicom.echo(client, archive.peer).succeeded
    archive.restart()
    assert dicom.echo(client, archive.peer).succeeded

"""The lab itself, without a balancer: does it build, carry traffic, count it, and leave nothing behind?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.errors import LabError, UsageError
from lbctl.lab import bpf, dicom, http, session, studies
from lbctl.lab.agent import Agent
from lbctl.lab.archives import Archive, start_archives
from lbctl.lab.capture import Direction, FrameCounter, Kind, Tally
from lbctl.lab.namespaces import enter, path_of, run_ip
from lbctl.lab.node import Node
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2)) as built:
        yield built


@pytest.fixture
def counter(lab: Lab) -> Iterator[FrameCounter]:
    with lab.count_frames(lab.director) as counting:
        yield counting


def leftovers(prefix: str, directory: Path) -> list[str]:
    names = [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(prefix)]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    return names + mounts + ([str(directory)] if directory.exists() else [])


def test_lab_of_three_and_three_is_up_within_two_seconds_and_leaves_nothing() -> None:
    plan = plan_lab(backends=3, clients=3)
    began = time.monotonic()
    with Lab(plan):
        assert time.monotonic() - began < 2
        assert len(leftovers(plan.prefix, plan.directory)) == 8 + 1 + 1
    assert leftovers(plan.prefix, plan.directory) == []


def test_lab_when_its_body_fails_leaves_nothing() -> None:
    plan = plan_lab()
    with pytest.raises(ZeroDivisionError), Lab(plan) as built:
        process = built.clients[0].popen(["sleep", "600"])
        raise ZeroDivisionError
    assert leftovers(plan.prefix, plan.directory) == []
    assert process.returncode == -signal.SIGTERM


def test_lab_when_the_build_fails_half_way_leaves_nothing() -> None:
    plan = plan_lab()
    run_ip([f"netns add {plan.nodes[-1].namespace}"])  # in the way
    with pytest.raises(LabError, match=plan.nodes[-1].namespace), Lab(plan):
        pass
    assert leftovers(plan.prefix, plan.directory) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_lab_when_signalled_leaves_nothing(number: signal.Signals) -> None:
    program = (
        "from lbctl.lab.topology import *\n"
        "plan = plan_lab()\n"
        "with Lab(plan) as lab:\n"
        "    print(plan.prefix, plan.directory, flush=True)\n"
        "    lab.clients[0].run(['sleep', '600'], timeout_s=600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    prefix, directory = process.stdout.readline().split()
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    process.stdout.close()
    assert leftovers(prefix, Path(directory)) == []


def test_lab_asked_for_too_many_nodes_says_how_many_fit() -> None:
    with pytest.raises(UsageError, match="room for 50 clients, not 51"):
        plan_lab(clients=51)


def test_node_command_sees_only_its_own_network_but_the_roots_mounts(lab: Lab) -> None:
    node = lab.clients[1]
    assert str(node.address) in node.run(["ip", "-4", "-br", "address"]).stdout
    assert node.run(["stat", "-f", "-c", "%T", lab.plan.bpffs]).stdout.strip() == "bpf_fs"


def test_node_command_that_fails_raises_with_its_words(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"client1: ls /nowhere ended with 2: .*No such file"):
        lab.clients[0].run(["ls", "/nowhere"])


def test_node_command_that_hangs_is_ended_and_reported(lab: Lab) -> None:
    with pytest.raises(LabError, match="did not end within"):
        lab.clients[0].run(["sleep", "600"], timeout_s=0.1)


def current_namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_thread_that_enters_a_node_comes_back(lab: Lab) -> None:
    home = current_namespace()
    with lab.clients[0].enter():
        inside = current_namespace()
    assert current_namespace() == home != inside


def test_vip_on_two_loopbacks_is_announced_by_neither(lab: Lab) -> None:
    client = lab.clients[0]
    assert client.run(["ping", "-c1", "-W1", str(lab.backends[0].address)]).returncode == 0
    assert client.run(["arping", "-c2", "-w2", "-I", "eth0", str(VIP)], check=False).returncode != 0


def test_mac_changed_and_announced_reaches_a_clients_cache(lab: Lab) -> None:
    client, backend = lab.clients[0], lab.backends[1]
    assert ping(client, backend)
    mac = backend.change_mac()
    shown = ["ip", "neighbour", "show", str(backend.address)]
    wait_until(lambda: mac in client.run(shown).stdout, deadline_s=5, what="the new MAC")
    assert ping(client, backend)


def test_cable_cut_and_mended_stops_and_restores_traffic(lab: Lab) -> None:
    client, backend = lab.clients[0], lab.backends[0]
    lab.cut(backend)
    assert not ping(client, backend)
    lab.mend(backend)
    wait_until(lambda: ping(client, backend), deadline_s=10, what="traffic after the cable was mended")


def ping(source: Node, target: Node) -> bool:
    return source.run(["ping", "-c1", "-W0.3", str(target.address)], check=False).returncode == 0


@pytest.mark.parametrize("flooding", [False, True])
def test_switch_shows_a_third_party_the_traffic_of_others_only_when_flooding(flooding: bool) -> None:
    with Lab(plan_lab(clients=2, flooding=flooding)) as built:
        first, second = built.clients
        assert ping(first, second)  # now a learning switch knows both
        counting = built.count_frames(built.director)
        assert ping(first, second)
        assert counting.read().of(Direction.RECEIVED, Kind.OTHER) == (Tally(2, 2 * 98) if flooding else Tally())


def test_director_frame_sent_by_xdp_tx_reaches_the_switch(lab: Lab) -> None:
    # A reflector: every frame goes back where it came from. Without a program on the peer none would arrive.
    program = bpf.load_xdp_verdict(bpf.XDP_TX)
    pinned = lab.plan.bpffs / "reflector"
    bpf.pin(program, pinned)
    os.close(program)
    director, client = lab.director, lab.clients[0]
    counting = lab.count_frames(director)
    director.run(["ip", "link", "set", "eth0", "xdpdrv", "pinned", pinned])
    try:
        client.run(["ping", "-c3", "-i0.1", "-W0.3", str(director.address)], check=False)
        traffic = counting.read()
    finally:
        director.run(["ip", "link", "set", "eth0", "xdp", "off"])
        pinned.unlink()
    assert traffic.total(Direction.SENT).frames == traffic.total(Direction.RECEIVED).frames > 0


def test_frame_counter_tells_probes_arp_and_foreign_traffic_apart(lab: Lab, counter: FrameCounter) -> None:
    client, director = lab.clients[0], lab.director
    client.ip("neighbour flush all")
    director.ip("neighbour flush all")
    client.run(["ping", "-c4", "-i0.1", "-s100", str(director.address)])
    traffic = counter.read()
    assert traffic.of(Direction.RECEIVED, Kind.PROBE) == Tally(4, 4 * 142)
    assert traffic.of(Direction.SENT, Kind.PROBE) == Tally(4, 4 * 142)
    assert traffic.of(Direction.RECEIVED, Kind.ARP).frames >= 1
    assert traffic.of(Direction.RECEIVED, Kind.OTHER) == Tally()


def test_frame_counter_of_an_upload_and_a_download_counts_every_byte(lab: Lab) -> None:
    """The director plays a server for once: it owns a VIP, so client data, bare ACKs and answers all pass its NIC."""
    vip, client, director = SUBNET[110], lab.clients[0], lab.director
    director.add_vip(vip)
    client.ip(f"route add {vip} via {director.address}")
    payload = 5_000_000
    counting = lab.count_frames(director)
    received = _exchange(director, client, str(vip), upload=payload, download=payload)
    traffic = counting.read()
    director.remove_vip(vip)
    assert received == (payload, payload)
    data, answers = traffic.of(Direction.RECEIVED, Kind.CLIENT_DATA), traffic.of(Direction.SENT, Kind.FROM_VIP)
    assert data.octets == payload + 66 * data.frames
    assert answers.octets > payload
    assert traffic.of(Direction.RECEIVED, Kind.CLIENT_CONTROL).frames == 2  # SYN, FIN
    assert traffic.acknowledgements.octets == 66 * traffic.acknowledgements.frames > 0
    assert traffic.returned == Tally()


def _exchange(server: Node, client: Node, address: str, *, upload: int, download: int) -> tuple[int, int]:
    """Send so many bytes each way over one connection; return how many the server and the client received."""
    with server.enter():
        listener = socket.create_server((address, 9000))
    taken: list[int] = []

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            taken.append(_drain(peer, upload))
            peer.sendall(bytes(download))

    thread = threading.Thread(target=serve)
    thread.start()
    with client.enter():
        connection = socket.create_connection((address, 9000))
    with connection:
        connection.sendall(bytes(upload))
        given = _drain(connection, download)
    thread.join(timeout=30)
    return taken[0], given


def _drain(source: socket.socket, expected: int) -> int:
    total = 0
    while total < expected and (chunk := source.recv(1 << 20)):
        total += len(chunk)
    return total


def test_session_up_then_down_in_another_process_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "RECORD", tmp_path / "lab.json")
    plan = plan_lab(backends=2)
    session.up(plan)
    with pytest.raises(UsageError, match="up already"):
        session.up(plan_lab())
    assert session.current() == plan
    with enter(plan.switch):
        stray = subprocess.Popen(["sleep", "600"])
    reaper = threading.Thread(target=stray.wait)
    reaper.start()
    session.down()
    reaper.join(timeout=10)
    assert stray.returncode == -signal.SIGINT
    assert leftovers(plan.prefix, plan.directory) == []
    assert not path_of(plan.switch).exists()
    with pytest.raises(UsageError, match="no lab is up"):
        session.down()


def test_session_node_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(UsageError, match="director, backend1, client1, switch"):
        session.find_node(plan_lab(), "pacs1")


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

"""The lab itself, without a balancer: does it build, carry traffic, and leave nothing behind?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.errors import LabError, UsageError
from lbctl.lab import bpf
from lbctl.lab.capture import Direction, Kind, Tally
from lbctl.lab.namespaces import run_ip
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from lbctl.lab.wiring import leftovers


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2)) as built:
        yield built


def test_lab_of_three_and_three_is_up_within_two_seconds_and_leaves_nothing() -> None:
    plan = plan_lab(backends=3, clients=3)
    began = time.monotonic()
    with Lab(plan):
        assert time.monotonic() - began < 2
        assert len(leftovers(plan.prefix, plan.directory)) == 8 + 1 + 1
    assert leftovers(plan.prefix, plan.directory) == ()


def test_lab_with_another_mount_in_its_directory_leaves_nothing() -> None:
    with Lab(plan_lab()) as lab:
        disk = lab.directory / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
        assert str(disk) in leftovers(lab.plan.prefix, lab.directory)
    assert leftovers(lab.plan.prefix, lab.directory) == ()


def test_lab_when_its_body_fails_leaves_nothing() -> None:
    plan = plan_lab()
    with pytest.raises(ZeroDivisionError), Lab(plan) as built:
        process = built.clients[0].popen(["sleep", "600"])
        raise ZeroDivisionError
    assert leftovers(plan.prefix, plan.directory) == ()
    assert process.returncode == -signal.SIGTERM


def test_lab_when_the_build_fails_half_way_leaves_nothing() -> None:
    plan = plan_lab()
    run_ip([f"netns add {plan.nodes[-1].namespace}"])  # in the way
    with pytest.raises(LabError, match=plan.nodes[-1].namespace), Lab(plan):
        pass
    assert leftovers(plan.prefix, plan.directory) == ()


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
    assert leftovers(prefix, Path(directory)) == ()


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

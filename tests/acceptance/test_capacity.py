"""What a backend says of its capacity decides how many new connections it gets, and moves none that is live."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from lbctl.lab.agent import DEFAULT_PORT, Agent
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance import peers
from tests.acceptance.peers import Visit
from tests.acceptance.stage import (
    backends_by_name,
    backends_of,
    flows_of,
    new_connections,
    pinned,
    slots_by_backend,
    status_of,
    wait_state,
)

PORT = 9001
POOL = "servers"
IN_SLOTS_WITHIN_S = 2.0
SEVERAL_REPORTS_S = 1.6
LIVE = 200
NEW = 2000
ALPHA = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Three servers that tell their names, each with a load agent."""

    lab: Lab
    daemon: Daemon
    agents: dict[str, Agent]

    @property
    def client(self) -> Node:
        """Where the connections come from."""
        return self.lab.clients[0]

    def visit(self) -> Visit:
        """A connection through the VIP."""
        return Visit(self.client, VIP, PORT)

    def say_all(self, answer: str) -> None:
        """Let every agent say so."""
        for agent in self.agents.values():
            agent.say(answer)

    def wait_shares(self, weights: Mapping[str, int]) -> float:
        """Wait until the kernel's slots are shared out by these weights; the seconds that took."""
        began = time.monotonic()
        wait_until(
            lambda: are_shared(slots_by_backend(self.daemon, self.lab), weights),
            deadline_s=5 * IN_SLOTS_WITHIN_S,
            what=lambda: f"shares of {weights}: {slots_by_backend(self.daemon, self.lab)}\n{self.daemon.log_tail()}",
        )
        return time.monotonic() - began


def are_shared(slots: Counter[str], weights: Mapping[str, int]) -> bool:
    """Whether each has its share of the slots, to the nearest slot above or below."""
    whole = sum(weights.values())
    return all(abs(slots[name] - slots.total() * weight / whole) < 1 for name, weight in weights.items())


def p_value(counts: Counter[str], weights: Mapping[str, int]) -> float:
    """Pearson's chi-square test of three counts: for two degrees of freedom the tail is exp(-x/2)."""
    assert len(weights) == 3
    whole = sum(weights.values())
    expected = {name: counts.total() * weight / whole for name, weight in weights.items()}
    return math.exp(-sum((counts[name] - value) ** 2 / value for name, value in expected.items()) / 2)


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    with Lab(plan_lab(backends=3, clients=1)) as lab:
        for node in lab.backends:
            peers.start(node, "names", port=PORT)
        agents = {node.name: Agent(node, file=lab.directory / f"{node.name}.agent") for node in lab.backends}
        daemon = Daemon(lab, config=configuration(lab))
        daemon.start()
        yield Stage(lab=lab, daemon=daemon, agents=agents)


def configuration(lab: Lab) -> str:
    """One service; the agents are asked twice a second."""
    agent = f"{{port: {DEFAULT_PORT}, interval: 500ms}}"
    check = "{type: tcp, interval: 1s, timeout: 500ms}"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  names: {{vip: {VIP}, ports: [{PORT}], pool: {POOL}}}
pools:
  {POOL}: {{kind: web, check: {check}, agent: {agent}, backends: {backends_of(lab)}}}
"""


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The stage, with every agent at 100 % and that in effect."""
    running.say_all("up 100%")
    running.wait_shares(dict.fromkeys(running.agents, 100))
    return running


def test_agent_change_to_a_quarter_is_in_the_slots(stage: Stage) -> None:
    took_s: dict[str, list[float]] = {"25%": [], "100%": []}
    for name in stage.agents:
        for answer, weight in (("25%", 25), ("100%", 100)):
            stage.agents[name].say(answer)
            took_s[answer].append(stage.wait_shares({**dict.fromkeys(stage.agents, 100), name: weight}))
    for answer, seconds in took_s.items():
        shown = ", ".join(f"{each:.2f}" for each in seconds)
        print(f"{answer} was in the slots after {shown} s (to be within {IN_SLOTS_WITHIN_S:g} s)")


def test_new_connections_follow_new_shares_and_live_ones_stay(stage: Stage) -> None:
    slow = "backend2"
    weights = {**dict.fromkeys(stage.agents, 100), slow: 25}
    with ExitStack() as open_visits:
        live = [open_visits.enter_context(closing(stage.visit())) for _ in range(LIVE)]
        served_by = [visit.ask() for visit in live]
        flows = flows_of(stage.daemon)
        stage.agents[slow].say("25%")
        stage.wait_shares(weights)
        counts = count_servers(stage, connections=NEW)
        stays = [visit.ask() for visit in live]
        flows_now = flows_of(stage.daemon)

    assert stays == served_by
    assert set(served_by) == set(stage.agents)
    assert {visit.end: flows_now.get(visit.end) for visit in live} == {visit.end: flows[visit.end] for visit in live}
    assert counts.total() == NEW
    assert p_value(counts, weights) >= ALPHA
    print(
        f"{NEW} new connections by weight 100:25:100: {dict(sorted(counts.items()))}, p = {p_value(counts, weights):.3f}; "
        f"{LIVE} live ones ({served_by.count(slow)} of them on {slow}) did not move"
    )


def test_agent_that_falls_silent_is_told_and_ignored(stage: Stage) -> None:
    name = "backend3"
    stage.agents[name].say("25%")
    stage.wait_shares({**dict.fromkeys(stage.agents, 100), name: 25})
    node = stage.lab.node(name)
    node.end(stage.agents[name].process)
    took_s = stage.wait_shares(dict.fromkeys(stage.agents, 100))
    row = backends_by_name(stage.daemon)[name]
    assert (row.state, row.agent, row.effective_weight) == ("up", "agent silent", 100)
    stage.agents[name] = Agent(node, file=stage.agents[name].file, answer="25%")
    stage.wait_shares({**dict.fromkeys(stage.agents, 100), name: 25})
    assert backends_by_name(stage.daemon)[name].agent == "25 %"
    print(f"a silent agent's 25 % was forgotten after {took_s:.2f} s, and told as 'agent silent'")


def test_agent_word_drain_keeps_new_connections_away_until_up(stage: Stage) -> None:
    name = "backend1"
    with ExitStack() as open_visits:
        live = [open_visits.enter_context(closing(stage.visit())) for _ in range(30)]
        served_by = [visit.ask() for visit in live]
        stage.agents[name].say("drain")
        row = wait_state(stage.daemon, name, "draining", deadline_s=5 * IN_SLOTS_WITHIN_S)
        assert row.reason == "its agent says drain"
        before = new_connections(stage.daemon)[name]
        counts = count_servers(stage, connections=100)
        assert (counts[name], new_connections(stage.daemon)[name]) == (0, before)
        assert [visit.ask() for visit in live] == served_by
        assert name in served_by
    stage.agents[name].say("up")
    took_s = stage.wait_shares(dict.fromkeys(stage.agents, 100))
    assert backends_by_name(stage.daemon)[name].state == "up"
    print(f"'drain' kept all of 100 new connections away; 'up' was wholly in effect after {took_s:.2f} s")


def test_daemon_restart_leaves_slots_as_an_agent_had_them(stage: Stage) -> None:
    stage.agents["backend2"].say("25%")
    stage.wait_shares({**dict.fromkeys(stage.agents, 100), "backend2": 25})
    slots, generation = pinned(stage.daemon, "lb_slots").copy(), status_of(stage.daemon).daemon.generation
    stage.daemon.kill()
    stage.daemon.start()
    wait_until(
        lambda: status_of(stage.daemon).daemon.uptime_s > SEVERAL_REPORTS_S, deadline_s=20, what="several reports"
    )
    assert status_of(stage.daemon).daemon.generation == generation  # not a single write
    assert (pinned(stage.daemon, "lb_slots") == slots).all()
    assert backends_by_name(stage.daemon)["backend2"].agent == "25 %"


def count_servers(stage: Stage, *, connections: int) -> Counter[str]:
    """Who answers so many new connections."""
    counts: Counter[str] = Counter()
    for _ in range(connections):
        with closing(stage.visit()) as visit:
            counts[visit.ask()] += 1
    return counts

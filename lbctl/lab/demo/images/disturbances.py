"""Acts in which something happens to an archive: its load rises, it crashes, it is drained. And the books, at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from lbctl.lab import dicom, http
from lbctl.lab.archives import HTTP_PORT
from lbctl.lab.demo.images.stage import CHECK_INTERVAL_S, CHECK_TIMEOUT_S, FALL, PEER, POOL, Stage
from lbctl.lab.demo.images.transfers import note_stored, progress_of, retrieve_whole, start_stores
from lbctl.lab.demo.ledger import Phase
from lbctl.lab.demo.scene import undone_by
from lbctl.lab.demo.words import by_name
from lbctl.lab.node import Node
from lbctl.lab.studies import SENTINEL_ID, SENTINEL_NAME
from lbctl.lab.topology import VIP
from lbctl.lab.wait import wait_until

_REQUESTS_EACH = 400
_WEIGHT_WITHIN_S = 10.0
_CHI_SQUARE_LIMIT = 27.6
"""Chi-square with 2 degrees of freedom: chance alone exceeds it once in a million runs."""
_DETECTION_S = FALL * CHECK_INTERVAL_S + CHECK_TIMEOUT_S
"""How long the checks may take to find an archive down."""
_DROPPED = (
    *("no_service", "no_backend", "unresolved", "loop_own", "loop_backend"),
    *("lost_fragment", "malformed", "icmp_unknown"),
)
"""The ways to leave the program that must not occur here: a packet was dropped."""


def shift_weight(stage: Stage, phase: Phase) -> None:
    """An agent reports 25 %: its archive gets a ninth of the new connections instead of a third."""
    loaded = next(iter(stage.archives))
    weights = {name: 25 if name == loaded else 100 for name in stage.archives}
    phase.now(f"the agent of {loaded} says 25%; its weight follows in bounded steps")
    with _agent_says(stage, loaded, "25%"):
        took_s = _wait_weight(stage, loaded, 25)
        phase.expect(True, f"{loaded}'s weight follows its agent", expected="25", seen=f"25 after {took_s:.1f} s")
        answered = _ask_often(stage, phase)
    expected, seen = weights[loaded] / sum(weights.values()), answered[loaded] / max(1, answered.total())
    deviation = _chi_square(answered, weights)
    phase.expect(
        deviation <= _CHI_SQUARE_LIMIT,
        "the new connections follow the weights",
        expected=f"{loaded} {expected:.1%}, the others {(1 - expected) / 2:.1%} each (χ² up to {_CHI_SQUARE_LIMIT})",
        seen=f"{', '.join(f'{name} {answered[name] / max(1, answered.total()):.1%}' for name in weights)} "
        f"(χ² = {deviation:.1f})",
    )
    phase.result = f"{loaded}: {seen:.1%} of {answered.total():,} new connections; due {expected:.1%}"


def kill_in_mid_store(stage: Stage, phase: Phase) -> None:
    """An archive crashes while four associations store: the clients' retries land on the survivors."""
    study = stage.studies[1]
    stores = start_stores(stage, study, stage.clients[:2] * 2)
    phase.now(f"{len(stores)} associations store", progress_of(stores))
    wait_until(lambda: all(store.stored >= 5 for store in stores), deadline_s=30, what="the stores to get going")
    placed = stage.placement(stores)
    victim = Counter(placed.values()).most_common(1)[0][0]
    with _killed(stage, victim):
        killed_s = time.monotonic()
        phase.now(f"{victim} was killed; the others store on", progress_of(stores))
        cut = _expect_only_its_own_cut(phase, placed, victim, [store for store in stores if not store.wait().succeeded])
        note_stored(phase, stores)
        landings = _retry(stage, phase, cut, since_s=killed_s)
        _expect_survivors(phase, landings, victim)
        stage.daemon.wait_states(POOL, {victim: "down"})
        retrieve_whole(stage, phase, stage.clients[2], study)
        phase.now(f"{victim} starts again, and is let in by its checks")
    slowest_s = max((landing.after_s for landing in landings), default=0.0)
    phase.result = f"{len(cut)} of {len(stores)} stores cut; retried on survivors within {slowest_s:.1f} s"


def drain_in_mid_store(stage: Stage, phase: Phase) -> None:
    """An archive is drained in the middle of a long store: the store completes, new associations go elsewhere."""
    study, sender = stage.studies[2], stage.clients[0]
    store = stage.store(sender, study.files)
    phase.now(f"{sender.name} stores in one association", progress_of([store]))
    wait_until(lambda: store.stored >= store.count // 4, deadline_s=60, what="a quarter of the long store")
    drained = stage.placement([store])[store]
    with _drained(stage, drained):
        at_drain = store.stored
        phase.now(f"{drained} is drained; new associations, and the store goes on", progress_of([store]))
        phase.expect(
            0 < at_drain < store.count,
            f"{drained} is drained in mid-store",
            expected=f"before image {store.count}",
            seen=f"at image {at_drain}",
        )
        _expect_elsewhere(stage, phase, drained)
        result = store.wait()
        note_stored(phase, [store])
        ended = "success" if result.succeeded else result.output[-300:].strip()
        phase.expect_equal("the store ends well all the same", expected="success", seen=ended)
        phase.expect_equal("with every image stored", expected=store.count, seen=store.stored)
    phase.result = f"drained at image {at_drain}; all {store.count} stored, new ones elsewhere"


def close_the_books(stage: Stage, phase: Phase) -> None:
    """Whatever left the program by another way than forwarding, and whatever lbctl wrote down that it should not."""
    phase.now("reading lbctl's counters and its log")
    left = {name: count["packets"] for name, count in stage.daemon.status()["reasons"].items()}
    dropped = {name: left.pop(name) for name in _DROPPED if name in left}
    phase.expect_equal("the program dropped no packet", expected="none", seen=by_name(dropped) or "none")
    states = Counter(row["state"] for row in stage.backends().values())
    phase.expect_equal("every archive is in service again", expected=f"up {len(stage.archives)}", seen=by_name(states))
    written = stage.daemon.log.read_text(errors="replace")
    found = sum(written.count(sentinel) for sentinel in (SENTINEL_NAME, SENTINEL_ID))
    phase.expect_equal("no patient's name or number is in lbctl's log", expected=0, seen=found)
    phase.result = f"{sum(left.values()):,} packets forwarded or answered, {sum(dropped.values())} dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landing:
    """Where and when a client's retry was taken."""

    client: str
    archive: str
    after_s: float


def _ask_often(stage: Stage, phase: Phase) -> Counter[str]:
    count = _REQUESTS_EACH * len(stage.clients)
    before = stage.connections().total()
    phase.now(
        f"{count} HTTP requests, a connection each",
        lambda: f"{sum(row['new_connections'] for row in stage.ledger.backends) - before} of {count}",
    )
    answered = _who_answers(stage.clients, each=_REQUESTS_EACH)
    phase.expect_equal("every request is answered", expected=count, seen=answered.total())
    return answered


def _expect_only_its_own_cut(
    phase: Phase, placed: dict[dicom.Store, str], victim: str, cut: list[dicom.Store]
) -> list[dicom.Store]:
    own = [store for store, archive in placed.items() if archive == victim]
    strangers = len(set(cut) - set(own))
    phase.expect(
        set(cut) == set(own),
        f"the associations on {victim} break, and no other",
        expected=f"{len(own)} of {len(placed)}",
        seen=f"{len(cut)} of {len(placed)}" + (f", {strangers} of them elsewhere" if strangers else ""),
    )
    return cut


def _retry(stage: Stage, phase: Phase, cut: Sequence[dicom.Store], *, since_s: float) -> list[_Landing]:
    """As modalities do: send the whole list again, and again, until an archive takes it."""
    phase.now(f"the {len(cut)} clients that were cut off try again")

    def until_taken(failed: dicom.Store) -> _Landing:
        landing = wait_until(
            lambda: _attempt(stage, phase, failed, since_s),
            deadline_s=30,
            what=f"a retry of {failed.node.name} to succeed",
            pause_s=0.2,
        )
        assert landing is not None
        return landing

    with ThreadPoolExecutor(max_workers=max(1, len(cut))) as pool:
        return list(pool.map(until_taken, cut))


def _attempt(stage: Stage, phase: Phase, failed: dicom.Store, since_s: float) -> _Landing | None:
    again = stage.store(failed.node, failed.files)
    wait_until(lambda: again.stored or not again.is_running, deadline_s=30, what="the first image, or a refusal")
    after_s, archive = time.monotonic() - since_s, stage.placement([again]).get(again, "nowhere")
    succeeded = again.wait().succeeded
    note_stored(phase, [again])
    return _Landing(client=failed.node.name, archive=archive, after_s=after_s) if succeeded else None


def _expect_survivors(phase: Phase, landings: Sequence[_Landing], victim: str) -> None:
    told = ", ".join(f"{landing.client} on {landing.archive} after {landing.after_s:.1f} s" for landing in landings)
    within_s = 5 * _DETECTION_S
    phase.expect(
        all(landing.archive not in (victim, "nowhere") and landing.after_s <= within_s for landing in landings),
        "each retry lands on a survivor",
        expected=f"not {victim}, within {within_s:.0f} s (the checks need up to {_DETECTION_S:.1f} s)",
        seen=told or "no retry",
    )


def _expect_elsewhere(stage: Stage, phase: Phase, drained: str) -> None:
    before = stage.connections()[drained]
    callers = stage.clients[1:] * 3
    succeeded = sum(dicom.echo(node, PEER).succeeded for node in callers)
    phase.expect_equal("new associations succeed", expected=len(callers), seen=succeeded)
    answered = _who_answers(stage.clients[1:], each=20).total()
    phase.expect_equal("new HTTP connections, too", expected=20 * len(stage.clients[1:]), seen=answered)
    there = stage.connections()[drained] - before
    phase.expect_equal(f"and none of them goes to {drained}", expected=0, seen=there)


@contextmanager
def _agent_says(stage: Stage, name: str, answer: str) -> Iterator[None]:
    def undo() -> None:
        stage.agents[name].say("100%")
        _wait_weight(stage, name, 100)

    stage.agents[name].say(answer)
    with undone_by(undo):
        yield


@contextmanager
def _killed(stage: Stage, name: str) -> Iterator[None]:
    def undo() -> None:
        stage.archives[name].restart()
        stage.daemon.wait_states(POOL, {name: "up"})

    stage.archives[name].kill()
    with undone_by(undo):
        yield


@contextmanager
def _drained(stage: Stage, name: str) -> Iterator[None]:
    def undo() -> None:
        stage.daemon.ctl("enable", f"{POOL}/{name}")
        stage.daemon.wait_states(POOL, {name: "up"})

    stage.daemon.ctl("drain", f"{POOL}/{name}")
    with undone_by(undo):
        yield


def _who_answers(clients: Sequence[Node], *, each: int) -> Counter[str]:
    """HTTP requests through the virtual address, a connection each; how many each archive answered, by its own name."""

    def ask(node: Node) -> Counter[str]:
        replies = (http.get(node, VIP, "/system", port=HTTP_PORT) for _ in range(each))
        return Counter(json.loads(reply.body)["Name"] for reply in replies if reply.status == 200)

    with ThreadPoolExecutor(max_workers=len(clients)) as pool:
        return sum(pool.map(ask, clients), Counter[str]())


def _wait_weight(stage: Stage, name: str, weight: int) -> float:
    """Wait until the slots follow that weight; return the seconds that took."""
    began = time.monotonic()
    wait_until(
        lambda: round(float(stage.backends()[name]["effective_weight"])) == weight,
        deadline_s=_WEIGHT_WITHIN_S,
        what=lambda: f"{name} to have weight {weight}",
        pause_s=0.05,
    )
    return time.monotonic() - began


def _chi_square(counts: Counter[str], weights: dict[str, int]) -> float:
    total, whole = counts.total(), sum(weights.values())
    expected = {name: total * weight / whole for name, weight in weights.items()}
    return sum((counts[name] - value) ** 2 / value for name, value in expected.items()) if total else float("inf")

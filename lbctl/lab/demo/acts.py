"""The acts of the demonstration, in the order they are shown. Each takes the stage and the phase it reports to."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lbctl.lab import dicom, http
from lbctl.lab.archives import HTTP_PORT
from lbctl.lab.demo.ledger import Phase
from lbctl.lab.demo.stage import CHECK_INTERVAL_S, CHECK_TIMEOUT_S, FALL, PEER, POOL, Stage
from lbctl.lab.node import Node
from lbctl.lab.studies import Study, compare
from lbctl.lab.topology import VIP
from lbctl.lab.wait import wait_until

_RETRIEVED_AT_LEAST = 100_000_000
_REQUESTS_PER_CLIENT = 400
_CHI_SQUARE_LIMIT = 13.8
"""Chi-square with 2 degrees of freedom: a fair choice stays below it 999 times in 1,000."""


def verify(stage: Stage, phase: Phase) -> None:
    """Four C-ECHOs from each client."""
    phase.step = "12 C-ECHOs from 3 clients"
    before = stage.connections()
    with ThreadPoolExecutor(max_workers=len(stage.clients)) as pool:
        results = list(pool.map(lambda node: dicom.echo(node, PEER), stage.clients * 4))
    succeeded = sum(result.succeeded for result in results)
    phase.expect(succeeded == len(results), "every C-ECHO succeeds", f"{succeeded} of {len(results)}")
    chosen = [name for name, count in stage.connections().items() if count > before[name]]
    phase.expect(len(chosen) > 1, "more than one archive was chosen", ", ".join(chosen))


def store_in_parallel(stage: Stage, phase: Phase) -> None:
    """One CT study from three clients over six associations at the same time."""
    study = stage.studies[0]
    phase.step = f"C-STORE of {len(study.files)} CT images over 6 associations"
    known = stage.count_instances()
    stores = _start_stores(stage, study, stage.clients * 2)
    results = [store.wait() for store in stores]
    _note_stored(phase, stores)
    phase.expect(
        all(result.succeeded for result in results),
        "every association ends well",
        f"{sum(result.succeeded for result in results)} of {len(results)}",
    )
    arrived = stage.count_instances() - known
    phase.expect(arrived == len(study.files), "every image is in the archive", f"{arrived} of {len(study.files)}")


def retrieve_by_c_get(stage: Stage, phase: Phase) -> None:
    """The study comes back by C-GET to a client, past the director."""
    phase.step = "C-GET of the study"
    _retrieve_whole(stage, phase, stage.clients[2], stage.studies[0])
    _expect_volume(phase)


def retrieve_by_dicomweb(stage: Stage, phase: Phase) -> None:
    """The study comes back over HTTP to another client, past the director."""
    study = stage.studies[0]
    phase.step = "WADO-RS retrieval of the study"
    instances = http.retrieve_study(stage.clients[1], VIP, study.study_uid, port=HTTP_PORT)
    phase.retrieved_bytes = sum(map(len, instances))
    result = compare(study, instances)
    phase.expect(result.is_complete, "every image arrives undamaged", f"{result.received} of {len(study.files)}")
    _expect_volume(phase)


def shift_weight(stage: Stage, phase: Phase) -> None:
    """An agent reports 25 %: its archive gets a ninth of the new connections instead of a third."""
    busy = next(iter(stage.archives))
    phase.step = f"the agent of {busy} says 25%"
    began = time.monotonic()
    stage.agents[busy].say("25%")
    _wait_weight(stage, busy, 25)
    phase.expect(True, "the weight follows the agent", f"after {time.monotonic() - began:.1f} s")
    phase.step = f"{_REQUESTS_PER_CLIENT * len(stage.clients)} new connections"
    answered = _who_answers(stage, stage.clients, each=_REQUESTS_PER_CLIENT)
    weights = {name: 25 if name == busy else 100 for name in stage.archives}
    deviation = _chi_square(answered, weights)
    share = answered[busy] / max(1, answered.total())
    phase.expect(answered.total() == _REQUESTS_PER_CLIENT * len(stage.clients), "every request is answered")
    phase.expect(
        deviation <= _CHI_SQUARE_LIMIT,
        f"{busy} gets its share (11.1 %)",
        f"{share:.1%} of {answered.total()}, χ² = {deviation:.1f}",
    )
    stage.agents[busy].say("100%")
    _wait_weight(stage, busy, 100)


def kill_in_traffic(stage: Stage, phase: Phase) -> None:
    """An archive crashes while four associations store: the clients' retries land on the survivors."""
    study = stage.studies[1]
    stores = _start_stores(stage, study, stage.clients[:2] * 2)
    phase.step = "4 associations store"
    wait_until(lambda: all(store.stored >= 5 for store in stores), deadline_s=30, what="the stores to get going")
    (victim, held), *_ = stage.associations(*stage.clients).most_common(1)
    phase.step = f"{victim} is killed; the clients try again"
    killed = time.monotonic()
    stage.archives[victim].kill()
    cut = [store for store in stores if not store.wait().succeeded]
    _note_stored(phase, stores)
    phase.expect(0 < len(cut) <= held, "its associations break, and no other", f"{len(cut)} of its {held}")
    landed = [_store_again(stage, phase, store) for store in cut]
    limit_s = FALL * CHECK_INTERVAL_S + CHECK_TIMEOUT_S
    waited_s = max(landed, default=killed) - killed
    phase.expect(waited_s <= 5 * limit_s, "the retries land on a survivor", f"after {waited_s:.1f} s")
    stage.daemon.wait_states(POOL, {victim: "down"})
    phase.step = "another client retrieves the study"
    _retrieve_whole(stage, phase, stage.clients[2], study)
    phase.step = f"{victim} comes back"
    stage.archives[victim].restart()
    stage.daemon.wait_states(POOL, {victim: "up"})


def drain_during_store(stage: Stage, phase: Phase) -> None:
    """An archive is drained in the middle of a long store: the store completes, new associations go elsewhere."""
    study, sender = stage.studies[2], stage.clients[0]
    phase.step = f"one association stores {len(study.files)} images"
    store = stage.store(sender, study.files)
    wait_until(lambda: store.stored >= len(study.files) // 4, deadline_s=30, what="a quarter of the long store")
    drained = stage.serving(sender)
    if drained is None:
        phase.expect(False, "an association is open when its archive is drained")
        return
    phase.step = f"{drained} is drained"
    stage.daemon.ctl("drain", f"{POOL}/{drained}")
    at_drain = store.stored
    before = stage.connections()[drained]
    succeeded = sum(dicom.echo(node, PEER).succeeded for node in stage.clients[1:] * 3)
    answered = _who_answers(stage, stage.clients[1:], each=20)
    after = stage.connections()[drained]
    phase.expect(succeeded == 6, "new associations succeed", f"{succeeded} of 6")
    phase.expect(after == before and not answered[drained], "and all go elsewhere", f"{after - before} went there")
    result = store.wait()
    _note_stored(phase, [store])
    phase.expect(at_drain < store.count, "the store was under way", f"drained at image {at_drain}")
    phase.expect(result.succeeded, "and completes", f"{store.stored} of {store.count}")
    stage.daemon.ctl("enable", f"{POOL}/{drained}")
    stage.daemon.wait_states(POOL, {drained: "up"})


Act = Callable[[Stage, Phase], None]

ACTS: tuple[tuple[str, Act], ...] = (
    ("C-ECHO", verify),
    ("C-STORE, in parallel", store_in_parallel),
    ("C-GET", retrieve_by_c_get),
    ("DICOMweb", retrieve_by_dicomweb),
    ("an agent says 25 %", shift_weight),
    ("an archive is killed", kill_in_traffic),
    ("an archive is drained", drain_during_store),
)


def _start_stores(stage: Stage, study: Study, senders: Sequence[Node]) -> list[dicom.Store]:
    return [stage.store(node, part) for node, part in zip(senders, study.parts(len(senders)), strict=True)]


def _store_again(stage: Stage, phase: Phase, failed: dicom.Store) -> float:
    """Send a broken association's images again until they are taken; return when that was."""

    def attempt() -> float | None:
        retry = stage.store(failed.node, failed.files)
        succeeded = retry.wait().succeeded
        _note_stored(phase, [retry])
        return time.monotonic() if succeeded else None

    landed = wait_until(attempt, deadline_s=30, what=f"a retry of {failed.node.name} to succeed")
    assert landed is not None
    return landed


def _note_stored(phase: Phase, stores: Sequence[dicom.Store]) -> None:
    phase.stored_bytes += sum(file.stat().st_size for store in stores for file in store.files[: store.stored])


def _retrieve_whole(stage: Stage, phase: Phase, node: Node, study: Study) -> None:
    into = stage.directory / f"retrieved-{time.monotonic_ns()}"
    retrieval = dicom.retrieve(node, PEER, study.study_uid, into=into)
    phase.retrieved_bytes = retrieval.octets
    result = compare(study, retrieval.files)
    phase.expect(
        retrieval.association.succeeded and result.is_complete,
        f"{node.name} gets every image undamaged",
        f"{result.received} of {len(study.files)}",
    )


def _expect_volume(phase: Phase) -> None:
    retrieved, wanted = phase.retrieved_bytes / 1e6, _RETRIEVED_AT_LEAST / 1e6
    phase.expect(retrieved >= wanted, f"at least {wanted:.0f} MB come back", f"{retrieved:.1f} MB")


def _who_answers(stage: Stage, clients: Sequence[Node], *, each: int) -> Counter[str]:
    """HTTP requests through the virtual address, a connection each; how many each archive answered, by its own name."""

    def ask(node: Node) -> Counter[str]:
        replies = (http.get(node, VIP, "/system", port=HTTP_PORT) for _ in range(each))
        return Counter(json.loads(reply.body)["Name"] for reply in replies if reply.status == 200)

    with ThreadPoolExecutor(max_workers=len(clients)) as pool:
        return sum(pool.map(ask, clients), Counter[str]())


def _wait_weight(stage: Stage, backend: str, weight: int) -> None:
    def effective() -> int:
        return round(float(stage.daemon.backends(POOL)[backend]["effective_weight"]))

    wait_until(lambda: effective() == weight, deadline_s=15, what=f"{backend} to have weight {weight}")


def _chi_square(counts: Counter[str], weights: dict[str, int]) -> float:
    total, whole = counts.total(), sum(weights.values())
    expected = {name: total * weight / whole for name, weight in weights.items()}
    return sum((counts[name] - value) ** 2 / value for name, value in expected.items()) if total else float("inf")

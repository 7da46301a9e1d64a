"""Acts that move images: verify, store, and two ways to retrieve."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lbctl.lab import dicom, http
from lbctl.lab.archives import HTTP_PORT
from lbctl.lab.demo.images.stage import PEER, Stage
from lbctl.lab.demo.ledger import Phase
from lbctl.lab.demo.words import amount, by_name
from lbctl.lab.node import Node
from lbctl.lab.studies import Completeness, Study, compare
from lbctl.lab.topology import VIP

_ECHOS_EACH = 4
_RETRIEVED_AT_LEAST = 100_000_000


def verify(stage: Stage, phase: Phase) -> None:
    """C-ECHOs from every client at the same time, an association each."""
    before = stage.connections()
    callers = stage.clients * _ECHOS_EACH
    phase.now(f"{len(callers)} C-ECHOs from {len(stage.clients)} clients")
    with ThreadPoolExecutor(max_workers=len(stage.clients)) as pool:
        succeeded = sum(result.succeeded for result in pool.map(lambda node: dicom.echo(node, PEER), callers))
    phase.expect_equal("every C-ECHO succeeds", expected=len(callers), seen=succeeded)
    chosen = {name: count - before[name] for name, count in stage.connections().items()}
    phase.expect_equal("every association is counted, once", expected=len(callers), seen=sum(chosen.values()))
    used = sum(count > 0 for count in chosen.values())
    phase.expect(used > 1, "more than one archive is chosen", expected="2 or 3", seen=used)
    phase.result = f"{succeeded} of {len(callers)}: {by_name(chosen)}"


def store_in_parallel(stage: Stage, phase: Phase) -> None:
    """One CT study from three clients over six associations at the same time."""
    study, known = stage.studies[0], stage.count_instances()
    stores = start_stores(stage, study, stage.clients * 2)
    phase.now(f"{len(stage.clients)} clients store over {len(stores)} associations", progress_of(stores))
    succeeded = sum(store.wait().succeeded for store in stores)
    note_stored(phase, stores)
    phase.expect_equal("every association ends well", expected=len(stores), seen=succeeded)
    arrived = stage.count_instances() - known
    phase.expect_equal("every image is in the archives' index", expected=len(study.files), seen=arrived)
    phase.result = f"{arrived} images, {amount(phase.stored_bytes)}, over {len(stores)} associations"


def retrieve_by_c_get(stage: Stage, phase: Phase) -> None:
    """The study comes back by C-GET, on the association that asked for it."""
    seconds = retrieve_whole(stage, phase, stage.clients[2], stage.studies[0])
    _expect_volume(phase, seconds)


def retrieve_by_dicomweb(stage: Stage, phase: Phase) -> None:
    """The study comes back over HTTP, to another client."""
    study, client = stage.studies[0], stage.clients[1]
    phase.now(f"{client.name} asks for the study in one HTTP request")
    began = time.monotonic()
    instances = http.retrieve_study(client, VIP, study.study_uid, port=HTTP_PORT)
    seconds = time.monotonic() - began
    phase.retrieved_bytes = sum(map(len, instances))
    _expect_complete(phase, study, instances, by=client)
    _expect_volume(phase, seconds)


def retrieve_whole(stage: Stage, phase: Phase, client: Node, study: Study) -> float:
    """C-GET of a whole study through the virtual address, compared pixel by pixel. Return the seconds it took."""
    into = stage.directory / f"retrieved-{time.monotonic_ns()}"
    phase.now(f"{client.name} retrieves the study by C-GET", lambda: f"{_files_in(into)} of {len(study.files)} images")
    retrieval = dicom.retrieve(client, PEER, study.study_uid, into=into)
    phase.retrieved_bytes = retrieval.octets
    ended = "success" if retrieval.association.succeeded else retrieval.association.output[-300:].strip()
    phase.expect_equal("the C-GET ends well", expected="success", seen=ended)
    _expect_complete(phase, study, retrieval.files, by=client)
    shutil.rmtree(into)
    return retrieval.association.elapsed_s


def start_stores(stage: Stage, study: Study, senders: Sequence[Node]) -> list[dicom.Store]:
    """Deal a study out to senders (a node may be several), each with an association of its own."""
    return [stage.store(node, part) for node, part in zip(senders, study.parts(len(senders)), strict=True)]


def note_stored(phase: Phase, stores: Sequence[dicom.Store]) -> None:
    """Count the bytes of the images that an archive has acknowledged."""
    phase.stored_bytes += sum(file.stat().st_size for store in stores for file in store.files[: store.stored])


def progress_of(stores: Sequence[dicom.Store]) -> Callable[[], str]:
    """How far these stores are together."""
    count = sum(store.count for store in stores)
    return lambda: f"{sum(store.stored for store in stores)} of {count} images"


def _expect_complete(phase: Phase, study: Study, received: Sequence[Path | bytes], *, by: Node) -> None:
    phase.now(f"comparing every pixel that {by.name} got")
    result = compare(study, received)
    phase.expect(
        result.is_complete,
        f"{by.name} gets every image of the study, undamaged",
        expected=f"{len(study.files)} images",
        seen=f"{result.received} images" if result.is_complete else _shortcomings(result),
    )


def _expect_volume(phase: Phase, seconds: float) -> None:
    retrieved = phase.retrieved_bytes
    wanted = f"{amount(_RETRIEVED_AT_LEAST)} or more"
    phase.expect(retrieved >= _RETRIEVED_AT_LEAST, "enough comes back to tell", expected=wanted, seen=amount(retrieved))
    acknowledged = phase.so_far().acknowledgements.octets
    phase.expect(
        0 < acknowledged < retrieved / 100,
        "the director carries the acknowledgements and little else",
        expected="less than 1 % of what comes back",
        seen=amount(acknowledged) + (f" ({acknowledged / retrieved:.2%})" if retrieved else ""),
    )
    phase.result = f"{amount(retrieved)} in {seconds:.1f} s; director saw {amount(acknowledged)} of ACKs"


def _shortcomings(result: Completeness) -> str:
    lacks = f"{len(result.missing)} missing, {len(result.damaged)} damaged, {len(result.foreign)} foreign"
    return f"{result.received} images: {lacks}"


def _files_in(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir()) if directory.exists() else 0

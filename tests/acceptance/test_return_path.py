"""What the archives send back never comes near the director."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lbctl.lab import dicom, http
from lbctl.lab.archives import HTTP_PORT
from lbctl.lab.capture import Direction, Kind
from lbctl.lab.studies import Study, compare
from lbctl.lab.topology import VIP
from tests.acceptance.stage import PEER, ArchiveStage

AT_LEAST = 100_000_000

Retrieve = Callable[[ArchiveStage, Study, Path], Iterable[Path | bytes]]


def by_c_get(archives: ArchiveStage, study: Study, into: Path) -> Iterable[Path | bytes]:
    """With DCMTK's getscu, on the association that asks."""
    retrieval = dicom.retrieve(archives.clients[0], PEER, study.study_uid, into=into / "got")
    assert retrieval.association.succeeded, retrieval.association.output[-2000:]
    return retrieval.files


def by_http(archives: ArchiveStage, study: Study, into: Path) -> Iterable[Path | bytes]:
    """DICOMweb's RetrieveStudy."""
    return http.retrieve_study(archives.clients[1], VIP, study.study_uid, port=HTTP_PORT)


@pytest.mark.parametrize("retrieve", [pytest.param(by_c_get, id="C-GET"), pytest.param(by_http, id="HTTP")])
def test_retrieval_of_100_mb_returns_past_the_director(
    archives: ArchiveStage, stored_study: Study, tmp_path: Path, retrieve: Retrieve
) -> None:
    at_director = archives.lab.count_frames(archives.lab.director)
    at_backends = [archives.lab.count_frames(node) for node in archives.lab.backends]
    began = time.monotonic()
    received = retrieve(archives, stored_study, tmp_path)
    elapsed_s = time.monotonic() - began
    seen = at_director.read()
    returned = sum(counter.read().of(Direction.SENT, Kind.FROM_VIP).octets for counter in at_backends)

    assert compare(stored_study, received).is_complete
    assert returned >= AT_LEAST  # so the counters do see what they should not see at the director
    assert seen.returned.frames == 0
    assert seen.of(Direction.SENT, Kind.FROM_VIP).frames == 0
    assert seen.acknowledgements.frames > 0
    acks, data = seen.acknowledgements, seen.of(Direction.RECEIVED, Kind.CLIENT_DATA)
    print(
        f"{returned / 1e6:.1f} MB came back in {elapsed_s:.1f} s; at the director: 0 server-to-client frames, "
        f"{acks.frames} acknowledgements of {acks.octets / 1e3:.1f} kB ({100 * acks.octets / returned:.2f} %), "
        f"{data.frames} frames of requests of {data.octets / 1e3:.1f} kB"
    )

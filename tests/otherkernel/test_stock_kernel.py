"""The program on Debian's stock kernel, whose verifier and whose helpers are older than those of newer ones."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from lbctl.dataplane.objectfile import compile_source
from tests.otherkernel.inside import prebuilt
from tests.otherkernel.inside.rows import Found
from tests.otherkernel.inside.tags import Sighting
from tests.otherkernel.machine import Outcome, run
from tests.otherkernel.packing import packed
from tests.otherkernel.stock import stock_kernel
from tests.packets.conformance import CASES

ROOT = Path(__file__).parents[2]
VERIFIER_BUDGET = 100_000
"""Instructions that the verifier may walk through, with every feature."""
LEAST_ROWS = 160
DEADLINE_S = 600.0
"""Five times what it may take."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All rows there, in one boot."""
    luggage = tmp_path_factory.mktemp("luggage") / "luggage"
    luggage.write_bytes(pickle.dumps(packed(CASES)))
    outcome = run(
        [sys.executable, "-m", "tests.otherkernel.inside.replay", str(luggage)], cwd=ROOT, deadline_s=DEADLINE_S
    )
    assert outcome.code == 0, outcome.output
    return outcome


@pytest.fixture(scope="module")
def found(tried: Outcome) -> Found:
    """What it said."""
    return Found(**json.loads(tried.output.splitlines()[-1]))


def test_program_passes_the_stock_kernel_s_verifier_within_bounds(found: Found) -> None:
    print(f"Linux {found.release} verified: {dict(found.verified)} instructions")
    assert found.release == stock_kernel().release
    assert {"lb_ingress", "lb_ingress6"} <= set(found.verified)
    assert {name: count for name, count in found.verified.items() if not 0 < count <= VERIFIER_BUDGET} == {}


def test_packets_of_the_table_leave_the_stock_kernel_as_the_table_says(found: Found) -> None:
    assert found.rows == len(CASES) >= LEAST_ROWS
    assert not found.differences, "\n".join(f"{name}: {what}" for name, what in found.differences.items())


def test_stock_kernel_has_nothing_to_complain_about(tried: Outcome) -> None:
    assert tried.tainted == 0, tried.console


def test_tag_left_to_a_nic_is_hidden_from_the_program_in_either_mode_and_lost_in_native_mode() -> None:
    """Hence the daemon has a NIC hand over its tags in the frame, in generic mode, too."""
    outcome = run([sys.executable, "-m", "tests.otherkernel.inside.tags"], cwd=ROOT, deadline_s=DEADLINE_S)

    assert outcome.code == 0, outcome.output
    sightings = [Sighting(**each) for each in json.loads(outcome.output.splitlines()[-1])]
    assert {(each.is_native, each.is_offloaded): (each.is_in_frame, each.returned_to_vlan) for each in sightings} == {
        (True, True): (False, False),
        (True, False): (True, True),
        (False, True): (False, True),
        (False, False): (True, True),
    }


@pytest.mark.long
def test_data_plane_s_own_tests_pass_on_the_stock_kernel(tmp_path: Path) -> None:
    """Links, pins and batches among them."""
    program = tmp_path / "program"
    program.write_bytes(pickle.dumps(compile_source()))
    pytest_there = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", prebuilt.__name__]
    tests = ["tests/packets/test_kernel_dataplane.py", "tests/packets/test_kernel_sources.py"]

    outcome = run(
        [*pytest_there, *tests], cwd=ROOT, deadline_s=DEADLINE_S, environment={prebuilt.VARIABLE: str(program)}
    )

    assert (outcome.code, outcome.tainted) == (0, 0), outcome.output

"""The conversation as a pure function: what the archive says decides what we say and what we find."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbctl.core.verdict import Outcome
from lbctl.probes import pdu
from lbctl.probes.dicom import DicomEcho, Phase
from tests.unit.probes import peers

HEALTHY_TRANSCRIPT = peers.accept() + peers.echo_response() + peers.RELEASE_RP


def conversation(*arriving: bytes) -> tuple[DicomEcho, list[bytes]]:
    """A conversation that was fed these bytes, and what it said after each."""
    echo = DicomEcho(calling_ae="LBCTL", called_ae="PACS")
    return echo, [echo.receive(data) for data in arriving]


def test_echo_answered_well_is_healthy_and_released() -> None:
    echo, said = conversation(peers.accept(), peers.echo_response(), peers.RELEASE_RP)
    assert said == [pdu.echo_request(), peers.RELEASE_RQ, b""]
    assert (echo.outcome, echo.phase, echo.is_answered) == (Outcome.HEALTHY, Phase.CLOSED, True)


def test_echo_response_in_several_fragments_and_pdus_is_put_together() -> None:
    command = peers.echo_command()
    first = peers.pdv(command[:5], control=0b01) + peers.pdv(command[5:30], control=0b01)
    echo, said = conversation(peers.accept(), peers.pdu(4, first), peers.pdu(4, peers.pdv(command[30:])))
    assert said == [pdu.echo_request(), b"", peers.RELEASE_RQ]
    assert echo.outcome is Outcome.HEALTHY


@pytest.mark.parametrize(
    ("numbers", "outcome", "words"),
    [
        ((2, 3, 2), Outcome.BUSY, "local limit exceeded (02/03/02)"),
        ((2, 3, 1), Outcome.BUSY, "temporary congestion (02/03/01)"),
        ((1, 3, 2), Outcome.BUSY, "local limit exceeded (01/03/02)"),
        ((1, 1, 7), Outcome.MISCONFIGURED, 'not called "PACS", set called_ae'),
        ((1, 1, 3), Outcome.MISCONFIGURED, 'make "LBCTL" known to the server'),
        ((1, 1, 1), Outcome.FAILED, "check calling_ae and called_ae"),
        ((1, 2, 2), Outcome.FAILED, "protocol version"),
        ((9, 9, 9), Outcome.FAILED, "unknown reason (09/09/09)"),
    ],
)
def test_rejection_is_judged_by_its_numbers(numbers: tuple[int, int, int], outcome: Outcome, words: str) -> None:
    echo, said = conversation(peers.reject(*numbers))
    assert (echo.outcome, echo.phase, said) == (outcome, Phase.CLOSED, [b""])
    assert words in echo.detail


@pytest.mark.parametrize("result", [1, 2, 3, 4, 77])
def test_context_refused_is_misconfigured_and_released(result: int) -> None:
    echo, said = conversation(peers.accept(result=result))
    assert (echo.outcome, said) == (Outcome.MISCONFIGURED, [peers.RELEASE_RQ])
    assert "Verification" in echo.detail


def test_transfer_syntax_never_proposed_is_a_failure_and_released() -> None:
    echo, said = conversation(peers.accept(transfer_syntax=b"1.2.840.10008.1.2.1"))
    assert (echo.outcome, said) == (Outcome.FAILED, [peers.RELEASE_RQ])


@pytest.mark.parametrize("status", [0x0110, 0x0122, 0x0124, 0x0211, 0xA700, 0xFFFF])
def test_echo_of_bad_status_is_a_failure_that_is_released(status: int) -> None:
    echo, said = conversation(peers.accept(), peers.echo_response(status=status), peers.RELEASE_RP)
    assert said == [pdu.echo_request(), peers.RELEASE_RQ, b""]
    assert (echo.outcome, echo.is_answered) == (Outcome.FAILED, True)
    assert f"{status:#06x}" in echo.detail


@pytest.mark.parametrize(
    "answer",
    [
        peers.echo_response(message_id=2),
        peers.echo_response(field=0x8001),
        peers.pdu(4, peers.pdv(peers.echo_command(), context_id=3)),
        peers.pdu(4, peers.pdv(peers.echo_command(), control=0b10)),
        peers.pdu(4, peers.pdv(peers.echo_command()[:-1])),
        peers.pdu(4, peers.pdv(b"")),
        peers.accept(),
        peers.RELEASE_RP,
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_echo_answered_with_something_else_is_a_failure_that_is_aborted(answer: bytes) -> None:
    echo, said = conversation(peers.accept(), answer)
    assert (echo.outcome, echo.phase, said[-1]) == (Outcome.FAILED, Phase.CLOSED, peers.ABORT_BY_USER)


def test_echo_command_that_never_ends_is_cut_off() -> None:
    endless = peers.pdu(4, peers.pdv(bytes(1000), control=0b01))
    echo, _ = conversation(peers.accept(), *[endless] * 16)
    assert echo.phase is Phase.ECHOING
    assert echo.receive(endless) == peers.ABORT_BY_USER
    assert echo.outcome is Outcome.FAILED


@pytest.mark.parametrize("before", [(), (peers.accept(),)])
@pytest.mark.parametrize("ending", [peers.ABORT_BY_PROVIDER, b""])
def test_server_that_aborts_or_hangs_up_has_failed(before: tuple[bytes, ...], ending: bytes) -> None:
    echo, said = conversation(*before, ending)
    assert (echo.outcome, echo.phase, said[-1]) == (Outcome.FAILED, Phase.CLOSED, b"")


def test_server_that_releases_instead_of_answering_has_failed_but_gets_its_response() -> None:
    echo, said = conversation(peers.accept(), peers.RELEASE_RQ)
    assert (echo.outcome, echo.phase, said[-1]) == (Outcome.FAILED, Phase.CLOSED, peers.RELEASE_RP)


def test_release_requested_by_both_sides_is_answered_and_awaited() -> None:
    echo, said = conversation(peers.accept(), peers.echo_response(), peers.RELEASE_RQ, peers.RELEASE_RP)
    assert said[-2:] == [peers.RELEASE_RP, b""]
    assert (echo.outcome, echo.phase) == (Outcome.HEALTHY, Phase.CLOSED)


@pytest.mark.parametrize("ending", [b"", peers.ABORT_BY_PROVIDER, b"garbage", peers.reject(1, 1, 1)])
def test_release_that_goes_wrong_leaves_a_good_echo_healthy_and_is_told(ending: bytes) -> None:
    echo, _ = conversation(peers.accept(), peers.echo_response(), ending)
    assert (echo.outcome, echo.phase) == (Outcome.HEALTHY, Phase.CLOSED)
    assert "; then " in echo.detail


def test_timeout_before_the_association_aborts() -> None:
    echo, _ = conversation()
    assert echo.give_up(Outcome.TIMEOUT, "late") == peers.ABORT_BY_USER
    assert (echo.outcome, echo.phase) == (Outcome.TIMEOUT, Phase.CLOSED)


def test_timeout_of_the_echo_releases_and_then_aborts() -> None:
    echo, _ = conversation(peers.accept())
    assert echo.give_up(Outcome.TIMEOUT, "late") == peers.RELEASE_RQ
    assert echo.receive(peers.echo_response()) == b""
    assert echo.give_up(Outcome.TIMEOUT, "later") == peers.ABORT_BY_USER
    assert (echo.outcome, echo.detail, echo.is_answered) == (Outcome.TIMEOUT, "late; then later", False)


@given(st.lists(st.binary(max_size=200), max_size=6))
@example([b"\x02\x00\x00\x00\x00\x00"])
def test_conversation_given_any_bytes_raises_nothing_and_stays_in_its_words(arriving: list[bytes]) -> None:
    echo, said = conversation(*arriving)
    assert set(said) <= {b"", pdu.echo_request(), *(peers.RELEASE_RQ, peers.RELEASE_RP, peers.ABORT_BY_USER)}
    assert (echo.phase is not Phase.CLOSED) or echo.outcome is not None


@given(st.data())
def test_conversation_with_damaged_bytes_raises_nothing_whatever_the_damage(data: st.DataObject) -> None:
    damaged = bytearray(HEALTHY_TRANSCRIPT)
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    echo, _ = conversation(bytes(damaged), b"")
    assert echo.phase is Phase.CLOSED
    assert echo.outcome is not None


@given(st.data())
def test_conversation_finds_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    transcript = data.draw(
        st.sampled_from(
            [HEALTHY_TRANSCRIPT, peers.reject(2, 3, 2), peers.accept() + b"\xffgarbage", peers.accept(result=3)]
        )
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(transcript) - 1), max_size=12)))
    whole, _ = conversation(transcript)
    parts, _ = conversation(*(transcript[a:b] for a, b in zip([0, *cuts], [*cuts, len(transcript)], strict=True)))
    assert (parts.outcome, parts.detail, parts.phase) == (whole.outcome, whole.detail, whole.phase)

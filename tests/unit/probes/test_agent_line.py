"""The agent-check line, and asking for it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.verdict import AgentReport, AgentSilence, AgentWord
from lbctl.probes.agent import MAX_LINE_BYTES, ask_agent, parse_agent_line
from tests.unit.probes import peers


@pytest.mark.parametrize(
    ("line", "percent", "word"),
    [
        (b"75%", 75, None),
        (b"75%\n", 75, None),
        (b"0%\r\n", 0, None),
        (b"007%\r", 7, None),
        (b"250%\n", 100, None),
        (b"9" * 1000 + b"%\n", 100, None),
        (b"up", None, AgentWord.UP),
        (b"READY 99%\n", 99, AgentWord.UP),
        (b"Drain\t99%\n", 99, AgentWord.DRAIN),
        (b"up,10%", 10, AgentWord.UP),
        (b" ,\tup , 10% \n", 10, AgentWord.UP),
        (b"down\n", None, AgentWord.DOWN),
        (b"down #disk is full, 75% of it\n", None, AgentWord.DOWN),
        (b"down#disk full\n", None, AgentWord.DOWN),
        (b"stopped", None, AgentWord.DOWN),
        (b"fail", None, AgentWord.DOWN),
        (b"maint", None, AgentWord.DOWN),
        (b"ready drain\n", None, AgentWord.DRAIN),
        (b"up down drain\n", None, AgentWord.DOWN),
        (b"50% maxconn:30\n", 50, None),
        (b"maxconn:30\n", None, None),
        (b"40% 60%\n", 60, None),
        (b"up 75%\nrubbish after the line\n", 75, AgentWord.UP),
    ],
)
def test_agent_line_in_the_protocol_is_understood(line: bytes, percent: int | None, word: AgentWord | None) -> None:
    assert parse_agent_line(line) == AgentReport(percent=percent, word=word)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", b"   \r\n", b"#only a reason\n", b"-5%\n", b"+5%\n", b"7.5%\n", b"75\n", b"75 %\n", b"%\n"),
        *(b"75% idle\n", b"upp\n", b"maxconn:\n", b"maxconn:-1\n", b"HTTP/1.1 400 Bad Request\r\n", b"\0", b"\xff\xfe"),
        *("٧٥%".encode(), b"75\xb2%", b"x" * (MAX_LINE_BYTES + 1)),
    ],
)
def test_agent_line_outside_the_protocol_is_a_silence_that_says_why(line: bytes) -> None:
    silence = parse_agent_line(line)
    assert isinstance(silence, AgentSilence)
    assert silence.detail.isprintable()
    assert silence.detail.isascii()
    assert len(silence.detail) < 250


@given(st.binary(max_size=2 * MAX_LINE_BYTES))
def test_agent_line_of_any_bytes_never_raises(line: bytes) -> None:
    assert isinstance(parse_agent_line(line), AgentReport | AgentSilence)


@given(st.text("0123456789%-+#., \tupdownrainmtxc:\r\n", max_size=60))
def test_agent_line_of_near_misses_is_in_range_or_a_silence(line: str) -> None:
    report = parse_agent_line(line.encode())
    assert isinstance(report, AgentSilence) or report.percent in (None, *range(101))


async def _ask(*pieces: bytes, close: bool, timeout_s: float = 5.0) -> AgentReport | AgentSilence:
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if not close:
            await reader.read()  # waits for the probe's FIN
        writer.close()
        asked.set()

    async with peers.serving(answer) as port:
        report = await ask_agent(peers.target(port, timeout_s=timeout_s))
        await asyncio.wait_for(asked.wait(), 25)
    return report


@pytest.mark.parametrize("close", [True, False])
def test_agent_that_sends_a_line_in_pieces_is_understood(close: bool) -> None:
    report = asyncio.run(_ask(b"dra", b"in 2", b"5%", b"\n", close=close))
    assert report == AgentReport(percent=25, word=AgentWord.DRAIN)


def test_agent_that_ends_its_line_by_closing_is_understood() -> None:
    assert asyncio.run(_ask(b"75%", close=True)) == AgentReport(percent=75)


def test_agent_that_closes_without_a_word_is_a_silence() -> None:
    assert asyncio.run(_ask(close=True)) == AgentSilence(detail="the agent said nothing")


def test_agent_that_never_speaks_is_a_silence_in_time() -> None:
    silence = asyncio.run(_ask(close=False, timeout_s=0.2))
    assert isinstance(silence, AgentSilence)
    assert "unanswered" in silence.detail


def test_agent_that_never_ends_its_line_is_a_silence() -> None:
    silence = asyncio.run(_ask(*[b"up " * 200] * 4, close=False))
    assert silence == AgentSilence(detail=f"the agent's line is longer than {MAX_LINE_BYTES} bytes")


def test_agent_that_is_not_there_is_a_silence() -> None:
    with socket.socket() as unheard:  # bound and not listening: the port stays ours and refuses
        unheard.bind(("127.0.0.1", 0))
        silence = asyncio.run(ask_agent(peers.target(unheard.getsockname()[1])))
    assert isinstance(silence, AgentSilence)
    assert "refused" in silence.detail

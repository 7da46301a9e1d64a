"""Asking a load agent: one line of HAProxy's agent-check protocol (HAProxy configuration manual, section 5.2).

The agent speaks first and in words: ``75%``, ``up``, ``drain 50%``, ``down #disk full``. ``maxconn:N`` is understood
and ignored, for lbctl has no connection limit that an agent could set. A line with one word that is not understood is
ignored as a whole: half a report is not a capacity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lbctl.core.verdict import AgentReport, AgentSilence, AgentWord
from lbctl.probes.dial import Wire, WireError, dial
from lbctl.probes.port import Target

MAX_LINE_BYTES = 1024

_STATES = {
    "up": AgentWord.UP,
    "ready": AgentWord.UP,
    "drain": AgentWord.DRAIN,
    "down": AgentWord.DOWN,
    "stopped": AgentWord.DOWN,
    "fail": AgentWord.DOWN,
    "maint": AgentWord.DOWN,
}
_SEVERITY = (AgentWord.DOWN, AgentWord.DRAIN, AgentWord.UP)
_PERCENT = re.compile(r"([0-9]+)%")
_MAXCONN = re.compile(r"maxconn:[0-9]+")
_LINE_END = re.compile(rb"[\r\n]")


async def ask_agent(target: Target) -> AgentReport | AgentSilence:
    """Ask once. An agent that cannot be reached, is late or does not speak the protocol is an `AgentSilence`."""
    try:
        async with await dial(target) as wire:
            return parse_agent_line(await _read_line(wire))
    except WireError as error:
        return AgentSilence(detail=error.detail)


def parse_agent_line(line: bytes) -> AgentReport | AgentSilence:
    """Understand what an agent sent, up to the end of its first line. Never raises.

    Percentages above 100 count as 100, the declared weight being the most a backend takes. Of contradicting words the
    most cautious counts.
    """
    line = _LINE_END.split(line, maxsplit=1)[0]
    if len(line) > MAX_LINE_BYTES:
        return AgentSilence(detail=f"the agent's line is longer than {MAX_LINE_BYTES} bytes")
    words = list(_words(line))
    if not words:
        return AgentSilence(detail="the agent said nothing")
    unknown = [word for word in words if not _is_understood(word)]
    if unknown:
        return AgentSilence(detail=f"the agent said {unknown[0][:40]!a}, which is not in the agent-check protocol")
    states = {_STATES[word] for word in words if word in _STATES}
    percents = [min(100, int(found[1])) for found in map(_PERCENT.fullmatch, words) if found]
    return AgentReport(
        percent=percents[-1] if percents else None, word=next((word for word in _SEVERITY if word in states), None)
    )


def _words(line: bytes) -> Iterator[str]:
    """The words before the ``#`` that opens a reason."""
    said = line.partition(b"#")[0]
    # Latin-1 decodes any byte, and no byte above 127 is part of a word that is understood.
    return (word.lower() for word in re.split(r"[ \t,]+", said.decode("latin-1")) if word)


def _is_understood(word: str) -> bool:
    return word in _STATES or bool(_PERCENT.fullmatch(word) or _MAXCONN.fullmatch(word))


async def _read_line(wire: Wire) -> bytes:
    """What came up to the first line end, the agent's FIN, or just more than is allowed."""
    received = b""
    while len(received) <= MAX_LINE_BYTES and not _LINE_END.search(received):
        data = await wire.receive(step="agent connection", by=wire.schedule.answer_by)
        if not data:
            break
        received += data
    return received

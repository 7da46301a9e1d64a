"""What probed servers and agents answer: DICOM associations, and lines of the agent protocol."""

from __future__ import annotations

import struct
from random import Random

from lbctl.core.verdict import AgentReport, AgentWord, Outcome, ProbeResult
from lbctl.probes import pdu
from lbctl.probes.agent import parse_agent_line
from lbctl.probes.dicom import DicomEcho, Phase
from lbctl.probes.pdu import PduError
from tests.fuzz.fuzzer import Fuzzer, pure
from tests.fuzz.mutation import mutated

_OUR_WORDS_BYTES = 600
"""The association request, the C-ECHO, the release and an abort, with room to spare."""


# DICOM ---------------------------------------------------------------------------------------------------------------


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _accept_body(result: int, syntax: bytes) -> bytes:
    answer = _item(0x21, bytes([pdu.CONTEXT_ID, 0, result, 0]) + _item(0x40, syntax))
    user = _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3"))
    return struct.pack(">H66x", 1) + _item(0x10, b"1.2.840.10008.3.1.1.1") + answer + user


def _command(status: int, message: int = pdu.MESSAGE_ID) -> bytes:
    elements = ((0x0100, 0x8030), (0x0120, message), (0x0800, 0x0101), (0x0900, status))
    found = struct.pack("<HHL", 0, 2, 18) + b"1.2.840.10008.1.1\0"
    found += b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(found)) + found


def _pdv(fragment: bytes, control: int = 3, context: int = pdu.CONTEXT_ID) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context, control) + fragment


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


_ECHOED = _command(0)
_BODIES: tuple[tuple[int, bytes], ...] = (
    *((2, _accept_body(result, b"1.2.840.10008.1.2")) for result in (0, 0, 0, 0, 3)),
    (2, _accept_body(0, b"1.2.840.10008.1.2.1\0")),
    *((3, bytes([0, *cause])) for cause in ((1, 1, 3), (1, 1, 7), (2, 3, 2), (1, 9, 9))),
    *((4, _pdv(_ECHOED)) for _ in range(3)),
    (4, _pdv(_ECHOED[:30], 1) + _pdv(_ECHOED[30:], 3)),
    (4, _pdv(_command(0x0122))),
    (4, _pdv(_command(0, message=2))),
    (4, _pdv(b"", 1) * 50),
    (4, _pdv(bytes(100), 2)),
    *((kind, bytes(4)) for kind in (5, 6, 6, 6, 7)),
)
_CONVERSATIONS = tuple(b"".join(_pdu(*answer) for answer in answers) for answers in (
    (_BODIES[0], _BODIES[10], (6, bytes(4))),
    (_BODIES[0], _BODIES[13], (5, bytes(4)), (6, bytes(4))),
))  # fmt: skip
_PARTS = (*(body for _, body in _BODIES), _ECHOED, _command(0x0110))
_WORDS = (*(_pdu(*answer) for answer in _BODIES), _item(0x21, b"\1\0\0\0"), _item(0x40, b"1.2"), _pdv(b"", 1))


def make_association(dice: Random) -> bytes:
    """All that a server says: PDUs in and out of place, some of them spoilt in their bodies only, the whole, or not at all."""
    if dice.random() < 0.4:
        return mutated(dice, _CONVERSATIONS, _WORDS)
    said = bytearray()
    for _ in range(dice.randrange(1, 6)):
        kind, body = dice.choice(_BODIES)
        said += _pdu(kind, mutated(dice, (body,), _WORDS) if dice.random() < 0.3 else body)
    return mutated(dice, (bytes(said),), _WORDS) if dice.random() < 0.3 else bytes(said)


def feed_association(data: bytes) -> bool:
    """It comes to the same whatever pieces it arrives in; who talks much is not answered more."""
    whole, in_pieces = _heard(data, len(data) or 1), _heard(data, 7)
    assert (whole.outcome, whole.detail) == (in_pieces.outcome, in_pieces.detail)
    assert whole.detail.isprintable() and len(whole.detail) < 400
    return whole.outcome is Outcome.HEALTHY


def _heard(data: bytes, size: int) -> ProbeResult:
    """The verdict at the end of the connection."""
    echo = DicomEcho(calling_ae="LBCTL", called_ae="PACS")
    words = echo.open()
    for at in range(0, len(data), size):
        if echo.phase is Phase.CLOSED:
            break
        words += echo.receive(data[at : at + size])
    if echo.phase is not Phase.CLOSED:
        words += echo.receive(b"")
    assert echo.phase is Phase.CLOSED and echo.outcome is not None
    assert len(words) <= len(data) + _OUR_WORDS_BYTES
    return ProbeResult(outcome=echo.outcome, detail=echo.detail)


def make_parts(dice: Random) -> bytes:
    """The inside of a PDU."""
    return mutated(dice, _PARTS, _WORDS)


def feed_parts(data: bytes) -> bool:
    """Each of the parsers of bodies takes it or says what is wrong with it."""
    taken = 0
    for parse in (pdu.parse_context_answer, lambda body: list(pdu.parse_pdvs(body)), pdu.parse_command):
        try:
            taken += parse(data) is not None
        except PduError as error:
            assert str(error).isprintable()
    return taken > 0


# The agent protocol --------------------------------------------------------------------------------------------------

_LINES = (
    b"75%\n",
    b"up 100%\r\n",
    b"drain 50% #disk",
    b"down #full\n",
    b"maxconn:30,up\t7%\n",
    b"ready\n",
    b"maint",
    b"\n",
)
_SAID = (
    b"up",
    b"down",
    b"drain",
    b"fail",
    b"stopped",
    b"%",
    b"100%",
    b" ",
    b",",
    b"#",
    b"\n",
    b"9" * 400,
    b"maxconn:",
    b"\xb2%",
)


def make_line(dice: Random) -> bytes:
    """A line, or something like one."""
    return mutated(dice, _LINES, _SAID)


def feed_line(data: bytes) -> bool:
    """A report within its bounds, or silence; what follows the line does not count."""
    found = parse_agent_line(data)
    assert parse_agent_line(data + b"\ndown") == (
        found if b"\n" in data or b"\r" in data else parse_agent_line(data + b"\n")
    )
    if isinstance(found, AgentReport):
        assert found.percent is None or 0 <= found.percent <= 100
        assert found.word is None or isinstance(found.word, AgentWord)
        return True
    assert found.detail.isprintable() and len(found.detail) < 250
    return False


FUZZERS = (
    Fuzzer(name="dicom-association", make=make_association, opened=pure(feed_association)),
    Fuzzer(name="dicom-bodies", make=make_parts, opened=pure(feed_parts)),
    Fuzzer(name="agent-line", make=make_line, opened=pure(feed_line)),
)

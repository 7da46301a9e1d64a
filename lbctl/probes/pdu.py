"""The bytes of a DICOM association: building and parsing upper-layer PDUs (PS3.8 section 9.3) and the C-ECHO messages
they carry (PS3.7 section 9.3.5). Pure functions of bytes; every length is checked, every fault is a `PduError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

VERIFICATION_SOP_CLASS = b"1.2.840.10008.1.1"
IMPLICIT_VR_LITTLE_ENDIAN = b"1.2.840.10008.1.2"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_CLASS_UID = b"2.25.250794876400582035261312824918124075910"  # made from a UUID, PS3.5 section B.2
_IMPLEMENTATION_VERSION = b"LBCTL_1"

CONTEXT_ID = 1
"""The one presentation context that we propose; identifiers are odd (PS3.8 section 9.3.2.2)."""
MESSAGE_ID = 1

MAX_DATA_BYTES = 16384
"""The longest P-DATA-TF that we announce to receive, header apart."""
_MAX_ACCEPT_BYTES = 65536  # an answer to one presentation context takes some 200 bytes

_HEADER = struct.Struct(">BxL")
_ITEM_HEADER = struct.Struct(">BxH")
_ELEMENT_HEADER = struct.Struct("<HHL")
_ACCEPT_FIXED_BYTES = 68  # version, reserved, two AE titles, reserved: the items follow

_COMMAND_FIELD = 0x0100
_RESPONDED_MESSAGE_ID = 0x0120
_STATUS = 0x0900
_C_ECHO_RQ = 0x0030
_C_ECHO_RSP = 0x8030
_NO_DATA_SET = 0x0101


class PduError(ValueError):
    """The peer sent what the standard does not allow; the message is for people."""


class PduType(IntEnum):
    """The first byte of each PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_MAX_BODY_BYTES = {
    PduType.ASSOCIATE_RQ: _MAX_ACCEPT_BYTES,
    PduType.ASSOCIATE_AC: _MAX_ACCEPT_BYTES,
    PduType.DATA: MAX_DATA_BYTES,
}
_SHORT_BODY_BYTES = 4  # reject, release and abort have exactly this


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """What the acceptor says to a presentation context: 0 is acceptance (PS3.8 table 9-18)."""

    result: int
    transfer_syntax: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The three numbers of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdv:
    """One presentation data value: a fragment of a command or of a data set (PS3.8 annex E)."""

    context_id: int
    is_command: bool
    is_last: bool
    fragment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The elements of a command set that a response to C-ECHO is judged by; ``None`` if absent."""

    field: int | None
    responded_message_id: int | None
    status: int | None

    @property
    def answers_our_echo(self) -> bool:
        """Whether this is the C-ECHO-RSP to the one request that we sent."""
        return self.field == _C_ECHO_RSP and self.responded_message_id == MESSAGE_ID


class PduReader:
    """Cuts a byte stream into PDUs. Holds at most one PDU and what arrived with it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Append what arrived."""
        self._buffer += data

    def next_pdu(self) -> tuple[PduType, bytes] | None:
        """The next whole PDU as its type and body, or ``None`` until more arrives. Raises `PduError` as soon as the
        header shows that what follows cannot be right."""
        if not self._buffer:
            return None
        kind = _pdu_type(self._buffer[0])
        if len(self._buffer) < _HEADER.size:
            return None
        length = _HEADER.unpack_from(self._buffer)[1]
        _check_length(kind, length)
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return kind, body


def associate_request(*, calling_ae: str, called_ae: str) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 table 9-11) that proposes Verification in Implicit VR Little Endian and nothing else.

    Raises `ValueError` for an AE title that is not 1 to 16 ASCII characters.
    """
    context = bytes([CONTEXT_ID, 0, 0, 0])
    context += _item(0x30, VERIFICATION_SOP_CLASS) + _item(0x40, IMPLICIT_VR_LITTLE_ENDIAN)
    user = _item(0x51, struct.pack(">L", MAX_DATA_BYTES))
    user += _item(0x52, _IMPLEMENTATION_CLASS_UID) + _item(0x55, _IMPLEMENTATION_VERSION)
    fixed = struct.pack(">H2x16s16s32x", 1, _ae_title(called_ae), _ae_title(calling_ae))
    items = _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    return _pdu(PduType.ASSOCIATE_RQ, fixed + items)


def echo_request() -> bytes:
    """C-ECHO-RQ (PS3.7 table 9.3-12) in one P-DATA-TF."""
    elements = _element(0x0002, VERIFICATION_SOP_CLASS + b"\0")  # padded to even length
    elements += b"".join(
        _element(number, struct.pack("<H", value))
        for number, value in ((_COMMAND_FIELD, _C_ECHO_RQ), (0x0110, MESSAGE_ID), (0x0800, _NO_DATA_SET))
    )
    command = _element(0x0000, struct.pack("<L", len(elements))) + elements
    pdv = bytes([CONTEXT_ID, 0b11]) + command  # message control header: command, last fragment
    return _pdu(PduType.DATA, struct.pack(">L", len(pdv)) + pdv)


def parse_context_answer(body: bytes) -> ContextAnswer:
    """The answer to our presentation context in the body of an A-ASSOCIATE-AC (PS3.8 table 9-17)."""
    for kind, value in _items(body[_ACCEPT_FIXED_BYTES:]):
        if kind == 0x21 and len(value) >= 4 and value[0] == CONTEXT_ID:
            syntaxes = [syntax for sub_kind, syntax in _items(value[4:]) if sub_kind == 0x40]
            return ContextAnswer(result=value[2], transfer_syntax=syntaxes[0].rstrip(b"\0 ") if syntaxes else b"")
    raise PduError("A-ASSOCIATE-AC without an answer to the presentation context")


def parse_rejection(body: bytes) -> Rejection:
    """The body of an A-ASSOCIATE-RJ, whose length `PduReader` has checked."""
    return Rejection(result=body[1], source=body[2], reason=body[3])


def parse_pdvs(body: bytes) -> Iterator[Pdv]:
    """The PDVs in the body of a P-DATA-TF (PS3.8 table 9-22)."""
    at = 0
    while at < len(body):
        if len(body) - at < 6:
            raise PduError("P-DATA-TF that ends within the header of a PDV")
        length, context_id, control = struct.unpack_from(">LBB", body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise PduError(f"PDV of {length} bytes that does not fit its P-DATA-TF")
        yield Pdv(
            context_id=context_id,
            is_command=bool(control & 1),
            is_last=bool(control & 2),
            fragment=body[at + 6 : end],
        )
        at = end


def parse_command(data: bytes) -> Command:
    """A whole command set, in Implicit VR Little Endian as all command sets are (PS3.7 section 6.3.1)."""
    numbers: dict[int, int] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _ELEMENT_HEADER.size:
            raise PduError("command set that ends within an element")
        group, element, length = _ELEMENT_HEADER.unpack_from(data, at)
        at += _ELEMENT_HEADER.size
        if group != 0 or length > len(data) - at:
            raise PduError("command set with an element that is not part of one")
        if length == 2:
            numbers[element] = int.from_bytes(data[at : at + 2], "little")
        at += length
    return Command(
        field=numbers.get(_COMMAND_FIELD),
        responded_message_id=numbers.get(_RESPONDED_MESSAGE_ID),
        status=numbers.get(_STATUS),
    )


def _pdu_type(first_byte: int) -> PduType:
    try:
        return PduType(first_byte)
    except ValueError:
        raise PduError(f"something that is not DICOM (first byte {first_byte:#04x})") from None


def _check_length(kind: PduType, length: int) -> None:
    limit = _MAX_BODY_BYTES.get(kind)
    if limit is None and length != _SHORT_BODY_BYTES:
        raise PduError(f"{kind.name} PDU of {length} bytes instead of {_SHORT_BODY_BYTES}")
    if limit is not None and length > limit:
        raise PduError(f"{kind.name} PDU of {length} bytes where at most {limit} are allowed")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM_HEADER.size:
            raise PduError("A-ASSOCIATE-AC that ends within an item")
        kind, length = _ITEM_HEADER.unpack_from(data, at)
        at += _ITEM_HEADER.size
        if length > len(data) - at:
            raise PduError(f"A-ASSOCIATE-AC with an item of {length} bytes that does not fit")
        yield kind, data[at : at + length]
        at += length


def _pdu(kind: PduType, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM_HEADER.pack(kind, len(value)) + value


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT_HEADER.pack(0x0000, number, len(value)) + value


def _ae_title(title: str) -> bytes:
    if not (title.isascii() and 1 <= len(title) <= 16):
        raise ValueError(f"AE title {title!r} is not 1 to 16 ASCII characters")
    return title.encode("ascii").ljust(16)


RELEASE_REQUEST = _pdu(PduType.RELEASE_RQ, bytes(4))
RELEASE_RESPONSE = _pdu(PduType.RELEASE_RP, bytes(4))
ABORT = _pdu(PduType.ABORT, bytes(4))  # source 0: the service user

"""Servers that do exactly what a test tells them, on loopback, and write down how the probe behaved."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address

from lbctl.core.model import Address
from lbctl.probes.port import Target

LOOPBACK, LOOPBACK6 = IPv4Address("127.0.0.1"), IPv6Address("::1")
SILENT = b""

RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")
ABORT_BY_USER = bytes.fromhex("07 00 00000004 00000000")
ABORT_BY_PROVIDER = bytes.fromhex("07 00 00000004 00000201")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def target(port: int, *, on: Address = LOOPBACK, timeout_s: float = 5.0, source: Address | None = None) -> Target:
    """A target on loopback."""
    return Target(address=on, port=port, timeout_s=timeout_s, source=source)


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU with an honest length."""
    return bytes([kind, 0]) + len(body).to_bytes(4, "big") + body


def item(kind: int, value: bytes) -> bytes:
    """An item or sub-item of an association PDU."""
    return bytes([kind, 0]) + len(value).to_bytes(2, "big") + value


def accept(*, result: int = 0, transfer_syntax: bytes = b"1.2.840.10008.1.2", context_id: int = 1) -> bytes:
    """An A-ASSOCIATE-AC as PS3.8 table 9-17 lays it out."""
    context = bytes([context_id, 0, result, 0]) + item(0x40, transfer_syntax)
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x21, context) + item(0x50, user)
    return pdu(2, b"\0\1\0\0" + b"PACS".ljust(16) + b"LBCTL".ljust(16) + bytes(32) + items)


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return pdu(3, bytes([0, result, source, reason]))


def echo_command(*, status: int = 0, message_id: int = 1, field: int = 0x8030) -> bytes:
    """The command set of a C-ECHO-RSP (PS3.7 table 9.3-13), group length included."""
    elements = struct.pack("<HHL", 0, 0x0002, 18) + b"1.2.840.10008.1.1\0"
    for element, value in ((0x0100, field), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status)):
        elements += struct.pack("<HHLH", 0, element, 2, value)
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


def pdv(fragment: bytes, *, control: int = 0b11, context_id: int = 1) -> bytes:
    """A presentation data value."""
    return (len(fragment) + 2).to_bytes(4, "big") + bytes([context_id, control]) + fragment


def echo_response(*, status: int = 0, message_id: int = 1, field: int = 0x8030) -> bytes:
    """A C-ECHO-RSP in one PDV of one P-DATA-TF."""
    return pdu(4, pdv(echo_command(status=status, message_id=message_id, field=field)))


@asynccontextmanager
async def serving(handle: Handler, *, on: Address = LOOPBACK) -> AsyncIterator[int]:
    """A TCP server on a free loopback port, its port number."""
    server = await asyncio.start_server(handle, str(on), 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class ScriptedArchive:
    """Answers the n-th PDU with the n-th of its answers (`SILENT` once they run out), ``segment`` bytes a time."""

    def __init__(self, *answers: bytes, segment: int | None = None, hang_up_after: int | None = None) -> None:
        self._answers = answers
        self._segment = segment
        self._hang_up_after = hang_up_after
        self.received: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.peers.append(writer.get_extra_info("peername"))
        try:
            while len(self.received) != self._hang_up_after:
                await self._answer_one(reader, writer)
        except asyncio.IncompleteReadError as error:
            self.ended.set_result("fin" if not error.partial else "cut")
        except ConnectionError:
            self.ended.set_result("reset")
        finally:
            writer.close()

    @property
    def kinds(self) -> list[int]:
        """The types of the PDUs received."""
        return [received[0] for received in self.received]

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(6)
        self.received.append(header + await reader.readexactly(int.from_bytes(header[2:], "big")))
        index = len(self.received) - 1
        answer = self._answers[index] if index < len(self._answers) else SILENT
        size = self._segment or len(answer) or 1
        for at in range(0, len(answer), size):
            writer.write(answer[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

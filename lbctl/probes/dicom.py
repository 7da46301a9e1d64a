"""The DICOM probe: an association for one C-ECHO, always released (PS3.7 section 9.1.5, PS3.8 section 9).

`DicomEcho` is the conversation as a pure function of the bytes that arrive; `probe_dicom_echo` gives it a connection
and a clock. Connect-and-drop checks have leaked memory in archives: whatever happens, the server is told that it is
over.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.probes import pdu
from lbctl.probes.dial import Wire, WireError, dial
from lbctl.probes.pdu import PduError, PduType
from lbctl.probes.port import Target

_MAX_COMMAND_BYTES = 16384  # a C-ECHO-RSP takes about 80 bytes; its fragments are not collected for ever

_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_CALLING_AE_UNKNOWN = (1, 3)
_CALLED_AE_UNKNOWN = (1, 7)
_FULL = ((3, 1), (3, 2))

_CONTEXT_RESULTS = {
    1: "user rejection",
    2: "no reason given",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}

_STATUSES = {  # PS3.7 annex C
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
}
_SUCCESS = 0x0000


class Phase(StrEnum):
    """What the conversation waits for the server to answer."""

    ASSOCIATING = "association request"
    ECHOING = "C-ECHO request"
    RELEASING = "release request"
    CLOSED = "end of the association"


class DicomEcho:
    """The requestor's side of the association. Send what its methods return; feed it what arrives until it is `CLOSED`.

    No method raises, whatever the bytes. The first finding stands: a good echo stays good if the release goes wrong,
    which only the detail then tells.
    """

    def __init__(self, *, calling_ae: str, called_ae: str) -> None:
        self._calling_ae = calling_ae
        self._called_ae = called_ae
        self._reader = pdu.PduReader()
        self._command = b""
        self.phase = Phase.ASSOCIATING
        self.is_answered = False
        """Whether a C-ECHO-RSP arrived, of whatever status."""
        self.outcome: Outcome | None = None
        self.detail = ""

    def open(self) -> bytes:
        """The association request."""
        return pdu.associate_request(calling_ae=self._calling_ae, called_ae=self._called_ae)

    def receive(self, data: bytes) -> bytes:
        """Take what arrived (empty: the server closed the connection) and return what to send now, if anything."""
        if not data:
            return self._close(Outcome.FAILED, f"connection closed by the server after the {self.phase}")
        self._reader.feed(data)
        try:
            return self._read_pdus()
        except PduError as error:
            return self._close(Outcome.FAILED, f"the server answered with {error}", say=pdu.ABORT)

    def give_up(self, outcome: Outcome, detail: str) -> bytes:
        """The connection failed or the time is up. A server that owes an echo is still asked for the release; in every
        other phase the association is aborted, which a server that wakes up later will read."""
        if self.phase is Phase.ECHOING and outcome is Outcome.TIMEOUT:
            return self._release(outcome, detail)
        return self._close(outcome, detail, say=pdu.ABORT)

    def _read_pdus(self) -> bytes:
        words = b""
        while self.phase is not Phase.CLOSED and (received := self._reader.next_pdu()):
            words += self._on_pdu(*received)
        return words

    def _on_pdu(self, kind: PduType, body: bytes) -> bytes:
        if kind is PduType.ABORT:
            return self._close(Outcome.FAILED, self._abort_detail())
        if self.phase is Phase.ASSOCIATING:
            return self._on_association_answer(kind, body)
        if self.phase is Phase.ECHOING:
            return self._on_echo_answer(kind, body)
        return self._on_release_answer(kind)

    def _on_association_answer(self, kind: PduType, body: bytes) -> bytes:
        match kind:
            case PduType.ASSOCIATE_AC:
                return self._on_accept(pdu.parse_context_answer(body))
            case PduType.ASSOCIATE_RJ:
                return self._close(*self._judge_rejection(pdu.parse_rejection(body)))
        raise self._unexpected(kind)

    def _on_echo_answer(self, kind: PduType, body: bytes) -> bytes:
        match kind:
            case PduType.DATA:
                return self._on_data(body)
            case PduType.RELEASE_RQ:
                detail = "the server released the association instead of answering the C-ECHO"
                return self._close(Outcome.FAILED, detail, say=pdu.RELEASE_RESPONSE)
        raise self._unexpected(kind)

    def _on_release_answer(self, kind: PduType) -> bytes:
        match kind:
            case PduType.RELEASE_RP:
                self.phase = Phase.CLOSED
                return b""
            case (
                PduType.RELEASE_RQ
            ):  # both sides asked at once: the requestor answers first (PS3.8 section 9.2.3, AR-9)
                return pdu.RELEASE_RESPONSE
            case PduType.DATA:  # an echo that comes too late
                return b""
        raise self._unexpected(kind)

    def _abort_detail(self) -> str:
        said = f"the server aborted (A-ABORT) after the {self.phase}"
        if self.phase is not Phase.ECHOING:
            return said
        # Orthanc aborts so where an unknown modality may not echo; but so does a server in trouble, hence no verdict.
        return f'{said}: see whether it allows C-ECHO to calling AE title "{self._calling_ae}"'

    def _unexpected(self, kind: PduType) -> PduError:
        return PduError(f"an unexpected {kind.name} PDU to the {self.phase}")

    def _on_accept(self, answer: pdu.ContextAnswer) -> bytes:
        if answer.result != 0:
            why = _CONTEXT_RESULTS.get(answer.result, f"result {answer.result}")
            hint = f'allow C-ECHO to calling AE title "{self._calling_ae}" at the server, or use a tcp check'
            return self._release(Outcome.MISCONFIGURED, f"the server does not offer Verification ({why}): {hint}")
        if answer.transfer_syntax != pdu.IMPLICIT_VR_LITTLE_ENDIAN:
            return self._release(Outcome.FAILED, "the server chose a transfer syntax that was not proposed")
        self.phase = Phase.ECHOING
        return pdu.echo_request()

    def _judge_rejection(self, rejection: pdu.Rejection) -> tuple[Outcome, str]:
        cause = (rejection.source, rejection.reason)
        numbers = f"{rejection.result:02}/{rejection.source:02}/{rejection.reason:02}"
        said = f"association rejected, {_REJECTIONS.get(cause, 'unknown reason')} ({numbers})"
        if cause == _CALLED_AE_UNKNOWN:
            hint = f'the server is not called "{self._called_ae}", set called_ae to its own AE title'
            return Outcome.MISCONFIGURED, f"{said}: {hint}"
        if cause == _CALLING_AE_UNKNOWN:
            hint = f'make "{self._calling_ae}" known to the server, or set calling_ae to a title that it knows'
            return Outcome.MISCONFIGURED, f"{said}: {hint}"
        if cause in _FULL:
            return Outcome.BUSY, said
        return Outcome.FAILED, f"{said}: if it accepts only known AE titles, check calling_ae and called_ae"

    def _on_data(self, body: bytes) -> bytes:
        for pdv in pdu.parse_pdvs(body):
            if pdv.context_id != pdu.CONTEXT_ID or not pdv.is_command:
                raise PduError("a data set or presentation context that does not belong to a C-ECHO")
            self._command += pdv.fragment
            if len(self._command) > _MAX_COMMAND_BYTES:
                raise PduError(f"a command set of more than {_MAX_COMMAND_BYTES} bytes")
            if pdv.is_last:
                return self._on_command(pdu.parse_command(self._command))
        return b""

    def _on_command(self, command: pdu.Command) -> bytes:
        if not command.answers_our_echo or command.status is None:
            raise PduError("a message that is no response to the C-ECHO")
        self.is_answered = True
        if command.status == _SUCCESS:
            return self._release(Outcome.HEALTHY, "C-ECHO answered")
        meaning = _STATUSES.get(command.status, "unknown status")
        return self._release(Outcome.FAILED, f"C-ECHO answered with status {command.status:#06x} ({meaning})")

    def _release(self, outcome: Outcome, detail: str) -> bytes:
        self._find(outcome, detail)
        self.phase = Phase.RELEASING
        return pdu.RELEASE_REQUEST

    def _close(self, outcome: Outcome, detail: str, *, say: bytes = b"") -> bytes:
        self._find(outcome, detail)
        self.phase = Phase.CLOSED
        return say

    def _find(self, outcome: Outcome, detail: str) -> None:
        if self.outcome is None:
            self.outcome, self.detail = outcome, detail
        else:
            self.detail += f"; then {detail}"


async def probe_dicom_echo(target: Target, *, calling_ae: str, called_ae: str) -> ProbeResult:
    """Associate, echo, release. The latency is that of the echo alone: request handed to the kernel, response whole."""
    echo = DicomEcho(calling_ae=calling_ae, called_ae=called_ae)
    try:
        async with await dial(target) as wire:
            latency_s = await _converse(wire, echo)
    except WireError as error:
        return error.result
    return ProbeResult(outcome=echo.outcome or Outcome.FAILED, detail=echo.detail, latency_s=latency_s)


async def _converse(wire: Wire, echo: DicomEcho) -> float | None:
    """Carry the conversation to its end and return the seconds the server took for the echo, if it answered it."""
    now = asyncio.get_running_loop().time
    words = echo.open()
    asked_at = latency_s = None
    try:
        while echo.phase is not Phase.CLOSED:
            if asked_at is None and echo.phase is Phase.ECHOING:
                asked_at = now()
            words = await _take_turn(wire, echo, words)
            if latency_s is None and asked_at is not None and echo.is_answered:
                latency_s = now() - asked_at
    except asyncio.CancelledError:
        wire.send_last(pdu.ABORT)
        raise
    wire.send_last(words)
    return latency_s


async def _take_turn(wire: Wire, echo: DicomEcho, words: bytes) -> bytes:
    """Say the words, listen, and return what to say next."""
    is_leaving = echo.phase is Phase.RELEASING
    by = wire.schedule.release_by if is_leaving else wire.schedule.answer_by
    try:
        await wire.send(words, step=echo.phase, by=by)
        return echo.receive(await wire.receive(step=echo.phase, by=by))
    except WireError as error:
        return echo.give_up(error.outcome, error.detail)

"""The TCP probe: a handshake, closed in order."""

from __future__ import annotations

from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.probes.dial import WireError, dial
from lbctl.probes.port import Target


async def probe_tcp(target: Target) -> ProbeResult:
    """Connect and take leave. Whatever the server says first (a banner) is read and thrown away, so that it sees a FIN
    and never a reset. The latency is that of the handshake."""
    try:
        async with await dial(target) as wire:
            return ProbeResult(
                outcome=Outcome.HEALTHY, detail=f"port {target.port} accepts connections", latency_s=wire.connect_s
            )
    except WireError as error:
        return error.result

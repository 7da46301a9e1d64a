"""``lbctl status --traffic``: what went through, what came back past the director, and how handshakes go."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lbctl.cli.render import amount, latency
from lbctl.cli.tables import Column, print_table
from lbctl.daemon.models import BackendStatus, ServiceStatus, Status, TrafficStatus


def print_traffic(found: Status, out: Console) -> None:
    """Of the services, then of the backends, pool by pool."""
    _services(found.services, out)
    for pool in found.pools:
        out.print()
        out.print(Text(f"pool {pool.name} ({pool.kind})", "bold"))
        _backends(pool.backends, out)
    out.print()
    out.print(
        Text(
            "SENT, RETURNED: bytes of TCP payload, by the clients' sequence numbers and acknowledgements.\n"
            "REPEATED: SYNs sent again. UNFINISHED: handshakes that were not completed in half a minute.\n"
            "MEDIAN, 95 %: what handshakes of the last minute took, the client's way included.",
            "dim",
        )
    )


def _services(rows: Sequence[ServiceStatus], out: Console) -> None:
    denied = [str(row.denied) for row in rows]
    columns = [
        Column(heading="SERVICE", cells=[row.name for row in rows]),
        *_progress(rows),
        Column(heading="DENIED", cells=denied, is_number=True),
    ]
    print_table(out, columns)


def _backends(rows: Sequence[BackendStatus], out: Console) -> None:
    shakes = [row.handshakes for row in rows]
    columns = [
        Column(heading="BACKEND", cells=[row.name for row in rows]),
        *_progress(rows),
        Column(heading="BEGUN", cells=[str(each.begun) for each in shakes], is_number=True, rank=2),
        Column(heading="REPEATED", cells=[str(each.repeated) for each in shakes], is_number=True, rank=1),
        Column(heading="UNFINISHED", cells=[str(each.unfinished) for each in shakes], is_number=True),
        Column(heading="MEDIAN", cells=[latency(each.median_s) for each in shakes], is_number=True),
        Column(heading="95 %", cells=[latency(each.p95_s) for each in shakes], is_number=True, rank=1),
    ]
    print_table(out, columns)


def _progress(rows: Sequence[TrafficStatus]) -> tuple[Column, ...]:
    return (
        Column(heading="CONNECTIONS", cells=[str(row.new_connections) for row in rows], is_number=True, rank=3),
        Column(heading="SENT", cells=[amount(row.sent_bytes) for row in rows], is_number=True),
        Column(heading="SENT/S", cells=[amount(row.sent_per_s) for row in rows], is_number=True),
        Column(heading="RETURNED", cells=[amount(row.returned_bytes) for row in rows], is_number=True),
        Column(heading="RETURNED/S", cells=[amount(row.returned_per_s) for row in rows], is_number=True),
    )

"""Events of all kinds."""

from __future__ import annotations

from datetime import UTC, datetime

from lbctl.daemon.models import EventStatus


def events() -> tuple[EventStatus, ...]:
    """A new flow, and two drops: one of a tagged frame, one of no IP packet."""
    common = {"time": datetime(2026, 3, 1, 14, 3, 22, 123_456, UTC), "interface": "eth0", "frame_bytes": 74, "lost": 0}
    tcp = {"protocol": "tcp", "source_port": 41022, "destination_port": 104, "details": "[S]"}
    return (
        EventStatus.model_validate(
            common
            | tcp
            | {
                "source": "192.0.2.50",
                "destination": "192.0.2.100",
                "kind": "flow",
                "reason": "first_ack",
                "vlans": (20,),
            }
            | {"service": "pacs", "backend": "archives/pacs1"}
        ),
        EventStatus.model_validate(
            common
            | tcp
            | {"source": "2001:db8::50", "destination": "fd00::64", "kind": "drop", "reason": "denied"}
            | {"vlans": (100, 20), "service": "pacs", "backend": None}
        ),
        EventStatus.model_validate(
            common
            | {"protocol": "frame", "source": None, "source_port": None, "destination": None, "destination_port": None}
            | {
                "details": "truncated",
                "kind": "drop",
                "reason": "malformed",
                "vlans": (),
                "service": None,
                "backend": None,
            }
            | {"lost": 7}
        ),
    )

"""What the control API says, as pydantic models: the OpenAPI description and ``lbctl status --json`` come from these."""

from __future__ import annotations

from lbctl.daemon.models.base import MAX_NAME, Model
from lbctl.daemon.models.commands import Assignee, Assignment, Assignments, Done, Problem
from lbctl.daemon.models.status import (
    BackendStatus,
    ClaimStatus,
    ClassStatus,
    Count,
    DaemonStatus,
    FlowTableStatus,
    Handshakes,
    InterfaceStatus,
    MemoryStatus,
    PoolStatus,
    ReasonCount,
    ServiceState,
    ServiceStatus,
    Status,
    TrafficStatus,
)
from lbctl.daemon.models.traffic import EventStatus, Flows, FlowStatus

__all__ = [
    "MAX_NAME",
    "Assignee",
    "Assignment",
    "Assignments",
    "BackendStatus",
    "ClaimStatus",
    "ClassStatus",
    "Count",
    "DaemonStatus",
    "Done",
    "EventStatus",
    "FlowStatus",
    "FlowTableStatus",
    "Flows",
    "Handshakes",
    "InterfaceStatus",
    "MemoryStatus",
    "Model",
    "PoolStatus",
    "Problem",
    "ReasonCount",
    "ServiceState",
    "ServiceStatus",
    "Status",
    "TrafficStatus",
]

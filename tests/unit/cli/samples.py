"""A status in which everything occurs that can: all conditions, all manners of pools, alarms, a refused service and file."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from lbctl.core.targets import Host, OneBackend, Target, WholePool
from lbctl.daemon.models import (
    Assignment,
    Assignments,
    BackendStatus,
    DaemonStatus,
    Flows,
    FlowStatus,
    FlowTableStatus,
    Handshakes,
    InterfaceStatus,
    MemoryStatus,
    PoolStatus,
    ReasonCount,
    ServiceStatus,
    Status,
    TargetBackend,
    TargetStatus,
)

VIP = IPv4Address("192.0.2.100")
REASONS = {
    "up": "port 104 accepts connections",
    "busy": "association rejected: local limit exceeded (02/03/02)",
    "full": "all 10 connections are taken; new ones again from 8 down",
    "misconfigured": "association rejected: called AE title not recognised; set called_ae",
    "draining": "drained by an operator",
    "halted": "halted by an operator",
    "standby": "takes over if feed1 fails",
    "removed": "no longer in the file; its connections go on until they end",
    "unknown": "not probed yet",
    "unresolved": "192.0.2.18 does not answer ARP (its entry is failed)",
    "down": "VIP not accepted: 192.0.2.19:104 answers at the real address, but not for 192.0.2.100; "
    "put 192.0.2.100 on the backend's loopback",
}
COUNTS = {
    "established": ReasonCount(packets=6_900_000, bytes=8_600_000_000, recent_packets=70_000),
    "over_budget": ReasonCount(packets=900, bytes=36_000, recent_packets=900),
    "arp_reply": ReasonCount(packets=12, bytes=0, recent_packets=1),
    "wrong_port": ReasonCount(packets=4, bytes=240, recent_packets=4),
    "turned_away": ReasonCount(packets=2, bytes=120, recent_packets=2),
    "loop_backend": ReasonCount(packets=31, bytes=1860, recent_packets=12),
    "unresolved": ReasonCount(packets=1, bytes=60, recent_packets=1),
    "lost_fragment": ReasonCount(packets=3, bytes=4500, recent_packets=3),
    "malformed": ReasonCount(packets=7, bytes=420, recent_packets=7),
    "no_backend": ReasonCount(packets=5, bytes=300, recent_packets=0),
}


def handshakes(number: int, *, is_timed: bool = True, **changes: object) -> Handshakes:
    """Some were begun again, and one was not completed."""
    fields = {
        "begun": 1234 * number + 1,
        "completed": 1234 * number,
        "repeated": 3,
        "repeated_recently": 1,
        "unfinished": 1,
        "unfinished_recently": 0,
        "median_s": 0.00041 * number if is_timed else None,
        "p95_s": 0.0123 * number if is_timed else None,
    }
    return Handshakes.model_validate(fields | changes)


def backend(state: str, number: int, **changes: object) -> BackendStatus:
    """A backend in that state; ``number`` makes its name, address and counters."""
    takes_new = state in ("up", "busy", "misconfigured")
    fields = {
        "name": f"pacs{number}",
        "address": IPv4Address(f"192.0.2.{10 + number}"),
        "mac": None if state == "unknown" else f"02:00:c0:00:02:{10 + number:02x}",
        "state": state,
        "reason": REASONS[state],
        "since_s": 3.7 * 5**number,
        "probe_latency_s": 0.0012 if takes_new else None,
        "weight": 100,
        "given_weight": None,
        "weight_declared_then": None,
        "slow_start_percent": None,
        "effective_weight": 100.0 if takes_new else 0.0,
        "share": 1 / 3 if takes_new else 0.0,
        "capacity_percent": 100,
        "agent": None,
        "flows": 4 * number,
        "connections": 3 * number,
        "connection_limit": None,
        "resume_at": None,
        "new_connections": 1234 * number,
        "packets": 987_654 * number,
        "bytes": 1_234_567_890 * number,
        "returned_bytes": 9_876_543_210 * number,
        "sent_bytes": 1_200_000_000 * number,
        "returned_per_s": 12_500_000.0 if takes_new else 0.0,
        "sent_per_s": 1_250_000.0 if takes_new else 0.0,
        "looped": 0,
        "looped_recently": 0,
        "handshakes": handshakes(number, is_timed=takes_new),
    }
    return BackendStatus.model_validate(fields | changes)


def pool(name: str, kind: str, *backends: BackendStatus, **changes: object) -> PoolStatus:
    """A pool that shares its connections by weight."""
    fields = {
        "name": name,
        "kind": kind,
        "policy": "balance",
        "active": None,
        "storage": None,
        "assigned_sources": None,
        "fallback": None,
        "on_empty": "reset",
        "backends": backends,
        "classes": (),
    }
    return PoolStatus.model_validate(fields | changes)


def archives() -> PoolStatus:
    """Most of the states, in a pool with private storage and a limit on one backend."""
    return pool(
        "archives",
        "archive",
        backend("up", 1, agent="agent: up", connections=7, connection_limit=10, resume_at=8),
        backend("busy", 2, agent="25 %", effective_weight=25.0, share=0.1111),
        backend("full", 3, connections=10, connection_limit=10, resume_at=8),
        backend("misconfigured", 4),
        backend("draining", 5, agent="agent silent"),
        backend("halted", 6, connections=0),
        backend("unknown", 7),
        backend("unresolved", 8),
        backend("down", 9, looped=31, looped_recently=12),
        storage="private",
        assigned_sources=40,
    )


def pools() -> tuple[PoolStatus, ...]:
    """One of each manner: private storage, failover, one that lives on its fallback, and that fallback."""
    active = backend("up", 1, name="feed1", share=1.0)
    standby = backend("standby", 2, name="feed2", connections=0)
    return (
        archives(),
        pool("feeds", "hl7", active, standby, policy="failover", active="feed1"),
        pool("portal", "web", backend("halted", 1, name="web1"), fallback="spare", on_empty="drop"),
        pool("spare", "web", backend("up", 2, name="page1", share=1.0)),
    )


def service(name: str, **changes: object) -> ServiceStatus:
    """An active service."""
    fields = {
        "name": name,
        "vip": VIP,
        "ports": (104, 11112),
        "protocol": "tcp",
        "pool": "archives",
        "interface": "eth0",
        "announce": "arp",
        "allow": (),
        "denied": 0,
        "denied_recently": 0,
        "state": "active",
        "reason": "",
        "new_connections": 8638,
        "packets": 6_913_578,
        "bytes": 8_641_975_230,
        "returned_bytes": 75_000_000_000,
        "sent_bytes": 8_400_000_000,
        "returned_per_s": 25_000_000.0,
        "sent_per_s": 2_500_000.0,
    }
    return ServiceStatus.model_validate(fields | changes)


def status(**changes: object) -> Status:
    """The whole of it."""
    interface = {
        "name": "eth0",
        "address": IPv4Interface("192.0.2.10/24"),
        "address6": None,
        "vlans": (),
        "device": "eth0",
        "mac": "02:00:c0:00:02:0a",
    }
    refused = service(
        "worklist",
        vip=IPv4Address("192.0.2.101"),
        ports=(104,),
        state="refused",
        reason="02:00:c0:00:02:63 already answers for 192.0.2.101",
        new_connections=0,
        packets=0,
        bytes=0,
        returned_bytes=0,
        sent_bytes=0,
    )
    fields = {
        "daemon": DaemonStatus(
            version="0.1.0",
            pid=4711,
            uptime_s=93784.0,
            config="/etc/lbctl/lbctl.yaml",
            config_error="/etc/lbctl/lbctl.yaml:7:5: service pacs: unknown key 'prset'\n  hint: did you mean 'preset'?",
            warnings=("interface eth0 has no IPv4 address, but the file says 192.0.2.10/24",),
            last_error="writing a map entry: No space left on device",
            generation=42,
        ),
        "interfaces": (
            InterfaceStatus.model_validate(
                interface
                | {
                    "mode": "generic",
                    "fallback_reason": "the driver says: Operation not supported",
                    "attached": True,
                }
            ),
        ),
        "services": (service("pacs"), refused),
        "pools": pools(),
        "removed": (backend("removed", 10, name="archives/pacs10", since_s=None, weight=0),),
        "claims": (),
        "removed_vips": (IPv4Address("192.0.2.109"),),
        "flow_table": FlowTableStatus(live=1234, capacity=196608, fullest=0.95, age_s=3.2),
        "memory": MemoryStatus(daemon_anonymous=53_600_000, bpf_maps=38_900_000),
        "reasons": COUNTS,
    }
    return Status.model_validate(fields | changes)


def target(of: Target) -> TargetStatus:
    """Two empty backends on a host, or one."""
    pools = (of.pool,) if isinstance(of, OneBackend | WholePool) else ("archives", "portal")
    address = of.address if isinstance(of, Host) else IPv4Address("192.0.2.11")
    rows = tuple(target_backend(pool, "pacs1", address=address) for pool in pools)
    return TargetStatus(backends=rows, swept_s=0.5)


def target_backend(pool: str, name: str, **changes: object) -> TargetBackend:
    """Drained, and nobody is connected."""
    fields = {
        "pool": pool,
        "name": name,
        "address": IPv4Address("192.0.2.11"),
        "state": "draining",
        "reason": "drained by an operator",
        "override": "drained",
        "slow_start_percent": None,
        "takes_new": False,
        "connections": 0,
        "half_open": 0,
        "udp_flows": None,
    }
    return TargetBackend.model_validate(fields | changes)


def flows() -> Flows:
    """Two connections, and more that were not asked for."""
    common = {"protocol": "tcp", "vip": VIP, "vip_port": 104, "client_port": 40000}
    rows = (
        FlowStatus.model_validate(
            common
            | {"client": IPv4Address("192.0.2.201"), "backend": "archives/pacs1", "idle_s": 0.4, "state": "open"}
            | {"returned_bytes": 5_300_000, "sent_bytes": 1234}
        ),
        FlowStatus.model_validate(
            common
            | {
                "client": IPv4Address("192.0.2.202"),
                "backend": "archives/pacs10 (removed)",
                "idle_s": 4000.0,
                "state": "closing",
                "returned_bytes": 0,
                "sent_bytes": 4_000_000_000,
            }
        ),
    )
    return Flows(flows=rows, truncated=True)


def assignments(of: str | None = None) -> Assignments:
    """Three sources of two pools, or those of one pool; not in order."""
    rows = (("images", "192.0.2.9", "b"), ("archives", "192.0.2.201", "pacs2"), ("archives", "192.0.2.33", "pacs10"))
    return Assignments(
        assignments=tuple(
            Assignment(pool=pool, source=IPv4Address(source), backend=name)
            for pool, source, name in rows
            if of in (None, pool)
        )
    )

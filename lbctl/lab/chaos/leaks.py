"""What the director's side takes of the machine: counted at the beginning and at the end, in like states."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab.daemon import Daemon

_MEMORY_SLACK_MB = 24.0
"""A daemon that has compiled, answered requests and met every code path is that much larger than one that has just begun."""
_DESCRIPTOR_SLACK = 8
"""Probes and requests under way have sockets."""
_THREAD_SLACK = min(32, (os.cpu_count() or 1) + 4)
"""Those of the event loop's executor, which stay once work was given to them (`concurrent.futures.ThreadPoolExecutor`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """One count of everything, by name; memory in MB."""

    counts: Mapping[str, float]

    def growth_over(self, before: Census) -> list[str]:
        """What has grown more than it may, in words."""
        return [
            f"{name}: {before.counts.get(name, 0):g} at the beginning, {count:g} at the end"
            for name, count in self.counts.items()
            if count > before.counts.get(name, 0) + allowed(name)
        ]


def allowed(name: str) -> float:
    """How much more at the end is no leak."""
    return {
        "daemon: memory, MB": _MEMORY_SLACK_MB,
        "daemon: sockets and files": _DESCRIPTOR_SLACK,
        "daemon: threads": _THREAD_SLACK,
    }.get(name, 0)


def count(daemon: Daemon) -> Census:
    """Of the running daemon, its pins, and the director's namespace."""
    kinds = _descriptors(daemon.pid)
    bpf = {kind: number for kind, number in kinds.items() if kind.startswith("bpf")}
    return Census(
        counts={
            "pins": len(list(daemon.pins.iterdir())),
            "daemon: BPF maps": bpf.get("bpf-map", 0),
            "daemon: BPF programs": bpf.get("bpf-prog", 0),
            "daemon: BPF links": bpf.get("bpf_link", 0),
            "daemon: sockets and files": kinds.total() - sum(bpf.values()),
            "daemon: threads": len(list(Path(f"/proc/{daemon.pid}/task").iterdir())),
            "daemon: memory, MB": round(_anonymous_bytes(daemon.pid) / 1e6, 1),
            "processes": _processes(daemon),
            **_of_namespace(daemon),
        }
    )


def _descriptors(pid: int) -> Counter[str]:
    """By kind: of BPF by its own, all others together."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed in the meantime
            continue
        kind = target.removeprefix("anon_inode:").strip("[]")
        found[kind if kind.startswith("bpf") else "other"] += 1
    return found


def _anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def _processes(daemon: Daemon) -> int:
    """Of the director's node: the daemon, and what it has started."""
    return len(daemon.node.run(["ip", "netns", "pids", daemon.node.namespace]).stdout.split()) - 1


def _of_namespace(daemon: Daemon) -> dict[str, float]:
    def lines(command: str, *, holding: str = "") -> int:
        return sum(holding in line for line in daemon.node.run(command.split()).stdout.splitlines())

    return {
        "rules": lines("ip rule show") + lines("ip -6 rule show"),
        "routes": lines("ip -N route show table all", holding="proto 108")
        + lines("ip -6 -N route show table all", holding="proto 108"),
        "neighbours": len(_managed(daemon) - _lingering(daemon)),
        "addresses": lines("ip -o address show"),
        "programs on interfaces": lines("ip -o link show", holding="prog/xdp"),
    }


def _managed(daemon: Daemon) -> set[str]:
    """The addresses that the kernel keeps resolved for lbctl."""
    said = [daemon.node.run(["ip", family, "neighbour", "show"]).stdout for family in ("-4", "-6")]
    return {line.split()[0] for text in said for line in text.splitlines() if "managed" in line}


def _lingering(daemon: Daemon) -> set[str]:
    """Those of servers that have connections still, and are in the file no more: they come and go with these."""
    status = daemon.status()
    declared = {row["address"] for pool in status["pools"] for row in pool["backends"]}
    return {row["address"] for row in status["removed"]} - declared

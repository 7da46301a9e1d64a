"""Mistakes of pools and backends: storage, policy and limits."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited, whole

_SHARED = "    storage: shared\n"
_KIND = "    kind: archive\n    storage: shared\n"

_HL7 = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
pools:
  engine:
    kind: hl7
    policy: §balance
    backends:
      engine1: {address: 192.0.2.21}
      engine2: {address: 192.0.2.22}
"""

_SYSLOG = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  audit: {vip: 192.0.2.101, ports: [514], protocol: udp, pool: auditors}
pools:
  auditors: {kind: other, check: {port: 6514}, POOL, backends: {a: {address: 192.0.2.21BACKEND}}}
"""


def _storage(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, "    storage: shared\n", f"    storage: {text}\n", says=says, hint=hint)


def _pool(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, "    backends:", f"    {text}\n    backends:", says=says, hint=hint)


def _backend(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, "192.0.2.12}", f"192.0.2.12, {text}}}", says=says, hint=hint)


ROWS: tuple[Wrong, ...] = (
    edited(
        "pool-empty",
        "    backends:\n      pacs1: {address: 192.0.2.11}\n      pacs2: {address: 192.0.2.12}\n",
        "    backends: §{}\n",
        says=("no backends",),
        hint="pacs1:",
    ),
    edited(
        "pool-all-weights-zero",
        "    backends:\n      pacs1: {address: 192.0.2.11}\n      pacs2: {",
        "    §backends:\n      pacs1: {address: 192.0.2.11, weight: 0}\n      pacs2: {weight: 0, ",
        says=("every backend has weight 0",),
        hint="lbctl drain",
    ),
    edited(
        "pool-kind-unknown", "kind: archive", "kind: §pacs", says=("'pacs' is unknown",), hint="archive, workstation"
    ),
    edited(
        "pool-reset-on-down-unknown-word",
        _SHARED,
        f"{_SHARED}    reset_on_down: §application\n",
        says=("reset_on_down", "'application'"),
        hint="never, transport",
    ),
    edited(
        "pool-storage-missing",
        f"  archives:\n{_KIND}",
        "  §archives:\n    kind: archive\n",
        says=("share their storage",),
        hint="'storage: private'",
    ),
    edited(
        "pool-storage-out-of-place",
        _KIND,
        "    kind: workstation\n    storage: §shared\n",
        says=("archives only",),
        hint="kind: archive",
    ),
    edited(
        "backend-weight-too-high",
        "192.0.2.11}",
        "192.0.2.11, weight: §257}",
        says=("257 is out of range",),
        hint="0 to 256",
    ),
    edited(
        "backend-weight-negative",
        "192.0.2.11}",
        "192.0.2.11, weight: §-1}",
        says=("-1 is out of range",),
        hint="0 to 256",
    ),
    edited(
        "backend-weight-fraction",
        "192.0.2.11}",
        "192.0.2.11, weight: §0.5}",
        says=("0.5 is not a whole number",),
        hint="0 to 256",
    ),
    edited(
        "backend-weight-boolean",
        "192.0.2.11}",
        "192.0.2.11, weight: §true}",
        says=("true is not a whole number",),
        hint="0 to 256",
    ),
    _storage("pool-storage-unknown", "§privat", says=("storage: 'privat' is unknown",), hint="'private'"),
    _storage(
        "pool-private-with-failover",
        "private\n    policy: §failover",
        says=("pool archives", "keeps to its own archive"),
        hint="'storage: shared'",
    ),
    _storage(
        "pool-reassign-unknown",
        "private\n    reassign: §always",
        says=("reassign", "'always'"),
        hint="never, removed or down",
    ),
    _pool(
        "pool-reassign-without-private",
        "reassign: §down",
        says=("pool archives", "'reassign'", "private storage only"),
        hint="'storage: private'",
    ),
    _pool("pool-policy-unknown", "policy: §fail-over", says=("policy", "'fail-over'"), hint="'failover'"),
    _pool(
        "pool-failback-without-failover",
        "failback: §automatic",
        says=("pool archives", "'failback'", "policy is balance"),
        hint="'policy: failover'",
    ),
    _pool(
        "pool-failback-unknown",
        "policy: failover\n    failback: §auto",
        says=("failback", "'auto' is unknown"),
        hint="'automatic'",
    ),
    whole(
        "pool-hl7-balanced",
        _HL7,
        says=("pool engine", "HL7 messages are ordered", "2 receivers"),
        hint="'policy: failover'; if the order does not matter, 'kind: other'",
    ),
    _pool("pool-on-empty-unknown", "on_empty: §refuse", says=("on_empty", "'refuse'"), hint="'reset'"),
    _pool("pool-limit-zero", "connection_limit: §0", says=("connection_limit: 0 is out of range",), hint="from 1 to"),
    _pool("pool-limit-as-text", "connection_limit: §'10'", says=("'10' is text",), hint="remove the quotes"),
    whole(
        "pool-limit-of-udp",
        _SYSLOG.replace("POOL", "connection_limit: §10").replace("BACKEND", ""),
        says=("pool auditors", "counts TCP connections", "are UDP"),
        hint="'weight'",
    ),
    whole(
        "backend-limit-of-udp",
        _SYSLOG.replace("POOL, ", "").replace("BACKEND", ", connection_limit: §10"),
        says=("backend auditors/a", "counts TCP connections"),
        hint="remove it",
    ),
    _pool(
        "pool-resume-without-limit",
        "resume_at: §8",
        says=("pool archives", "'resume_at' means nothing"),
        hint="'connection_limit:'",
    ),
    _pool(
        "pool-resume-at-the-limit",
        "connection_limit: 10\n    resume_at: §10",
        says=("pool archives", "resume_at 10 is not below the connection limit 10"),
        hint="9 or less",
    ),
    _pool("pool-resume-negative", "connection_limit: 10\n    resume_at: §-1", says=("-1 is out of",), hint="from 0"),
    _backend(
        "backend-limit-fraction", "connection_limit: §2.5", says=("archives/pacs2", "2.5 is not"), hint="from 1 to"
    ),
    _backend(
        "backend-resume-without-limit",
        "resume_at: §3",
        says=("backend archives/pacs2", "'resume_at' means nothing"),
        hint="remove it",
    ),
    _backend(
        "backend-resume-above-the-limit",
        "connection_limit: 5, resume_at: §6",
        says=("backend archives/pacs2", "resume_at 6 is not below the connection limit 5"),
        hint="4 or less",
    ),
    edited(
        "backend-limit-below-the-resume-of-its-pool",
        "    backends:\n      pacs1: {address: 192.0.2.11}\n      pacs2: {",
        "    connection_limit: 10\n    resume_at: 8\n    backends:\n      pacs1: {address: 192.0.2.11}\n"
        "      pacs2: {connection_limit: §5, ",
        says=("backend archives/pacs2", "resume_at 8", "limit 5", "the pool's"),
        hint="of its own, 4 or less",
    ),
)

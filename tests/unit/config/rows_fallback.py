"""Mistakes of pools that nobody uses, and of pools that fall back on others."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited, whole

_SPARE = "  spare: {kind: archive, storage: shared, backends: {old: {address: 192.0.2.30}}}\n"


def _fallback(id_: str, spare: str, *, says: tuple[str, ...], hint: str, owner: str = "storage: shared") -> Wrong:
    """The archives fall back on a pool of these keys, and the place is where they say so."""
    pools = f"pools:\n  spare: {{{spare}, backends: {{old: {{address: 192.0.2.30}}}}}}\n"
    file = f"""\
interfaces: {{eth0: {{address: 192.0.2.10/24}}}}
services: {{pacs: {{vip: 192.0.2.100, preset: dicom, pool: archives}}}}
{pools}\
  archives:
    kind: archive
    {owner}
    fallback: §spare
    backends: {{pacs1: {{address: 192.0.2.11}}, pacs2: {{address: 192.0.2.12}}}}
"""
    return whole(id_, file, says=says, hint=hint)


def _named(id_: str, name: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """The fallback of the good file's pool, which a second service names as well, so that only the name is wrong."""
    services = "    pool: archives\n  old:\n    vip: 192.0.2.101\n    preset: dicom\n    pool: spare\npools:\n"
    return edited(
        id_,
        "    pool: archives\npools:\n  archives:\n",
        f"{services}{_SPARE}  archives:\n    fallback: §{name}\n",
        says=says,
        hint=hint,
    )


_HL7 = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
pools:
  engine: {kind: hl7, POLICYfallback: §spare, backends: {engine1: {address: 192.0.2.21}}}
  spare: {kind: hl7, policy: balance, backends: {engine2: {address: 192.0.2.22}}}
"""

_UDP = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  audit: {vip: 192.0.2.101, ports: [514], protocol: udp, pool: auditors}
pools:
  auditors: {kind: other, check: {port: 6514}, fallback: spare, backends: {a: {address: 192.0.2.21}}}
  §spare: {kind: other, backends: {b: {address: 192.0.2.22}}}
"""

_ARCHIVE = "kind: archive, storage: shared"

ROWS: tuple[Wrong, ...] = (
    edited(
        "pool-unused",
        "pools:\n",
        "pools:\n  §spare: {kind: other, backends: {a: {address: 192.0.2.30}}}\n",
        says=("pool spare", "no service"),
        hint="pool: spare",
    ),
    edited(
        "pool-unused-that-falls-back-on-a-used-one",
        "pools:\n",
        "pools:\n  §spare: {kind: workstation, fallback: archives, backends: {a: {address: 192.0.2.30}}}\n",
        says=("pool spare", "no service uses"),
        hint="as the 'fallback' of a pool",
    ),
    _named("fallback-unknown", "spar", says=("pool archives", "'spar' is not declared"), hint="'spare'"),
    _named("fallback-unlike-any", "zzz", says=("'zzz' is not declared",), hint="under 'pools:'"),
    _named("fallback-is-itself", "archives", says=("pool archives", "its own fallback"), hint="another pool"),
    _named("fallback-is-a-list", "[spare]", says=("fallback must be a single word",), hint="brackets"),
    _fallback(
        "fallback-with-failover",
        _ARCHIVE,
        owner="storage: shared\n    policy: failover",
        says=("pool archives", "policy failover has no fallback"),
        hint="last in order",
    ),
    whole(
        "fallback-with-failover-by-default",
        _HL7.replace("POLICY", ""),
        says=("pool engine", "policy failover (the default of its kind)"),
        hint="into this pool, last in order",
    ),
    whole(
        "fallback-of-ordered-messages",
        _HL7.replace("POLICY", "policy: balance, "),
        says=("pool engine", "HL7 messages are ordered"),
        hint="'policy: failover'",
    ),
    _fallback(
        "fallback-with-private-storage",
        _ARCHIVE,
        owner="storage: private",
        says=("pool archives", "studies would be elsewhere"),
        hint="'reassign'",
    ),
    _fallback(
        "fallback-on-private-storage",
        "kind: archive, storage: private",
        says=("pool archives", "pool spare cannot be a fallback", "private"),
        hint="'storage: shared'",
    ),
    _fallback(
        "fallback-on-failover",
        f"{_ARCHIVE}, policy: failover",
        says=("pool archives", "pool spare cannot be a fallback", "policy is failover"),
        hint="give pool archives 'policy: failover'",
    ),
    _fallback(
        "fallback-of-another-kind",
        "kind: web",
        says=("its kind is web", "preset dicom of service pacs"),
        hint="archive or workstation",
    ),
    whole(
        "fallback-of-udp-without-check-port",
        _UDP,
        says=("pool spare", "UDP services needs a check with a port"),
        hint="{type: tcp, port: …}",
    ),
    edited(
        "fallback-of-a-fallback",
        "pools:\n  archives:\n",
        "  old: {vip: 192.0.2.101, preset: dicom, pool: third}\npools:\n"
        "  spare: {kind: archive, storage: shared, fallback: §third, backends: {a: {address: 192.0.2.30}}}\n"
        "  third: {kind: archive, storage: shared, backends: {a: {address: 192.0.2.31}}}\n"
        "  archives:\n    fallback: spare\n",
        says=("pool spare", "'fallback' would never be followed"),
        hint="the service's pool",
    ),
    edited(
        "on-empty-of-a-fallback",
        "pools:\n  archives:\n",
        "pools:\n"
        "  spare: {kind: archive, storage: shared, on_empty: §drop, backends: {a: {address: 192.0.2.30}}}\n"
        "  archives:\n    fallback: spare\n",
        says=("pool spare", "'on_empty' would never be followed"),
        hint="the service's pool",
    ),
    edited(
        "classes-of-a-fallback",
        "pools:\n  archives:\n",
        "classes: {scanners: {ports: [104]}}\npools:\n"
        "  spare: {kind: archive, storage: shared, classes: §{scanners: {a: 5}}, backends: {a: {address: 192.0.2.30}}}\n"
        "  archives:\n    fallback: spare\n",
        says=("pool spare", "'classes' would never be followed"),
        hint="the service's pool",
    ),
)

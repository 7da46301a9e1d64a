"""Mistakes of classes of connections, and of the pools that share them."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited, whole

_SCANNERS = "{sources: [10.20.0.0/16]}"


def _classes(id_: str, classes: str, weights: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """The good file's pool with classes of its own, after those at top level."""
    return edited(
        id_,
        "pools:\n  archives:\n",
        f"classes:\n{classes}\npools:\n  archives:\n    classes:\n{weights}\n",
        says=says,
        hint=hint,
    )


def _class(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """One class, which the pool shares in a good way."""
    return _classes(id_, f"  {text}", "      scanners: {pacs1: 5}", says=says, hint=hint)


def _weights(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """A good class, and how the pool shares it."""
    return _classes(id_, f"  scanners: {_SCANNERS}", f"      {text}", says=says, hint=hint)


def _two(id_: str, first: str, second: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    """Two classes that the pool shares."""
    weights = "      first: {pacs1: 5}\n      §second: {pacs2: 5}"
    return _classes(id_, f"  first: {first}\n  second: {second}", weights, says=says, hint=hint)


_ENGINE = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
classes: {wards: {sources: [10.20.0.0/16]}}
pools:
  engine: {kind: hl7, POLICYclasses: §{wards: {engine1: 5}}, backends: {engine1: {address: 192.0.2.21}}}
"""

_NOT_LET_IN = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  pacs: {vip: 192.0.2.100, preset: dicom, pool: archives, allow: [10.0.0.0/8]}
  web: {vip: 192.0.2.100, preset: https, pool: archives}
classes: {scanners: {sources: [172.16.0.0/12], ports: [104]}}
pools:
  archives:
    kind: archive
    storage: shared
    classes: {§scanners: {pacs1: 5}}
    backends: {pacs1: {address: 192.0.2.11}}
"""

_CROWDED = (
    "interfaces: {eth0: {address: 192.0.2.10/24}}\n§services:\n"
    + "".join(
        f"  s{number}: {{vip: 192.0.2.100, ports: [{number}], pool: p, allow: [198.51.100.{number}, 10.0.0.0/8]}}\n"
        for number in range(1, 66)
    )
    + f"classes: {{c: {{sources: [{', '.join(f'10.0.{n // 256}.{n % 256}' for n in range(1_000))}]}}}}\n"
    + "pools: {p: {kind: other, classes: {c: {a: 5}}, backends: {a: {address: 192.0.2.11}}}}\n"
)

ROWS: tuple[Wrong, ...] = (
    _class("class-is-a-list", "scanners: §[10.20.0.0/16]", says=("class scanners", "not a list"), hint="sources: …"),
    _class(
        "class-key-unknown", "scanners: {§source: [10.20.0.0/16], ports: [104]}", says=("'source'",), hint="'sources'"
    ),
    _class(
        "class-of-everything", "§scanners: {}", says=("class scanners: neither 'sources' nor 'ports'",), hint="add one"
    ),
    _class(
        "class-name-invalid",
        "§CT scanners: {ports: [104]}\n  scanners: {ports: [104]}",
        says=("not a name",),
        hint="A-Z",
    ),
    _class(
        "class-sources-empty", "scanners: {sources: §[]}", says=("sources: the list of prefixes",), hint="ports alone"
    ),
    _class(
        "class-source-host-bits",
        "scanners: {sources: §[10.20.0.1/16]}",
        says=("class scanners: sources: '10.20.0.1/16' has bits",),
        hint="write 10.20.0.0/16",
    ),
    _class(
        "class-sources-not-a-list",
        "scanners: {sources: §10.20.0.0/16}",
        says=("is not a list of",),
        hint="[10.20.0.0/16]",
    ),
    _class(
        "class-source-twice", "scanners: {sources: §[10.2.0.0/16, 10.2.0.0/16]}", says=("listed twice",), hint="once"
    ),
    _class("class-ports-empty", "scanners: {ports: §[]}", says=("ports: the list of ports",), hint="sources alone"),
    _class("class-port-zero", "scanners: {ports: §[0]}", says=("class scanners: ports: 0 is",), hint="1 to 65535"),
    edited(
        "class-unused",
        "pools:\n",
        f"classes:\n  §scanners: {_SCANNERS}\npools:\n",
        says=("class scanners", "no pool shares"),
        hint="classes: {scanners: {…}}",
    ),
    edited(
        "classes-without-value",
        "pools:\n",
        "§classes:\npools:\n",
        says=("classes has no value",),
        hint="remove the line",
    ),
    edited(
        "classes-are-a-word",
        "pools:\n",
        "classes: §all\npools:\n",
        says=("must be a block",),
        hint="scanners: {sources",
    ),
    edited(
        "classes-in-a-service",
        "    preset:",
        "    §classes: {}\n    preset:",
        says=("service pacs: unknown key 'classes'",),
        hint="in the pool",
    ),
    edited(
        "class-not-declared",
        "    backends:",
        "    classes: {§scanners: {pacs1: 5}}\n    backends:",
        says=("pool archives: class 'scanners' is not declared",),
        hint="under 'classes:', at top level",
    ),
    _weights(
        "class-misspelt-in-a-pool",
        "scanners: {pacs1: 5}\n      §scaners: {pacs1: 5}",
        says=("'scaners'",),
        hint="'scanners'",
    ),
    _weights("class-without-weights", "§scanners: {}", says=("class scanners has no weights",), hint="'{pacs1: 0}'"),
    _weights(
        "class-weights-not-a-block",
        "scanners: §5",
        says=("pool archives: classes.scanners must be",),
        hint="pacs1: 200",
    ),
    _weights(
        "class-weights-a-list", "scanners: §[pacs1]", says=("must be a block of keys, not a list",), hint="pacs1: 200"
    ),
    _weights(
        "class-weight-too-high",
        "scanners: {pacs1: §257}",
        says=("pool archives: classes.scanners.pacs1: 257 is out of range",),
        hint="0 to 256",
    ),
    _weights("class-weight-fraction", "scanners: {pacs1: §1.5}", says=("1.5 is not a whole number",), hint="0 to 256"),
    _weights(
        "class-backend-unknown",
        "scanners: {§pasc1: 5}",
        says=("pool archives: class scanners: backend 'pasc1' is not in this pool",),
        hint="'pacs1'",
    ),
    _weights("class-backend-unlike-any", "scanners: {§zz: 5}", says=("backend 'zz'",), hint="a backend of this pool"),
    _weights(
        "class-all-weights-zero",
        "§scanners: {pacs1: 0, pacs2: 0}",
        says=("pool archives: class scanners has weight 0 at every backend",),
        hint="above 0",
    ),
    edited(
        "class-with-failover",
        "pools:\n  archives:\n",
        f"classes: {{scanners: {_SCANNERS}}}\n"
        "pools:\n  archives:\n    policy: failover\n    classes: §{scanners: {pacs1: 5}}\n",
        says=("pool archives: a pool with policy failover has no classes",),
        hint="'policy: balance'",
    ),
    whole(
        "class-with-failover-by-default",
        _ENGINE.replace("POLICY", ""),
        says=("pool engine", "policy failover (the default of its kind) has no classes"),
        hint="remove them",
    ),
    _classes(
        "class-of-other-ports",
        "  scanners: {ports: [2575]}",
        "      §scanners: {pacs1: 5}",
        says=("pool archives: class scanners can never match", "none of its ports (2575)"),
        hint="their ports are 104, 11112",
    ),
    _classes(
        "class-of-the-other-family",
        "  scanners: {sources: [2001:db8:20::/48]}",
        "      §scanners: {pacs1: 5}",
        says=("pool archives: class scanners has no IPv4 source",),
        hint="add an IPv4 prefix",
    ),
    whole(
        "class-that-no-service-lets-in",
        _NOT_LET_IN,
        says=("pool archives: class scanners can never match", "lets any of its sources in"),
        hint="'allow'",
    ),
    _two(
        "classes-of-one-prefix",
        "{sources: [10.20.0.0/16, 192.0.2.7]}",
        "{sources: [10.30.0.0/16, 192.0.2.7/32]}",
        says=("classes first (line", "and second both have connections from 192.0.2.7/32"),
        hint="a longer prefix",
    ),
    _two(
        "classes-of-one-prefix-and-port",
        "{sources: [10.20.0.0/16], ports: [104]}",
        "{sources: [10.20.0.0/16], ports: [11112, 104]}",
        says=("from 10.20.0.0/16 to the same ports",),
        hint="name its ports",
    ),
    _two(
        "classes-of-one-port",
        "{ports: [104]}",
        "{ports: [104], sources: [0.0.0.0/0]}",
        says=("both have connections from any source",),
        hint="a longer prefix",
    ),
    whole(
        "classes-beyond-room",
        _CROWDED,
        says=("65130 IPv4 prefixes", "room for 65000"),
        hint="fewer, shorter prefixes",
    ),
)

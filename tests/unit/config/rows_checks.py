"""Mistakes of health checks and load agents."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited, whole


def _check(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, "    backends:", f"    check: {{{text}}}\n    backends:", says=says, hint=hint)


def _agent(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return edited(id_, "    backends:", f"    agent: {text}\n    backends:", says=says, hint=hint)


_SYSLOG = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  audit: {vip: 192.0.2.101, ports: [514], protocol: udp, pool: auditors}
pools:
  §auditors: {kind: other, backends: {a: {address: 192.0.2.21}}}
"""

ROWS: tuple[Wrong, ...] = (
    _check("check-http", "type: §http", says=("check type 'http' is not available yet",), hint="type: tcp"),
    _check("check-mllp", "type: §mllp", says=("check type 'mllp' is not available yet",), hint="type: tcp"),
    _check("check-type-unknown", "type: §dicom-eco", says=("'dicom-eco' is unknown",), hint="'dicom-echo'"),
    _check("check-port-out-of-range", "port: §70000", says=("check.port", "70000"), hint="1 to 65535"),
    _check("check-interval-without-unit", "interval: §5", says=("check.interval", "lacks a unit"), hint="5s"),
    _check("check-interval-too-short", "interval: §10ms", says=("10ms is out of range",), hint="200ms to 10m"),
    _check(
        "check-timeout-too-long", "timeout: §5s", says=("check timeout 5s", "interval 5s"), hint="shorten the timeout"
    ),
    _check("check-fall-zero", "fall: §0", says=("check.fall", "0 is out of range"), hint="1 to 20"),
    _check("check-rise-too-high", "rise: §21", says=("check.rise", "21 is out of range"), hint="1 to 20"),
    _check("check-ae-too-long", "called_ae: §A_TITLE_TOO_LONG_BY_FAR", says=("has 23 characters",), hint="1 to 16"),
    _check("check-ae-backslash", "called_ae: §'PACS\\1'", says=("title 'PACS\\1' has",), hint="no backslash"),
    _check("check-ae-control-character", 'called_ae: §"PACS\\t1"', says=("does not allow",), hint="control characters"),
    _check("check-ae-not-ascii", "called_ae: §RÖNTGEN", says=("does not allow",), hint="ASCII"),
    _check("check-ae-spaces", "calling_ae: §'   '", says=("check.calling_ae", "is empty"), hint="1 to 16"),
    _check("check-ae-is-a-number", "called_ae: §123", says=("123 is not text",), hint='"123"'),
    _check("check-ae-on-tcp", "type: tcp, called_ae: §PACS", says=("'called_ae' means nothing",), hint="dicom-echo"),
    _check("check-twice", "type: tcp}\n    §check: {port: 1", says=("'check'", "line 13"), hint="rename"),
    edited(
        "check-of-backend-timeout",
        "192.0.2.11}",
        "192.0.2.11, check: {timeout: §10s}}",
        says=("backend archives/pacs1", "check timeout 10s"),
        hint="interval",
    ),
    edited(
        "check-echo-through-tls",
        "    preset: dicom\n    pool: archives\npools:\n  archives:\n",
        "    preset: dicom-tls\n    pool: archives\npools:\n  archives:\n    check: {type: §dicom-echo}\n",
        says=("dicom-echo cannot speak TLS", "2762"),
        hint="type: tcp",
    ),
    whole("check-of-udp-without-port", _SYSLOG, says=("pool auditors", "UDP"), hint="{type: tcp, port: …}"),
    edited(
        "agent-without-port",
        "    backends:",
        "    §agent: {}\n    backends:",
        says=("the agent has no port",),
        hint="3333",
    ),
    _agent("agent-timeout-too-long", "{port: 3333, timeout: §1s}", says=("agent timeout 1s", "500ms"), hint="shorten"),
    _agent("agent-is-a-number", "§3333", says=("agent must be a block of keys",), hint="port: …"),
    edited(
        "agent-of-backend-without-port",
        "192.0.2.11}",
        "192.0.2.11, §agent: {interval: 1s}}",
        says=("backend archives/pacs1", "the agent has no port"),
        hint="3333",
    ),
    edited(
        "agent-of-backend-is-a-word",
        "192.0.2.11}",
        "192.0.2.11, agent: §off}",
        says=("backend archives/pacs1", "agent must be"),
        hint="agent: none",
    ),
)

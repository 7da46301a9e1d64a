"""Mistakes of services."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited

_PRESET = "    preset: dicom\n"

ROWS: tuple[Wrong, ...] = (
    edited(
        "service-pool-unknown",
        "    pool: archives",
        "    pool: §archive\n  pacs2:\n    vip: 192.0.2.101\n    preset: dicom\n    pool: archives",
        says=("service pacs", "'archive' is not declared"),
        hint="'archives'",
    ),
    edited(
        "service-preset-unknown", _PRESET, "    preset: §dicomm\n", says=("'dicomm' is not a preset",), hint="'dicom'"
    ),
    edited("service-preset-unlike-any", _PRESET, "    preset: §smtp\n", says=("'smtp'",), hint="'ports:' instead"),
    edited(
        "service-preset-and-ports",
        _PRESET,
        "    preset: dicom\n    ports: §[104]\n",
        says=("both 'preset' and 'ports'",),
        hint="remove",
    ),
    edited(
        "service-neither",
        f"  pacs:\n    vip: 192.0.2.100\n{_PRESET}",
        "  §pacs:\n    vip: 192.0.2.100\n",
        says=("neither 'preset' nor 'ports'",),
        hint="preset: dicom",
    ),
    edited(
        "service-preset-unfit",
        _PRESET,
        "    preset: §hl7\n",
        says=("preset hl7 does not fit pool archives",),
        hint="kind hl7",
    ),
    edited(
        "service-udp-with-tcp-preset",
        _PRESET,
        f"{_PRESET}    protocol: §udp\n",
        says=("dicom is tcp only",),
        hint="'ports:'",
    ),
    edited(
        "service-protocol-unknown",
        _PRESET,
        "    ports: [104]\n    protocol: §sctp\n",
        says=("'sctp' is unknown",),
        hint="tcp or udp",
    ),
    edited("service-port-zero", _PRESET, "    ports: §[0]\n", says=("0 is out of range",), hint="1 to 65535"),
    edited(
        "service-port-too-high",
        _PRESET,
        "    ports: §[104, 65536]\n",
        says=("65536 is out of range",),
        hint="1 to 65535",
    ),
    edited(
        "service-port-twice",
        _PRESET,
        "    ports: §[104, 11112, 104]\n",
        says=("port 104 is listed twice",),
        hint="once",
    ),
    edited("service-port-not-a-list", _PRESET, "    ports: §104\n", says=("104 is not a list",), hint="write [104]"),
    edited(
        "service-port-range", _PRESET, "    ports: §104-110\n", says=("'104-110' is not a list",), hint="single ports"
    ),
    edited(
        "service-port-as-text", _PRESET, '    ports: §["104"]\n', says=("text, not a number",), hint="remove the quotes"
    ),
    edited("service-ports-empty", _PRESET, "    ports: §[]\n", says=("list of ports is empty",), hint="at least one"),
    edited(
        "service-ports-beyond-room",
        f"services:\n  pacs:\n    vip: 192.0.2.100\n{_PRESET}",
        f"§services:\n  pacs:\n    vip: 192.0.2.100\n    ports: [{', '.join(map(str, range(1, 4_010)))}]\n",
        says=("4009 ports in all services",),
        hint="add a director",
    ),
    edited(
        "service-idle-without-unit",
        _PRESET,
        f"{_PRESET}    idle_timeout: §3600\n",
        says=("3600 lacks a unit",),
        hint="3600s",
    ),
    edited(
        "service-idle-unknown-unit",
        _PRESET,
        f"{_PRESET}    idle_timeout: §1 week\n",
        says=("'1 week' is not a duration",),
        hint="1d",
    ),
    edited(
        "service-idle-too-short",
        _PRESET,
        f"{_PRESET}    idle_timeout: §1s\n",
        says=("1s is out of range",),
        hint="10s to 7d",
    ),
    edited(
        "service-policy",
        _PRESET,
        f"{_PRESET}    §policy: failover\n",
        says=("service pacs", "unknown key 'policy'"),
        hint="in the pool",
    ),
    edited(
        "service-with-backends",
        _PRESET,
        f"{_PRESET}    §backends: {{}}\n",
        says=("unknown key 'backends'",),
        hint="'pool: NAME'",
    ),
)

"""The configuration file of this demonstration: four kinds of server behind one virtual address, a pool for each rule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lbctl.lab.archives import AE_TITLE, DICOM_PORT
from lbctl.lab.node import PREFIX_LENGTH
from lbctl.lab.topology import VIP, Lab

HL7_PORT, WEB_PORT, NEVER_PORT, LICENSED_PORT, REGIONAL_PORT = 2575, 8042, 8043, 8044, 8045
LIMIT = 10
ARCHIVES = ("pacs1", "pacs2", "pacs3")
ENGINES = ("engine1", "engine2")
SERVERS = ("server1", "server2", "server3")
HOSTS = (*ARCHIVES, *ENGINES, *SERVERS)
"""Who lives on the lab's backends, in their order."""

_TIMING = {"interval": "300ms", "timeout": "250ms", "fall": 2, "rise": 2}
_ECHO = {"type": "dicom-echo", "port": DICOM_PORT, "calling_ae": "LBCTL", "called_ae": AE_TITLE, **_TIMING}


def configuration(
    lab: Lab,
    *,
    archives: Iterable[str] = ARCHIVES,
    has_fallback: bool = True,
    weights: Mapping[str, int] | None = None,
) -> str:
    """The file (JSON is YAML): with other archives in their pool, without a fallback pool, or with other weights, if an
    act wants that."""
    addresses = {name: str(node.address) for name, node in zip(HOSTS, lab.backends, strict=True)}

    def pool(names: Iterable[str], check: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        given = weights or {}
        rows = {name: {"address": addresses[name], "weight": given.get(name, 100)} for name in names}
        return {"kind": "other", "check": dict(check), **more, "backends": rows}

    pools = {
        "archives": pool(archives, _ECHO, kind="archive", storage="shared"),
        "engines": pool(ENGINES, _tcp(HL7_PORT), kind="hl7"),
        "web": pool(SERVERS, _tcp(WEB_PORT)),
        "web-never": pool(SERVERS, _tcp(NEVER_PORT), reset_on_down="never"),
        "licensed": pool(SERVERS[:2], _tcp(LICENSED_PORT), connection_limit=LIMIT),
        "regional": pool(SERVERS, _tcp(REGIONAL_PORT), kind="archive", storage="private"),
    }
    if has_fallback:
        pools["licensed"]["fallback"] = "spare"
        pools["spare"] = pool(SERVERS[2:], _tcp(LICENSED_PORT))
    interfaces = {"eth0": {"address": f"{lab.director.address}/{PREFIX_LENGTH}"}}
    return json.dumps({"interfaces": interfaces, "services": _services(), "pools": pools}, indent=1)


def _services() -> dict[str, Any]:
    presets = {"pacs": ("dicom", "archives"), "feed": ("hl7", "engines")}
    ports = {"web": WEB_PORT, "web-never": NEVER_PORT, "licensed": LICENSED_PORT, "regional": REGIONAL_PORT}
    return {name: {"vip": str(VIP), "preset": preset, "pool": pool} for name, (preset, pool) in presets.items()} | {
        pool: {"vip": str(VIP), "ports": [port], "protocol": "tcp", "pool": pool} for pool, port in ports.items()
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"type": "tcp", "port": port, **_TIMING}

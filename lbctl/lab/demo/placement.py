"""Which archive holds an association, as the kernels of both its ends have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbctl.lab import dicom
from lbctl.lab.archives import DICOM_PORT
from lbctl.lab.node import Node


def placement(stores: Sequence[dicom.Store], archives: Mapping[str, Node]) -> dict[dicom.Store, str]:
    """The name of the archive that holds each store's association now; without those that ended.

    A client's kernel knows the local port of the store's process, an archive's the remote ports of its associations.
    """
    held = {peer: name for name, node in archives.items() for peer, _ in _established(node, "sport")}
    placed = {}
    for client in {store.node for store in stores}:
        for local, process in _established(client, "dport"):
            for store in stores:
                if f"pid={store.process.pid}," in process and local in held:
                    placed[store] = held[local]
    return placed


def _established(node: Node, port: str) -> list[tuple[str, str]]:
    """DICOM associations at a node: (the client's address and port, the process that holds it)."""
    shown = node.run(["ss", "-Htnp", "state", "established", f"{port} = :{DICOM_PORT}"]).stdout
    column = 3 if port == "sport" else 2  # the client is the peer, seen from an archive
    rows = (line.split(maxsplit=4) for line in shown.splitlines())
    return [(row[column], row[4] if len(row) > 4 else "") for row in rows]

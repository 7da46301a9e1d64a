"""Mistakes of interfaces: VLANs, and modes of one NIC."""

from __future__ import annotations

from tests.unit.config.rows import Wrong, edited

_ETH0 = "  eth0:\n    address: 192.0.2.10/24\n"


def _second(id_: str, text: str, *, says: tuple[str, ...], hint: str, mode: str = "native") -> Wrong:
    """An interface more than the good file's, whose own mode is written."""
    first = f"{_ETH0}    mode: {mode}\n"
    return edited(id_, _ETH0, f"{first}  {text}\n", says=says, hint=hint)


ROWS: tuple[Wrong, ...] = (
    edited(
        "interface-without-address",
        _ETH0,
        f"{_ETH0}  §eth1: {{mode: auto}}\n",
        says=("interface eth1", "neither 'address' nor 'address6'"),
        hint="ip -br addr",
    ),
    _second(
        "vlan-zero", "§eth0.0: {address: 198.51.100.10/24}", says=("VLAN 0 is out of range",), hint="belongs to eth0"
    ),
    _second(
        "as-ip-shows-it",
        "§eth0.20@eth0: {address: 198.51.100.10/24}",
        says=("how ip shows eth0.20 on eth0",),
        hint="write eth0.20",
    ),
    _second("vlan-reserved", "§eth0.4095: {address: 198.51.100.10/24}", says=("VLAN 4095",), hint="1 to 4094"),
    _second("vlan-inner-too-high", "§eth0.20.5000: {address: 198.51.100.10/24}", says=("VLAN 5000",), hint="1 to 4094"),
    _second(
        "vlan-three-tags",
        "§eth0.1.2.3: {address: 198.51.100.10/24}",
        says=("has 3 VLAN tags",),
        hint="such as eth0.1.2",
    ),
    _second("vlan-as-a-key", "eth1: {address: 198.51.100.10/24, §vlan: 20}", says=("'vlan'",), hint="such as eth0.20"),
    _second(
        "vlan-mode-against-its-nic",
        "eth0.20: {address: 198.51.100.10/24, mode: §generic}",
        says=("interface eth0.20", "mode generic contradicts that of eth0 (line 4)"),
        hint="at one of them only",
    ),
    _second(
        "vlan-mode-against-another-vlan",
        "eth1.20: {address: 198.51.100.10/25, mode: native}\n"
        "  eth1.100.20: {address: 198.51.100.210/25, mode: §generic}",
        says=("interface eth1.100.20", "contradicts that of eth1.20 (line 5)", "same NIC eth1"),
        hint="all interfaces of a NIC",
    ),
    _second(
        "vlan-subnet-overlaps",
        "eth0.20: {address: §192.0.2.20/24}",
        says=("interface eth0.20", "overlaps eth0's 192.0.2.0/24"),
        hint="of its own",
    ),
)

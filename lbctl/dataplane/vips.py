"""The virtual addresses: exact tables of both families, the filter before them, and the numbers that stand for IPv6 ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address
from lbctl.core.plan import SetVip
from lbctl.core.tables import Lan
from lbctl.dataplane import bpf, rows
from lbctl.dataplane.addresses import address_field, decoded
from lbctl.dataplane.carrying import fault_of
from lbctl.dataplane.descriptions import recognised
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import Claim
from lbctl.errors import KernelError

VIP_MAPS: Mapping[int, str] = {4: "lb_vips4", 6: "lb_vips6"}
"""By the address's version."""


class Numbers:
    """Which IPv6 VIP each number stands for. A service names its VIP by number, and may be written before the VIP, or go after
    it: so they are remembered."""

    def __init__(self) -> None:
        self._vips: dict[int, IPv6Address] = {}

    def learn(self, vip: Address) -> int:
        """The number of a VIP; `KernelError` if it is another one's, too."""
        number = rows.vip_number(vip)
        if isinstance(vip, IPv6Address) and self._vips.setdefault(number, vip) != vip:
            raise KernelError(
                f"VIPs {vip} and {self._vips[number]} cannot be told apart: both are number {number:#x} in the tables",
                hint="give one of them another address (one pair in four thousand million is like this)",
            )
        return number

    def vip6(self, number: int) -> IPv6Address:
        """`KeyError` if it stands for none."""
        return self._vips[number]

    def __contains__(self, number: int) -> bool:
        return number in self._vips


class Vips:
    """``tables`` are those of `VIP_MAPS` by version, ``bits`` is the shared filter."""

    def __init__(self, tables: Mapping[int, HashMap], bits: NDArray[np.uint64], numbers: Numbers) -> None:
        self._tables = tables
        self._filter = bits
        self._numbers = numbers
        self._by_word: defaultdict[int, set[Address]] = defaultdict(set)
        for vip in self.read():
            numbers.learn(vip)
            self._by_word[rows.filter_bit(vip)[0]].add(vip)
        # an earlier writer may have been killed between the two
        self._filter[:] = rows.filter_words(vip for vips in self._by_word.values() for vip in vips)

    def read(self) -> dict[Address, Lan]:
        """Where each is answered for."""
        return {vip: rows.lan_of(int(row["lan"])) for vip, row in self._rows()}

    def claims(self) -> Mapping[Address, Claim]:
        """Those that another station said were its own."""
        return {
            vip: Claim(mac=rows.mac_bytes(int(row["claimant"])) or bytes(6), times=int(row["claims"]))
            for vip, row in self._rows()
            if row["claims"]
        }

    def _rows(self) -> list[tuple[Address, Any]]:
        return [pair for version, table in self._tables.items() for pair in vip_rows(table, version)]

    def write(self, step: SetVip) -> None:
        """The filter's bit first and last: a VIP in the exact table is always let through to it."""
        word, _ = rows.filter_bit(step.vip)
        table, key = self._tables[step.vip.version], vip_key(step.vip)
        if step.after is not None:
            number = self._numbers.learn(step.vip)
            self._by_word[word].add(step.vip)
            self._filter[word] = rows.filter_word(self._by_word[word])
            table.set(key, (rows.lan_word(step.after), 0, 0, number, 0))
        else:
            self._by_word[word].discard(step.vip)
            table.remove(key)
            self._filter[word] = rows.filter_word(self._by_word[word])


def vip_key(vip: Address) -> Any:
    """The key of a VIP in its table."""
    return address_field(vip) if vip.version == 4 else (address_field(vip),)


def vip_rows(table: HashMap, version: int) -> list[tuple[Address, Any]]:
    """Every VIP of a table, and its row."""
    return [
        pair
        for keys, values in table.batches()
        for pair in zip(decoded(keys if version == 4 else keys["words"]), values, strict=True)
    ]


def pinned_vips(pins: Path) -> frozenset[Address]:
    """The VIPs that an earlier daemon left active; none of tables whose layout nobody knows."""
    found: set[Address] = set()
    for version, name in VIP_MAPS.items():
        for path, spec in recognised(name, MAPS[name], pins):
            if spec is not None and not fault_of(spec, MAPS[name]):
                with bpf.opened_pin(path) as descriptor:
                    found.update(vip for vip, _ in vip_rows(HashMap(descriptor, spec), version))
    return frozenset(found)

"""The segments that are balanced on, each with the device that redirected packets leave by."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lbctl.core.plan import SetInterface
from lbctl.core.tables import InterfaceRow, Lan
from lbctl.dataplane import bpf, rows
from lbctl.dataplane.layout import INTERFACES
from lbctl.dataplane.maps import HashMap
from lbctl.errors import KernelError

_FREE = (0, 0, 0, 0, (0, 0, 0, 0))
_GONE = (errno.EINVAL, errno.ENODEV)
"""What the kernel says of a device that it does not have."""


class Interfaces:
    """``entries`` is a hash table in an array, as the services' is; ``devices`` has a row for each of its rows."""

    def __init__(self, entries: HashMap, devices: HashMap) -> None:
        self._entries = entries
        self._devices = devices
        for ifindex in {lan.ifindex for lan in self.read()}:  # the table of devices may have been made anew
            self.renew(ifindex)

    def renew(self, ifindex: int) -> None:
        """The kernel forgets a device that is deleted; another one with its index is to be found again."""
        for row, lan in enumerate(map(rows.lan_of, self._words().tolist())):
            if lan.ifindex == ifindex:
                self._set_device(row, lan)

    def read(self) -> Mapping[Lan, InterfaceRow]:
        """All of them."""
        found = [entry for _, batch in self._entries.batches() for entry in batch[batch["lan"] != 0]]
        return {rows.lan_of(int(entry["lan"])): rows.interface_row(entry) for entry in found}

    def write(self, step: SetInterface) -> None:
        """The device is there before the segment, and goes after it."""
        words, word = self._words(), rows.lan_word(step.lan)
        row = rows.interface_place(words, word)
        if row is None:
            raise KernelError(f"no room in lb_interfaces for {step.lan}", hint="name fewer interfaces in the file")
        if step.after is not None:
            self._set_device(row, step.lan)
            self._set(row, step.lan, step.after, is_new=not words[row])
        elif words[row]:
            self._entries.set(row, _FREE)
            self._devices.remove(row)

    def _set(self, row: int, lan: Lan, after: InterfaceRow, *, is_new: bool) -> None:
        """A new one is not found before all else is written."""
        entry = rows.interface_entry(lan, after)
        if is_new:
            self._entries.set(row, (0, *entry[1:]))
        self._entries.set(row, entry)

    def _set_device(self, row: int, lan: Lan) -> None:
        try:
            self._devices.set(row, lan.ifindex)
        except KernelError as error:
            if bpf.error_number(error) not in _GONE:
                raise  # a device that is gone by now is nowhere to send to; its segment goes by another plan

    def _words(self) -> NDArray[np.uint64]:
        """Each row's segment, shape (INTERFACES,)."""
        words = np.zeros(INTERFACES, np.uint64)
        for keys, entries in self._entries.batches():
            words[keys] = entries["lan"]
        return words

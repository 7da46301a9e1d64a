"""XDP links: attached once, pinned, and from then on only ever updated, for attaching can reset a NIC."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from lbctl.core.model import AttachMode
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.port import AttachedMode, Attachment
from lbctl.errors import KernelError, SystemRequirementError

_SEPARATOR = "@"


class Links:
    """The pinned links of one pin directory, named ``link@<ifindex>@<mode>``."""

    def __init__(self, pins: Path, program: int) -> None:
        self._pins = pins
        self._program = program

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface: behind its pinned link if there is one in a mode that is wanted."""
        for path, attached in self._of(ifindex):
            if mode is AttachMode.AUTO or mode.value == attached.value:
                with bpf.opened_pin(path) as link:
                    bpf.update_link(link, self._program)
                loader.pin_program(self._program, self._pins)
                return Attachment(ifindex=ifindex, mode=attached)
            path.unlink()
        attachment = self._create(ifindex, mode)
        loader.pin_program(self._program, self._pins)
        return attachment

    def _of(self, ifindex: int) -> Iterator[tuple[Path, AttachedMode]]:
        """The links of an interface; one whose interface was deleted and made anew is dead, and removed."""
        for path, index, mode in pinned_links(self._pins):
            if index != ifindex:
                continue
            with bpf.opened_pin(path) as link:
                is_alive = bpf.link_info(link).ifindex == ifindex
            if is_alive:
                yield path, mode
            else:
                path.unlink()

    def _create(self, ifindex: int, mode: AttachMode) -> Attachment:
        if mode is AttachMode.GENERIC:
            return self._link(ifindex, AttachedMode.GENERIC)
        try:
            return self._link(ifindex, AttachedMode.NATIVE)
        except KernelError as error:
            if mode is AttachMode.NATIVE or bpf.error_number(error) == errno.EBUSY:
                raise
            return self._link(ifindex, AttachedMode.GENERIC, fallback_reason=error.message)

    def _link(self, ifindex: int, mode: AttachedMode, *, fallback_reason: str = "") -> Attachment:
        try:
            link = bpf.create_xdp_link(self._program, ifindex, generic=mode is AttachedMode.GENERIC)
        except KernelError as error:
            if bpf.error_number(error) == errno.EBUSY:
                raise SystemRequirementError(
                    f"interface {ifindex} already has an XDP program of somebody else",
                    hint="find it with `ip link show` and remove it, for example: ip link set dev IF xdp off",
                ) from error
            raise
        bpf.pin(link, self._pins / _SEPARATOR.join(("link", str(ifindex), mode.value)))
        os.close(link)  # the pin holds it from now on
        return Attachment(ifindex=ifindex, mode=mode, fallback_reason=fallback_reason)

    def detach_others(self, keep: frozenset[int]) -> None:
        """Remove the links of all interfaces but these."""
        for path, ifindex, _ in list(pinned_links(self._pins)):
            if ifindex not in keep:
                path.unlink()


def pinned_links(pins: Path) -> Iterator[tuple[Path, int, AttachedMode]]:
    """(pin, ifindex, mode) of every link in a pin directory."""
    for path in sorted(pins.glob(loader.LINK_PREFIX + "*")):
        _, ifindex, mode = path.name.split(_SEPARATOR)
        yield path, int(ifindex), AttachedMode(mode)


def detach(pins: Path) -> int:
    """Take the data plane down: links first, then everything else that is pinned. Returns how many links there were."""
    if not pins.is_dir():
        return 0
    links = [path for path, _, _ in pinned_links(pins)]
    for path in [*links, *pins.iterdir()]:
        path.unlink(missing_ok=True)
    pins.rmdir()
    return len(links)

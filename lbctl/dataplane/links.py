"""XDP links: attached once, pinned, and from then on only ever updated, for attaching can reset a NIC."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from lbctl.core.model import AttachMode
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.port import AttachedMode, Attachment
from lbctl.errors import KernelError, LbctlError, SystemRequirementError

_SEPARATOR = "@"
_LINK_NAME = re.compile(r"link@(\d+)@(native|generic)")
_INHERITED = "so left by an earlier start; `lbctl detach` before the next start tries native mode again"


class Links:
    """The pinned links of one pin directory, named ``link@<ifindex>@<mode>``. They are held as well: should somebody remove a
    pin, the program stays on its interface."""

    def __init__(self, pins: Path, loaded: Loaded) -> None:
        self._pins = pins
        self._loaded = loaded
        self._held: dict[int, tuple[int, AttachedMode]] = {}

    @property
    def _program(self) -> int:
        return self._loaded.programs[loader.INGRESS]

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface: behind its pinned link if there is one in a mode that is wanted. If another
        mode is wanted but cannot be had, the link stays as it was, and the error is raised."""
        loader.pin_programs(self._loaded, self._pins)
        attached = next(self._of(ifindex), None)
        if attached is None:
            attachment = self._create(ifindex, mode)
        elif mode is AttachMode.AUTO or mode.value == attached.value:
            attachment = self._update(ifindex, attached, mode)
        else:
            attachment = self._replace(ifindex, attached, mode)
        loader.pin_ingress(self._loaded, self._pins)
        return attachment

    def keep(self) -> bool:
        """Give those that somebody unpinned their names again, and the program that is behind them. Returns whether there were
        any. What was detached, or went with its interface, is let go."""
        tidy_links(self._pins)
        missing = {path: link for path, link in self._names_of_held() if not path.exists()}
        for path, link in missing.items():
            bpf.pin(link, path)
        if self._held and (missing or not (self._pins / loader.INGRESS).exists()):
            loader.pin_programs(self._loaded, self._pins)
            loader.pin_ingress(self._loaded, self._pins)
            return True
        return False

    def _names_of_held(self) -> Iterator[tuple[Path, int]]:
        for number, (link, mode) in tuple(self._held.items()):
            ifindex = bpf.link_info(link).ifindex
            if ifindex:
                yield self._path(ifindex, mode), link
            else:
                os.close(link)
                del self._held[number]

    def _hold(self, link: int, mode: AttachedMode) -> None:
        number = bpf.link_info(link).id
        if number not in self._held:
            self._held[number] = os.dup(link), mode

    def replace(self, loaded: Loaded) -> None:
        """Put another program behind every link; behind all of them, or none."""
        tidy_links(self._pins)
        if not any(pinned_links(self._pins)):
            self._loaded = loaded
            return
        loader.pin_programs(loaded, self._pins)
        try:
            self._put_behind_all(loaded)
        except KernelError:
            self._put_behind_all(self._loaded)
            raise
        self._loaded = loaded
        loader.pin_ingress(loaded, self._pins)

    def _put_behind_all(self, loaded: Loaded) -> None:
        for path, _, _ in pinned_links(self._pins):
            with bpf.opened_pin(path) as link:
                bpf.update_link(link, loaded.programs[loader.INGRESS])

    def _update(self, ifindex: int, attached: AttachedMode, mode: AttachMode) -> Attachment:
        with bpf.opened_pin(self._path(ifindex, attached)) as link:
            bpf.update_link(link, self._program)
            self._hold(link, attached)
        is_lesser = mode is AttachMode.AUTO and attached is AttachedMode.GENERIC
        return Attachment(ifindex=ifindex, mode=attached, fallback_reason=_INHERITED if is_lesser else "")

    def _replace(self, ifindex: int, attached: AttachedMode, mode: AttachMode) -> Attachment:
        """The kernel does not take two modes at a time: there is a gap, of microseconds if all goes well."""
        _remove(self._path(ifindex, attached))
        try:
            return self._create(ifindex, mode)
        except LbctlError:
            self._link(ifindex, attached)
            raise

    def _of(self, ifindex: int) -> Iterator[AttachedMode]:
        """The modes of an interface's live links."""
        tidy_links(self._pins)
        return (mode for _, index, mode in pinned_links(self._pins) if index == ifindex)

    def is_attached(self, ifindex: int) -> bool:
        """Whether a pinned link holds the program on the interface."""
        tidy_links(self._pins)
        return any(index == ifindex for _, index, _ in pinned_links(self._pins))

    def _create(self, ifindex: int, mode: AttachMode) -> Attachment:
        if mode is AttachMode.GENERIC:
            return self._link(ifindex, AttachedMode.GENERIC)
        try:
            return self._link(ifindex, AttachedMode.NATIVE)
        except KernelError as error:
            reason = os.strerror(bpf.error_number(error))
            if mode is AttachMode.NATIVE:
                raise _no_native(ifindex, reason) from error
            return self._link(ifindex, AttachedMode.GENERIC, fallback_reason=f"the driver says: {reason}")

    def _link(self, ifindex: int, mode: AttachedMode, *, fallback_reason: str = "") -> Attachment:
        try:
            link = bpf.create_xdp_link(self._program, ifindex, generic=mode is AttachedMode.GENERIC)
        except KernelError as error:
            if bpf.error_number(error) in (errno.EBUSY, errno.EEXIST):  # EEXIST: there in the other mode
                raise _is_taken(ifindex) from error
            raise
        try:
            bpf.pin(link, self._path(ifindex, mode))
            self._hold(link, mode)
        finally:
            os.close(link)
        return Attachment(ifindex=ifindex, mode=mode, fallback_reason=fallback_reason)

    def detach_others(self, keep: frozenset[int]) -> None:
        """Remove the links of all interfaces but these."""
        for path, ifindex, _ in list(pinned_links(self._pins)):
            if ifindex not in keep:
                _remove(path)

    def _path(self, ifindex: int, mode: AttachedMode) -> Path:
        return self._pins / _SEPARATOR.join(("link", str(ifindex), mode.value))


def _remove(path: Path) -> None:
    with bpf.opened_pin(path) as link:
        bpf.detach_link(link)
    path.unlink()


def _no_native(ifindex: int, reason: str) -> SystemRequirementError:
    name = _name(ifindex)
    return SystemRequirementError(
        f"{name} cannot run XDP in native mode, as the file asks: the driver says: {reason}",
        hint=f"set interfaces.{name}.mode to auto or generic (slower), or use a NIC whose driver has native XDP; "
        "large receive offload (ethtool -K IF lro off) and a large MTU can stand in its way",
    )


def _is_taken(ifindex: int) -> SystemRequirementError:
    name = _name(ifindex)
    return SystemRequirementError(
        f"{name} already has an XDP program that is not this lbctl's",
        hint=f"see it with `ip -details link show dev {name}`; end who owns it, or: ip link set dev {name} xdp off "
        "(if it is an lbctl's with other pins: stop that, then lbctl detach --pins DIRECTORY)",
    )


def _name(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"interface {ifindex}"


def pinned_links(pins: Path) -> Iterator[tuple[Path, int, AttachedMode]]:
    """(pin, ifindex, mode) of every link in a pin directory, as the names say."""
    for path in sorted(pins.glob(loader.LINK_PREFIX + "*")):
        name = _LINK_NAME.fullmatch(path.name)
        if name:
            yield path, int(name[1]), AttachedMode(name[2])


def tidy_links(pins: Path) -> None:
    """Make the names true: a link whose interface was deleted is dead, and one whose interface was moved to another namespace
    and back lives on under another index."""
    for path, named, mode in list(pinned_links(pins)):
        with bpf.opened_pin(path) as link:
            ifindex = bpf.link_info(link).ifindex
        if not ifindex:
            path.unlink()
        elif ifindex != named:
            path.rename(path.with_name(_SEPARATOR.join(("link", str(ifindex), mode.value))))


def require_free(pins: Path, ifindices: Iterable[int]) -> None:
    """`SystemRequirementError` if an interface has a program that is not behind a link in this pin directory. To be asked
    before anything is changed: it may be another lbctl's, whose rules and routes would be taken away."""
    tidy_links(pins)
    ours = {ifindex for _, ifindex, _ in pinned_links(pins)}
    for ifindex in ifindices:
        if ifindex not in ours and bpf.xdp_program(ifindex):
            raise _is_taken(ifindex)


def detach(pins: Path) -> int:
    """Take the data plane down: links first, then everything else that is pinned. Returns how many links there were."""
    if not pins.is_dir():
        return 0
    links = [path for path, _, _ in pinned_links(pins)]
    for path in links:
        _remove(path)
    for path in pins.iterdir():
        path.unlink()
    pins.rmdir()
    return len(links)

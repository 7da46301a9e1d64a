"""The program on the declared interfaces: attached once to each device at the bottom, in the mode declared, and from then on
left alone. VLAN sub-interfaces share the device that carries their tags."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbctl.core.model import AttachMode, Declaration, Interface
from lbctl.dataplane.port import AttachedMode, Attachment, Dataplane
from lbctl.errors import NetworkError, SystemRequirementError
from lbctl.network.port import Link, Network

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What stands at the bottom of one interface or several (``names``), and the mode that they are to run in."""

    ifindex: int
    names: tuple[str, ...]
    mode: AttachMode
    has_vlans: bool

    @property
    def name(self) -> str:
        """Of the interfaces, for people."""
        return ", ".join(self.names)


class Attacher:
    """``attachments`` by interface name: what was attached, and how. ``exchanging`` is held while the program is exchanged."""

    def __init__(self, dataplane: Dataplane, network: Network, *, exchanging: asyncio.Lock) -> None:
        self._dataplane = dataplane
        self._network = network
        self._exchanging = exchanging
        self._devices: dict[int, Device] = {}
        self._by_device: dict[int, Attachment] = {}
        self.attachments: dict[str, Attachment] = {}

    async def attach(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Put the program on the devices of the declared interfaces that exist. Raises `LbctlError`."""
        async with self._exchanging:
            for device in _devices(declaration, links):
                found, before = self._by_device.get(device.ifindex), self._devices.get(device.ifindex)
                if not _is_as_declared(found, before, device):
                    self._by_device[device.ifindex] = await self._attach(device)
                    _log_attachment(device.name, self._by_device[device.ifindex])
                self._devices[device.ifindex] = device
                self.attachments |= dict.fromkeys(device.names, self._by_device[device.ifindex])

    async def _attach(self, device: Device) -> Attachment:
        """Tags must stay in the frames, or traffic would leave untagged, on the wrong VLAN; in generic mode, too, for a tag
        that the NIC took out is hidden from the program there as well."""
        reason = await self._network.untag(device.ifindex)
        if reason and device.has_vlans:
            raise _hides_tags(device, reason)
        if reason:
            _log.warning("%s: frames of other VLANs look untagged here, so keep them away: %s", device.name, reason)
        return self._dataplane.attach(device.ifindex, device.mode)

    async def forget_lost(self) -> bool:
        """Whether there are devices that the program was taken from by somebody else, or whose tags somebody hides from it
        again: they are to be attached anew."""
        if self._exchanging.locked():  # it is looked at next time
            return False
        if self._dataplane.keep_pins():
            _log.error(
                "somebody removed pins of lbctl's, without which traffic ends with the daemon; they are there again"
            )
        taken = [index for index in self._by_device if not self._dataplane.is_attached(index)]
        for ifindex in taken:
            _log.error(
                "%s: somebody took the program off, or its pin is gone; attaching it again", self._devices[ifindex].name
            )
        hidden = [ifindex for ifindex in self._by_device if ifindex not in taken and await self._hides_tags(ifindex)]
        for ifindex in hidden:
            _log.error(
                "%s: VLAN tags are taken out of its frames again, and cannot be kept", self._devices[ifindex].name
            )
        self._forget(taken + hidden)
        return bool(taken or hidden)

    async def _hides_tags(self, ifindex: int) -> bool:
        return self._devices[ifindex].has_vlans and bool(await self._network.untag(ifindex))

    def forget_absent(self, links: Mapping[str, Link]) -> None:
        """The devices that are not there any more, or not below any interface of ours, have lost their program with
        themselves."""
        self._forget(self._by_device.keys() - {link.attach_index for link in links.values()})
        for name in self.attachments.keys() - links.keys():
            del self.attachments[name]

    def _forget(self, ifindices: Iterable[int]) -> None:
        for ifindex in tuple(ifindices):
            del self._by_device[ifindex]
            del self._devices[ifindex]
        for name in [name for name, found in self.attachments.items() if found.ifindex not in self._by_device]:
            del self.attachments[name]

    def keep_only(self, links: Mapping[str, Link]) -> None:
        """Take the program off every other device, those of an earlier run included."""
        self.forget_absent(links)
        self._dataplane.detach_others(frozenset(self._by_device))


def _devices(declaration: Declaration, links: Mapping[str, Link]) -> Iterable[Device]:
    """Those at the bottom of the declared interfaces that exist, in the order of the file."""
    above: dict[int, list[Interface]] = {}
    for interface in declaration.interfaces:
        if interface.name in links:
            above.setdefault(links[interface.name].attach_index, []).append(interface)
    for ifindex, interfaces in above.items():
        yield Device(
            ifindex=ifindex,
            names=tuple(interface.name for interface in interfaces),
            mode=_mode_of(interfaces),
            has_vlans=any(links[interface.name].vlan for interface in interfaces),
        )


def _mode_of(interfaces: Iterable[Interface]) -> AttachMode:
    """One that is named goes before ``auto``. The file's own check knows sub-interfaces by their names only."""
    named = {interface.mode: interface.name for interface in interfaces if interface.mode is not AttachMode.AUTO}
    if len(named) > 1:
        (one, name), (other, other_name), *_ = named.items()
        raise NetworkError(
            f"{name} and {other_name} are on one device, which cannot run in {one} and in {other} mode",
            hint=f"give interfaces.{other_name}.mode the same value, or leave it out",
        )
    return next(iter(named), AttachMode.AUTO)


def _is_as_declared(found: Attachment | None, before: Device | None, device: Device) -> bool:
    """Whether a device needs no attaching: in automatic mode, once native or known why not. VLANs that are new to it must be
    seen to."""
    if found is None or before is None or (device.has_vlans and not before.has_vlans):
        return False
    if device.mode is AttachMode.AUTO:
        return found.mode is AttachedMode.NATIVE or bool(found.fallback_reason)
    return found.mode.value == device.mode.value


def _hides_tags(device: Device, reason: str) -> SystemRequirementError:
    return SystemRequirementError(
        f"{device.name}: its VLANs cannot be told apart: {reason}",
        hint="give each VLAN a NIC of its own, or use a NIC whose RX VLAN off-load can be switched off (ethtool -K)",
    )


def _log_attachment(name: str, attachment: Attachment) -> None:
    if attachment.fallback_reason:
        _log.warning("%s: program attached in generic mode, which is slower: %s", name, attachment.fallback_reason)
    else:
        _log.info("%s: program attached in %s mode", name, attachment.mode)

"""The program on the declared interfaces: attached once, in the mode declared, and from then on left alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from lbctl.core.model import AttachMode, Declaration, Interface
from lbctl.dataplane.port import AttachedMode, Attachment, Dataplane
from lbctl.network.port import Link

_log = logging.getLogger(__name__)


class Attacher:
    """``attachments`` by interface name: what was attached, and how."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane
        self.attachments: dict[str, Attachment] = {}

    def attach(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Put the program on the declared interfaces that exist, in the mode declared. Raises `LbctlError`."""
        for interface in declaration.interfaces:
            link = links.get(interface.name)
            if link is not None and not _is_as_declared(self.attachments.get(interface.name), interface, link):
                self.attachments[interface.name] = self._dataplane.attach(link.ifindex, interface.mode)
                _log_attachment(interface.name, self.attachments[interface.name])

    def forget_lost(self) -> tuple[str, ...]:
        """The interfaces that the program was taken from by somebody else; they are to be attached anew."""
        lost = tuple(name for name, found in self.attachments.items() if not self._dataplane.is_attached(found.ifindex))
        for name in lost:
            _log.error("%s: somebody took the program off, or its pin is gone; attaching it again", name)
            del self.attachments[name]
        return lost

    def forget_absent(self, links: Mapping[str, Link]) -> None:
        """The interfaces that are not there any more have lost their program with themselves."""
        for name in self.attachments.keys() - links.keys():
            del self.attachments[name]

    def keep_only(self, links: Mapping[str, Link]) -> None:
        """Take the program off every other interface, those of an earlier run included."""
        self.forget_absent(links)
        self._dataplane.detach_others(frozenset(found.ifindex for found in self.attachments.values()))


def _is_as_declared(found: Attachment | None, interface: Interface, link: Link) -> bool:
    """Whether an interface needs no attaching: in automatic mode, once native or known why not."""
    if found is None or found.ifindex != link.ifindex:
        return False
    if interface.mode is AttachMode.AUTO:
        return found.mode is AttachedMode.NATIVE or bool(found.fallback_reason)
    return found.mode.value == interface.mode.value


def _log_attachment(name: str, attachment: Attachment) -> None:
    if attachment.fallback_reason:
        _log.warning("%s: program attached in generic mode, which is slower: %s", name, attachment.fallback_reason)
    else:
        _log.info("%s: program attached in %s mode", name, attachment.mode)

"""What the kernel says in a way that nobody foresaw: it must not stop what understands the rest.

Tunnels have link-layer addresses that are no MACs, names of interfaces may be of any bytes but a few, and newer kernels say new
things.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.errors import LbctlError

_log = logging.getLogger(__name__)
MAC_BYTES = 6
T = TypeVar("T")


@contextmanager
def left_out(what: str) -> Iterator[None]:
    """Within, one thing is read that the kernel told of. If that fails, it is left out; a refusal of the kernel's is raised."""
    try:
        yield
    except (LbctlError, NetlinkError, OSError):
        raise
    except Exception as error:  # decoders raise whatever it is that they stumble over
        _log.warning("the kernel tells of %s in a way that is not understood, it is left out: %r", what, error)


def understood(what: str, decode: Callable[[bytes], T | None]) -> Callable[[bytes], T | None]:
    """Decodes in the same way, and leaves out what it cannot."""

    def decode_or_leave_out(told: bytes) -> T | None:
        with left_out(what):
            return decode(told)
        return None

    return decode_or_leave_out


def mac_of(told: object) -> bytes | None:
    """The MAC in pyroute2's words for a link-layer address; ``None`` if it is of another kind, or absent."""
    octets = str(told).split(":")
    if not isinstance(told, str) or len(octets) != MAC_BYTES or not all(len(octet) == 2 for octet in octets):
        return None
    return bytes.fromhex("".join(octets))


def name_of(told: object) -> str:
    """An interface's name. pyroute2 gives the bytes of one that is not UTF-8."""
    return told.decode(errors="backslashreplace") if isinstance(told, bytes) else str(told or "")

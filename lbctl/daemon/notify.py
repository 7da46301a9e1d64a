"""Words to the service manager (sd_notify(3)): a datagram to the socket that it named, nothing if it named none."""

from __future__ import annotations

import logging
import os
import re
import socket

_log = logging.getLogger(__name__)

_MICROSECONDS = re.compile(r"[0-9]{1,20}")
_PATIENCE_S = 0.2


def notify(*words: str) -> None:
    """Send ``READY=1`` and the like, one a line. A manager that does not listen is no reason to stop, nor to wait for long: one
    that hangs leaves the socket's queue full, and somebody has to look after the backends."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_PATIENCE_S)
        try:
            channel.sendto("\n".join(words).encode(), address)
        except OSError as error:
            _log.debug("%s was not told %s: %s", address, words, error)


def watchdog_interval_s() -> float | None:
    """Half the time within which the service manager wants to hear ``WATCHDOG=1``, or ``None`` if it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if _MICROSECONDS.fullmatch(microseconds) else None

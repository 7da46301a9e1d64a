"""The kernel's refusals in words that say who must act."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.errors import LbctlError, NetworkError, SystemRequirementError

_HINTS = {
    errno.ENETDOWN: "bring the interface up: ip link set dev IFACE up",
    errno.ENODEV: "the interface is gone; compare the configuration with: ip link",
    errno.ENXIO: "the interface is gone; compare the configuration with: ip link",
    errno.ENETUNREACH: "the real server must be in the subnet of one of the interface's addresses: ip addr show",
    errno.EINVAL: "the kernel may be too old: managed neighbours need Linux 5.16 or newer",
}


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn what the kernel raises while doing ``action`` into an `LbctlError` that names it."""
    try:
        yield
    except NetlinkError as error:
        raise refusal(error, action) from error
    except OSError as error:
        raise _explanation(error.errno or 0, action) from error


def refusal(error: NetlinkError, action: str) -> LbctlError:
    """The same of a single answer."""
    return _without_ipv6(error, action) or _explanation(error.code, action)


def _without_ipv6(error: NetlinkError, action: str) -> LbctlError | None:
    """The kernel has several errno for it (an address gets EACCES, a neighbour EINVAL), but mostly says the words."""
    if error.code != errno.EACCES and "IPv6 is disabled" not in str(error.args[-1]):
        return None
    return NetworkError(
        f"cannot {action}: IPv6 is disabled on the interface", hint="sysctl -w net.ipv6.conf.IFACE.disable_ipv6=0"
    )


def _explanation(code: int, action: str) -> LbctlError:
    message = f"cannot {action}: {os.strerror(code)}"
    if code in (errno.EPERM, errno.EACCES):
        return SystemRequirementError(message, hint="run as root, or grant CAP_NET_ADMIN and CAP_NET_RAW")
    return NetworkError(message, hint=_HINTS.get(code, "see: ip -s link, ip neigh, ip rule"))

"""RX VLAN off-load: NICs that take the VLAN tag out of a received frame and hand it to the kernel beside the frame, where an
XDP program cannot see it. It is switched off as ``ethtool -K`` does it, and looked at again afterwards.

Measured on 6.18: generic mode is no way out, the program sees such a frame without its tag in either mode. And a veth
says that it has the off-load, but hides a tag only if the sender left it beside the frame, as a bridge does whose port has
TX VLAN off-load: ``ethtool -K PORT txvlan off tx-vlan-stag-hw-insert off`` at the far end puts it into the frame.
"""

from __future__ import annotations

from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError

from lbctl.network.refusals import explained

FEATURES = ("rx-vlan-hw-parse", "rx-vlan-stag-hw-parse")
"""For tags of 802.1Q, and for outer ones of 802.1ad. Drivers that have both take them only together."""


def untag(name: str) -> str:
    """Switch both off on an interface if they are on. Returns "" when they are off, else why they are not."""
    with explained(f"switch off the RX VLAN off-load of {name}"):
        ethtool = IoctlEthtool(name)
        try:
            return _untag(ethtool, name)
        finally:
            ethtool.close()


def _untag(ethtool: IoctlEthtool, name: str) -> str:
    try:
        active = _active(ethtool)
        if not active:  # a change can reset the NIC
            return ""
        _switch_off(ethtool, active)
        kept = ", ".join(_active(ethtool))
    except NotSupportedError:  # it has no features at all
        return ""
    return f"{name} keeps VLAN tags from XDP: its driver does not let {kept} be switched off" if kept else ""


def _active(ethtool: IoctlEthtool) -> tuple[str, ...]:
    features = ethtool.get_features()
    return tuple(name for name in FEATURES if name in features and features.is_active(name))


def _switch_off(ethtool: IoctlEthtool, names: tuple[str, ...]) -> None:
    features = ethtool.get_features()
    for name in names:
        if features.is_available(name):  # else it is fixed, and would spoil the request for the other
            features[name] = False
    try:
        ethtool.set_features(features)
    except NotSupportedError:  # not all was done; what is on is looked at next
        return

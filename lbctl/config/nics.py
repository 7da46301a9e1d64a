"""What the name of an interface tells: whether it is one, and whether it is a VLAN of another (``eth0.20``).

At run time the kernel says what an interface is; here is what can be known of a file alone.
"""

from __future__ import annotations

import re
from typing import Any

from lbctl.config.mistakes import InvalidValueError, quoted
from lbctl.config.words import text

_MAX_INTERFACE_NAME = 15  # IFNAMSIZ is 16 with the terminating NUL
_TAGGED = re.compile(r"(.+?)((?:\.[0-9]+)+)")
_MAX_TAGS = 2
_MAX_VLAN = 4094  # 0 is a priority tag, 4095 is reserved (IEEE 802.1Q, table 9-2)


def parse_interface_name(value: Any) -> str:
    """A Linux interface name, by the kernel's own rule (``dev_valid_name``)."""
    name = text(value)
    hint = "write the name that 'ip -br link' shows"
    if len(name.encode(errors="replace")) > _MAX_INTERFACE_NAME:
        raise InvalidValueError(
            f"interface name {quoted(name)} is longer than {_MAX_INTERFACE_NAME} characters", hint=hint
        )
    if not name or name in (".", "..") or not name.isprintable() or re.search(r"[/:\s]", name):
        raise InvalidValueError(f"{quoted(name)} is not an interface name", hint=hint)
    if "@" in name:
        own, _, below = name.partition("@")
        raise InvalidValueError(f"{quoted(name)} is how ip shows {own} on {below}", hint=f"write {own}")
    _refuse_vlans(name)
    return name


def nic_of(name: str) -> str:
    """The NIC beneath an interface, by its name: ``eth0`` for ``eth0``, ``eth0.20`` and ``eth0.100.20``."""
    return _split(name)[0]


def _split(name: str) -> tuple[str, tuple[int, ...]]:
    """The NIC, and the VLAN ids from the outer one to the inner."""
    found = _TAGGED.fullmatch(name)
    return (found[1], tuple(map(int, found[2].split(".")[1:]))) if found else (name, ())


def _refuse_vlans(name: str) -> None:
    nic, vlans = _split(name)
    if len(vlans) > _MAX_TAGS:
        message = f"{quoted(name)} has {len(vlans)} VLAN tags, and at most {_MAX_TAGS} are read"
        raise InvalidValueError(message, hint=f"declare an interface such as {nic}.{vlans[0]}.{vlans[1]}")
    for vlan in vlans:
        if not 1 <= vlan <= _MAX_VLAN:
            message = f"{quoted(name)}: VLAN {vlan} is out of range"
            hint = f"VLANs are 1 to {_MAX_VLAN}; what has no tag, or a priority tag only, belongs to {nic} itself"
            raise InvalidValueError(message, hint=hint)

"""Prefixes a file may hold: where connections come from, of either family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

from lbctl.config.addresses import refuse_scope
from lbctl.config.mistakes import InvalidValueError, quoted, shown
from lbctl.config.words import as_written
from lbctl.core.model import Network

_A_PREFIX = "write prefixes, such as 10.20.0.0/16 or 2001:db8:1::/48, or single addresses; names are not looked up"


def prefixes(*, if_empty: str) -> Callable[[Any], tuple[Network, ...]]:
    """A parser of lists of prefixes, each once. An address alone is itself and nobody else."""

    def parse(value: Any) -> tuple[Network, ...]:
        if not isinstance(value, list):
            hint = f"write [{shown(value)}]" if isinstance(value, str) else _A_PREFIX
            raise InvalidValueError(f"{as_written(value)} is not a list of prefixes", hint=hint)
        if not value:
            raise InvalidValueError("the list of prefixes is empty", hint=if_empty)
        found = tuple(_parse_prefix(item) for item in value)
        twice, times = Counter(found).most_common(1)[0]
        if times > 1:
            raise InvalidValueError(f"prefix {twice} is listed twice", hint="name each prefix once")
        return found

    return parse


def _parse_prefix(value: Any) -> Network:
    if not isinstance(value, str):
        raise InvalidValueError(f"{as_written(value)} is not a prefix", hint=_A_PREFIX)
    refuse_scope(value, hint="write it without the part from '%' on: a source is the same on every interface")
    try:
        written = ip_interface(value)
    except ValueError:
        raise InvalidValueError(f"{quoted(value)} is not a prefix", hint=_A_PREFIX) from None
    network = written.network
    if not _ends_in_length(value):
        raise InvalidValueError(f"{quoted(value)} has a mask, not a prefix length", hint=f"write {network}")
    if written.ip != network.network_address:
        hint = f"write {network}, or {written.ip} for that one address"
        raise InvalidValueError(f"{quoted(value)} has bits beyond its prefix length", hint=hint)
    _refuse_unheard(network)
    return network


def _ends_in_length(written: str) -> bool:
    _, slash, length = written.partition("/")
    return not slash or length.isdecimal()


def _refuse_unheard(network: Network) -> None:
    """Prefixes that no connection comes from, so that they are a slip."""
    for is_unheard, what in (
        (network.is_multicast, "multicast groups, and nobody sends from one"),
        (network.is_loopback, "loopback addresses, and no packet on a wire comes from one"),
    ):
        if is_unheard:
            raise InvalidValueError(f"prefix {network} has {what}", hint="write the addresses that clients have")

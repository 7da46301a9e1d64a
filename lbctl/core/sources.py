"""Who may come to a service, and in which class: lists of prefixes, of which the longest that a source has counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from typing import NamedTuple

from lbctl.core.model import Network, Service
from lbctl.core.shares import Classed
from lbctl.core.tables import ServiceKey, Sources
from lbctl.errors import LbctlError

EVERYBODY: Mapping[int, Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
OWN_POOL = 0
"""In place of a class's row."""


def source_list(service: Service, port: int, *, classed: Classed) -> Sources | None:
    """Who may come to a port of a service, whose pool shares these classes in another way. ``None``: everybody, and all in the
    pool's own way.

    A class is that of the longest prefix; of equal ones, a class that names the port goes before one that does not."""
    named = [(found, row) for found, row in classed if port in found.ports]
    unnamed = [(found, row) for found, row in classed if not found.ports]
    everybody = EVERYBODY[service.vip.version]
    prefixes = tuple(
        (prefix, row)
        for found, row in named + unnamed
        for prefix in found.sources or (everybody,)
        if prefix.version == service.vip.version
    )
    if not service.allow and not prefixes:
        return None
    return _combined(service.allow or (everybody,), prefixes)


class _Surroundings(NamedTuple):
    """What holds within a prefix, but for the longer ones in it. ``last`` is its last address."""

    last: int
    is_allowed: bool
    row: int


@lru_cache(maxsize=4096)
def _combined(allowed: tuple[Network, ...], classed: tuple[tuple[Network, int], ...]) -> Sources:
    """Prefixes of one family; of equal ones in ``classed``, the first counts. A prefix that changes nothing within the one that
    contains it is left out."""
    rows = dict(reversed(classed))
    may_come = set(allowed)
    entries: dict[Network, int] = {}
    around: list[_Surroundings] = []  # each within the one before: two prefixes overlap only if one contains the other
    for prefix in sorted(may_come | rows.keys(), key=lambda prefix: (int(prefix.network_address), prefix.prefixlen)):
        while around and around[-1].last < int(prefix.network_address):
            around.pop()
        outer = around[-1] if around else _Surroundings(last=-1, is_allowed=False, row=OWN_POOL)
        last = int(prefix.broadcast_address)
        inner = _Surroundings(last, outer.is_allowed or prefix in may_come, rows.get(prefix, outer.row))
        if inner.is_allowed and inner[1:] != outer[1:]:
            entries[prefix] = inner.row
        around.append(inner)
    return entries


def numbered(
    lists: Mapping[ServiceKey, Sources], current: Mapping[int, Sources], *, capacity: int
) -> tuple[Mapping[ServiceKey, int], Mapping[int, Sources]]:
    """A number, from 1, for each list, and all lists by number. A list keeps the number that the current ones give its content;
    any other has one that nobody had until now, so that no list in use is ever changed.

    `LbctlError` if old and new ones together have more than ``capacity`` prefixes of a family."""
    known = {frozenset(found.items()): number for number, found in current.items()}
    free = (number for number in count(1) if number not in current)
    numbers: dict[ServiceKey, int] = {}
    wanted: dict[int, Sources] = {}
    for key, found in lists.items():
        content = frozenset(found.items())
        if content not in known:
            known[content] = next(free)
        numbers[key] = known[content]
        wanted[numbers[key]] = found
    _require_room({**current, **wanted}.values(), capacity)
    return numbers, wanted


def _require_room(lists: Iterable[Sources], capacity: int) -> None:
    versions = Counter(prefix.version for found in lists for prefix in found)
    for version, prefixes in versions.items():
        if prefixes > capacity:
            raise LbctlError(
                f"the allow-lists and classes have {prefixes} IPv{version} prefixes in all, which is more than {capacity}",
                hint="use fewer or wider ones (while lists change, the former ones count, too)",
            )

"""The lists of sources: who may come to a service, and by which pool row a class of connections is shared."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import numpy as np

from lbctl.core.model import Network
from lbctl.core.plan import SetSources
from lbctl.core.tables import Sources
from lbctl.dataplane.addresses import address_field, decoded
from lbctl.dataplane.layout import INDEX, SOURCE, SOURCE_KEY4, SOURCE_KEY6
from lbctl.dataplane.maps import HashMap

SOURCE_MAPS: Mapping[int, str] = {4: "lb_sources4", 6: "lb_sources6"}
"""By the prefixes' version."""
LIST_BITS = INDEX.itemsize * 8
"""A prefix in the tries begins with the number of its list."""
_KEYS = {4: SOURCE_KEY4, 6: SOURCE_KEY6}


class SourceLists:
    """``tries`` are those of `SOURCE_MAPS` by version."""

    def __init__(self, tries: Mapping[int, HashMap]) -> None:
        self._tries = tries

    def read(self) -> Mapping[int, Sources]:
        """By the list's number."""
        found: dict[int, dict[Network, int]] = {}
        for trie in self._tries.values():
            for keys, values in trie.batches():
                pools = values["pool"].tolist()
                for number, network, pool in zip(keys["list"].tolist(), _networks(keys), pools, strict=True):
                    found.setdefault(number, {})[network] = pool
        return found

    def write(self, step: SetSources) -> None:
        """What a list is to have, then without what it is not to have any more."""
        after = step.after or {}
        for version, trie in self._tries.items():
            wanted = {network: pool for network, pool in after.items() if network.version == version}
            gone = [each for each in step.before or () if each.version == version and each not in after]
            if wanted:
                trie.set_all(_keys(step.number, version, list(wanted)), _values(list(wanted.values())))
            if gone:
                trie.remove_all(_keys(step.number, version, gone))


def _keys(number: int, version: int, networks: list[Network]) -> Any:
    return np.array([source_key(number, network) for network in networks], _KEYS[version])


def source_key(number: int, network: Network) -> tuple[Any, ...]:
    """``struct source_key4`` or ``6``: a prefix of a list, as a prefix of list and address together."""
    return LIST_BITS + network.prefixlen, number, address_field(network.network_address)


def _values(pools: list[int]) -> Any:
    return np.array([(pool,) for pool in pools], SOURCE)


def _networks(keys: Any) -> list[Network]:
    lengths = (keys["prefix"] - LIST_BITS).tolist()
    return [ip_network((address, length)) for address, length in zip(decoded(keys["address"]), lengths, strict=True)]

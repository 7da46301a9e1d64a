"""Histories of a director at random: both families, two segments, allow-lists and classes; interfaces that vanish and come
back under another index."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from hypothesis import strategies as st

from lbctl.core.model import Announce, Declaration, Network, Pool, Service
from lbctl.core.situation import NicFacts, Situation
from lbctl.core.tables import Lan
from tests.strategies import Dice
from tests.unit.core.declarations import (
    BOTH_NICS,
    CT,
    ETH0,
    FEED,
    OTHER_VIP,
    VIP,
    VIP6,
    VLAN,
    declared,
    down,
    draining,
    pool,
    service,
    situation,
    up,
)

_SERVERS = {"a": 11, "b": 12, "c": 13, "d": 14}
_ALLOW: dict[int, tuple[Network, ...]] = {
    4: (ip_network("10.0.0.0/8"), ip_network("10.1.2.0/24")),
    6: (ip_network("2001:db8::/32"), ip_network("fd00::/8")),
}


@dataclass(frozen=True)
class World:
    """What is declared and observed at one moment."""

    declared: Declaration
    observed: Situation


def _pool(dice: Dice, name: str) -> Pool:
    """A backend may have another address than before, and be another server then."""
    servers = {server: _SERVERS[server] + dice.pick((0, 0, 10)) for server in dice.subset(list(_SERVERS))}
    return pool(
        name,
        dict(sorted(servers.items(), reverse=dice.pick((False, True)))),
        version=6 if name == "web" else 4,
        interface=dice.pick((ETH0, VLAN)),
        class_weights={found.name: {"a": dice.pick((0, 50, 300))} for found in dice.subset([CT, FEED])},
    )


def _services(dice: Dice, pools: list[Pool]) -> tuple[Service, ...]:
    """IPv6 is for the pool that has it."""
    found = []
    for vip in (VIP, OTHER_VIP, VIP6):
        able = [each.name for each in pools if (each.name == "web") == (vip.version == 6)]
        announce, interface = dice.pick(tuple(Announce)), dice.pick((ETH0, VLAN))
        for port in dice.subset([104, 443]) if able else []:
            allow = tuple(dice.subset(_ALLOW[vip.version]))
            name = dice.pick(able)
            found.append(service(name, vip, (port,), announce=announce, interface=interface, allow=allow))
    return tuple(found)


def _nics(dice: Dice) -> dict[str, NicFacts]:
    """Mostly as they were."""
    fate = dice.pick(("there", "there", "anew", "gone", "half"))
    if fate == "anew":
        return {name: NicFacts(lan=Lan(7, nic.lan.vlan), mac=nic.mac) for name, nic in BOTH_NICS.items()}
    kept = {"gone": [], "half": ["eth0"]}.get(fate, list(BOTH_NICS))
    return {name: BOTH_NICS[name] for name in kept}


def _world(dice: Dice) -> World:
    nics = _nics(dice)
    pools = [_pool(dice, name) for name in ["archives", *dice.subset(["web", "hl7"])]]
    file = declared(*pools, services=_services(dice, pools), classes=(CT, FEED))
    standings = {b.label: dice.pick((up(), up(5_000), draining(), down())) for b in file.backends()}
    observed = situation(
        file,
        standings,
        nics=nics,
        busy_backends=dice.subset(range(1, 16)),
        busy_vips=dice.subset([VIP, OTHER_VIP, VIP6]),
        refused_vips=[OTHER_VIP] if dice.pick((False, False, True)) else [],
        busy_services=dice.subset(range(1, 5)),
        settling_pools=dice.subset([each.name for each in pools]),
    )
    return World(file, observed)


WORLDS = st.lists(
    st.binary(min_size=144, max_size=144).map(lambda throws: _world(Dice(throws))), min_size=1, max_size=6
)
"""One director's history."""

"""What becomes of services: who is served no more, who may not come any more, whose sessions end sooner. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, collapse_addresses

from lbctl.core.durations import seconds_text
from lbctl.core.effects.effect import Effect, EffectKind
from lbctl.core.effects.outlook import Outlook
from lbctl.core.effects.wording import counted, listed, named, prefix_text
from lbctl.core.model import Address, Announce, Network, Service, WrongPort
from lbctl.core.tables import ServiceKey
from lbctl.core.vips import vips_by_pool


def services(outlook: Outlook) -> Iterator[Effect]:
    """Of every (VIP, port, protocol): a service that only has another name is the same."""
    before, after = _by_key(outlook.before.services), _by_key(outlook.after.services)
    yield from _shorter_idle_limits(outlook, before, after)
    yield from _other_ways(outlook, before, after)
    yield from _ended(outlook, before, after)
    yield from _begun(before, after)
    yield from _more_vips(outlook)
    for was, service in _stays(before, after):
        yield from _another_pool(outlook, was, service)
        if was.allow != service.allow:
            yield _of(service, _admission(was.allow, service.allow))


Keyed = Mapping[ServiceKey, Service]


def _by_key(found: Sequence[Service]) -> Keyed:
    return {key: service for service in found for key in _keys(service)}


def _keys(service: Service) -> list[ServiceKey]:
    return [ServiceKey(vip=service.vip, port=port, protocol=service.protocol) for port in service.ports]


def _of(service: Service, text: str) -> Effect:
    return Effect(text=f"{service.name}: {text}", kind=EffectKind.NEW_CONNECTIONS, pool=service.pool)


def _where(service: Service, keys: Sequence[ServiceKey]) -> str:
    return f"{service.vip} {service.protocol} {listed(key.port for key in keys)}"


def _stays(before: Keyed, after: Keyed) -> Iterator[tuple[Service, Service]]:
    """Pairs of a service that was and one that will be and has some of its ports; each pair once."""
    pairs = {(before[key].name, after[key].name): (before[key], after[key]) for key in after if key in before}
    return iter(pairs.values())


def _grouped(keyed: Keyed, others: Keyed) -> Iterator[tuple[Service, list[ServiceKey]]]:
    """Services with those of their keys that the others do not have."""
    found: dict[str, list[ServiceKey]] = {}
    for key, service in keyed.items():
        if key not in others:
            found.setdefault(service.name, []).append(key)
    return ((keyed[keys[0]], keys) for keys in found.values())


def _flows(outlook: Outlook, keys: Sequence[ServiceKey]) -> int | None:
    """Live ones, as the services are numbered now."""
    rows = [outlook.was.services[key] for key in keys if key in outlook.was.services]
    return outlook.live.of_services([row.id for row in rows])


def _ended(outlook: Outlook, before: Keyed, after: Keyed) -> Iterator[Effect]:
    """A removal drains: flows go on by themselves."""
    vips = {service.vip for service in outlook.after.services}
    for service, keys in _grouped(before, after):
        fate = _refusal(service.vip in vips, outlook.after.director.wrong_port, service.vip)
        flows = _flows(outlook, keys)
        live = {None: "live ones go on", 0: "there are no live ones"}.get(
            flows, f"{counted(flows or 0, 'live flow')} {'goes' if flows == 1 else 'go'} on"
        )
        text = f"{service.name}: {_where(service, keys)} is no longer served: {fate}; {live}"
        yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=service.pool)


def _refusal(is_vip: bool, wrong_port: WrongPort, vip: Address) -> str:
    refused = "refused" if wrong_port is WrongPort.REFUSE else "dropped"
    if is_vip:
        return f"new connections are {refused}"
    return f"new connections are {refused}, and nobody answers for {vip} once the live ones have ended"


def _begun(before: Keyed, after: Keyed) -> Iterator[Effect]:
    for service, keys in _grouped(after, before):
        who = f", of {named([prefix_text(prefix) for prefix in service.allow])} only" if service.allow else ""
        yield _of(service, f"{_where(service, keys)} is served: new connections{who} go to pool {service.pool}")


def _more_vips(outlook: Outlook) -> Iterator[Effect]:
    """A server is checked at each VIP of its pool. One that lacks the new VIP is down for the others as well."""
    before, after = vips_by_pool(outlook.before), vips_by_pool(outlook.after)
    for pool in outlook.after.pools:
        fresh = [vip for vip in after[pool.name] if vip not in before.get(pool.name, ())]
        if fresh and before.get(pool.name):
            what = f"its backends are checked at {named([str(vip) for vip in fresh])} from now on"
            lacking = "it" if len(fresh) == 1 else "one"
            text = f"{pool.name}: {what}; who lacks {lacking} on the loopback goes down for every service"
            yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=pool.name)


def _another_pool(outlook: Outlook, was: Service, service: Service) -> Iterator[Effect]:
    if was.pool != service.pool:
        new = "" if any(pool.name == service.pool for pool in outlook.before.pools) else ", which is new"
        text = f"new connections go to pool {service.pool}{new}, no longer to {was.pool}; live ones stay with their servers"
        yield _of(service, text)


def _shorter_idle_limits(outlook: Outlook, before: Keyed, after: Keyed) -> Iterator[Effect]:
    for was, service in _stays(before, after):
        if service.idle_timeout_s < was.idle_timeout_s:
            count = _flows(outlook, [key for key in _keys(service) if key in before])
            limits = f"{seconds_text(service.idle_timeout_s)} (before: {seconds_text(was.idle_timeout_s)})"
            whom = "live connections" if count is None else f"those of {counted(count, 'live connection')}"
            text = f"{service.name}: {whom} that have been silent for {limits} are forgotten, and may break"
            if count != 0:
                yield Effect(text=text, kind=EffectKind.LIVE_SESSIONS, pool=service.pool, sessions=None)


def _other_ways(outlook: Outlook, before: Keyed, after: Keyed) -> Iterator[Effect]:
    """Whoever lives on the segment that a VIP leaves forgets its MAC in a while, and finds nobody there."""
    for was, service in _stays(before, after):
        if was.announce is service.announce:
            continue
        text = _WAYS[service.announce].format(vip=service.vip)
        count = _flows(outlook, [key for key in _keys(service) if key in before])
        if service.announce is not Announce.ROUTED or count == 0:
            yield _of(service, text)
        else:
            text = f"{service.name}: {text}; live connections that come in otherwise may break"
            yield Effect(text=text, kind=EffectKind.LIVE_SESSIONS, pool=service.pool, sessions=None)


_WAYS = {
    Announce.ARP: "{vip} is announced on its segment, no longer by routers only",
    Announce.ROUTED: "nobody answers for {vip} on its segment any more: only routers with a route send to it",
}


# Who may come ---------------------------------------------------------------------------------------------------------


def _admission(before: Sequence[Network], after: Sequence[Network]) -> str:
    """An allow-list is asked for new connections only."""
    if not after:
        return f"everybody may come, no longer {named([prefix_text(prefix) for prefix in before])} only"
    if not before:
        return f"new connections are denied unless from {named([prefix_text(p) for p in after])}; live ones go on"
    lost, gained = _missing(before, after), _missing(after, before)
    told = [f"new connections from {named(lost)} are denied, live ones go on"] if lost else []
    return "; ".join([*told, *([f"{named(gained)} may come"] if gained else [])]) or "the same may come as before"


def _missing(wanted: Sequence[Network], there: Sequence[Network]) -> list[str]:
    """Prefixes of the one list that the other does not have altogether, each with what it does have of it."""
    whole = _collapsed(there)
    found = []
    for prefix in _collapsed(wanted):
        if not any(_is_within(prefix, other) for other in whole):
            inside = [prefix_text(other) for other in whole if _is_within(other, prefix)]
            found.append(f"{prefix} (other than {named(inside)})" if inside else prefix_text(prefix))
    return found


def _collapsed(prefixes: Sequence[Network]) -> list[Network]:
    """The fewest prefixes that say the same, all of one family."""
    fours = [prefix for prefix in prefixes if isinstance(prefix, IPv4Network)]
    sixes = [prefix for prefix in prefixes if not isinstance(prefix, IPv4Network)]
    return [*collapse_addresses(fours), *collapse_addresses(sixes)]


def _is_within(prefix: Network, other: Network) -> bool:
    return prefix.version == other.version and prefix.subnet_of(other)  # type: ignore[arg-type]  # of one family

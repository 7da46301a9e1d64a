"""Rules about classes of connections, and about the pools that share them. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from lbctl.config.draft import Draft
from lbctl.config.effective import class_weight, family_of, own_services_of, policy_of, ports_of, sources_in
from lbctl.config.mistakes import Mistake, did_you_mean
from lbctl.config.schema import ClassSpec, PoolSpec, ServiceSpec
from lbctl.core.model import Network, Policy, PoolKind

# The kernel's tables of prefixes, one for each family, are created with a fixed size; this is a little below it.
MAX_PREFIXES = 65_000


def check_classes(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    for name, spec in draft.spec.classes.items():
        yield from _tells_something(draft, name, spec)
        yield from _is_used(draft, name)
    for name, pool in draft.spec.pools.items():
        yield from _shares(draft, name, pool)
        for class_name, weights in pool.classes.items():
            yield from _exists(draft, name, class_name)
            yield from _weights(draft, name, class_name, weights)
            yield from _may_match(draft, name, class_name)
        yield from _ambiguous(draft, name, pool)
    yield from _room(draft)


def _tells_something(draft: Draft, name: str, spec: ClassSpec) -> Iterator[Mistake]:
    if spec.sources is None and spec.ports is None and draft.is_spelt("classes", name):
        hint = (
            "add one of them, or both, such as 'sources: [10.20.0.0/16]': without them all connections would be of it"
        )
        yield draft.mistake(("classes", name), "neither 'sources' nor 'ports' is given", hint=hint)


def _is_used(draft: Draft, name: str) -> Iterator[Mistake]:
    is_known = draft.is_whole("pools") and draft.is_spelt("pools")
    if is_known and not any(name in pool.classes for pool in draft.spec.pools.values()):
        hint = f"name it in a pool, with the weights of its backends ('classes: {{{name}: {{…}}}}'), or remove it"
        yield draft.mistake(("classes", name), "no pool shares this class in a way of its own", hint=hint)


def _shares(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    if pool.classes and policy_of(pool) is Policy.FAILOVER:
        is_default = " (the default of its kind)" if pool.policy is None else ""
        message = f"a pool with policy failover{is_default} has no classes: one backend takes all connections"
        hint = "remove them" if pool.kind is PoolKind.HL7 else "remove them, or write 'policy: balance'"
        yield draft.mistake(("pools", name, "classes"), message, hint=hint)


def _exists(draft: Draft, name: str, class_name: str) -> Iterator[Mistake]:
    if any(len(path) == 1 for path in draft.unsound | draft.unknown):
        return  # the section may be there, misspelt or not a block
    written = draft.written_names("classes")
    if class_name not in written:
        hint = did_you_mean(class_name, written, otherwise="declare it under 'classes:', at top level")
        yield draft.mistake(("pools", name, "classes", class_name), f"class {class_name!r} is not declared", hint=hint)


def _weights(draft: Draft, name: str, class_name: str, weights: dict[str, int]) -> Iterator[Mistake]:
    path = ("pools", name, "classes", class_name)
    written = list(draft.document.value["pools"][name]["backends"])
    if not weights:
        hint = f"name those whose weight differs for this class, such as '{{{written[0] if written else 'pacs1'}: 0}}'"
        yield draft.mistake(path, f"class {class_name} has no weights", hint=hint)
    for backend in weights:
        if backend not in written:
            hint = did_you_mean(backend, written, otherwise="name a backend of this pool")
            message = f"class {class_name}: backend {backend!r} is not in this pool"
            yield draft.mistake((*path, backend), message, hint=hint)
    pool = draft.spec.pools[name]
    are_zero = all(class_weight(pool, class_name, backend) == 0 for backend in pool.backends)
    if (
        weights
        and are_zero
        and draft.is_whole("pools", name, "backends")
        and any(b.weight for b in pool.backends.values())
    ):
        message = f"class {class_name} has weight 0 at every backend, so nobody would take its new connections"
        hint = "give at least one backend a weight above 0; a backend that is not named has its own"
        yield draft.mistake(path, message, hint=hint)


def _may_match(draft: Draft, name: str, class_name: str) -> Iterator[Mistake]:
    spec, pool = draft.spec.classes.get(class_name), draft.spec.pools[name]
    services, family = own_services_of(draft.spec, name), family_of(pool)
    if spec is None or family is None:
        return
    if not sources_in(spec, family):
        message = f"class {class_name} has no IPv{family} source, and this pool's backends are IPv{family}"
        hint = f"add an IPv{family} prefix to the class, or remove it from this pool"
        yield draft.mistake(("pools", name, "classes", class_name), message, hint=hint)
    elif services and draft.is_whole("services") and draft.is_spelt("services") and all(map(ports_of, services)):
        yield from _is_met(draft, name, class_name, spec, services)


def _is_met(
    draft: Draft, name: str, class_name: str, spec: ClassSpec, services: list[ServiceSpec]
) -> Iterator[Mistake]:
    """Some service has one of the class's ports, and lets one of its sources in."""
    path = ("pools", name, "classes", class_name)
    asked = [service for service in services if spec.ports is None or set(spec.ports) & set(ports_of(service))]
    if not asked:
        known = sorted({port for service in services for port in ports_of(service)})
        message = (
            f"class {class_name} can never match: this pool's services have none of its ports ({_listed(spec.ports)})"
        )
        yield draft.mistake(
            path, message, hint=f"their ports are {_listed(known)}; correct the class, or remove it here"
        )
    elif not any(_lets_in(service, sources_in(spec, service.vip.version)) for service in asked):
        message = f"class {class_name} can never match: no service of this pool lets any of its sources in"
        yield draft.mistake(path, message, hint="add them to the 'allow' of a service, or remove the class here")


def _listed(ports: tuple[int, ...] | list[int] | None) -> str:
    shown = [str(port) for port in (ports or ())[:8]]
    return ", ".join([*shown, "…"] if len(ports or ()) > 8 else shown)


def _lets_in(service: ServiceSpec, sources: tuple[Network, ...]) -> bool:
    return service.allow is None or any(
        allowed.version == source.version and allowed.overlaps(source)
        for allowed in service.allow
        for source in sources
    )


def _ambiguous(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    """Of two classes with an equal prefix the one that names the port goes first; else it would be a matter of luck."""
    family = family_of(pool) if draft.is_spelt("classes") else None
    known = [(found, draft.spec.classes[found]) for found in pool.classes if found in draft.spec.classes]
    for (first, one), (second, other) in combinations(known, 2):
        same = set(sources_in(one, family)) & set(sources_in(other, family)) if family else set()
        if not same or not _meet(one.ports, other.ports):
            continue
        where = "any source" if min(same).prefixlen == 0 else str(min(same))
        line = draft.line("pools", name, "classes", first)
        message = f"classes {first} (line {line}) and {second} both have connections from {where} to the same ports"
        hint = "let one of them name its ports or a longer prefix, so that each connection is of one class"
        yield draft.mistake(("pools", name, "classes", second), message, hint=hint)


def _meet(one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> bool:
    return one is other if one is None or other is None else not set(one).isdisjoint(other)


def _room(draft: Draft) -> Iterator[Mistake]:
    for family in (4, 6):
        services = [service for service in draft.spec.services.values() if service.vip.version == family]
        count = sum({key: size for service in services for key, size in _lists(draft, service)}.values())
        if count > MAX_PREFIXES:
            message = f"the services' lists have {count} IPv{family} prefixes, and there is room for {MAX_PREFIXES}"
            hint = "write fewer, shorter prefixes, or let services have the same 'allow' and 'ports'"
            yield draft.mistake(("services",), message, hint=hint)


def _lists(draft: Draft, service: ServiceSpec) -> Iterator[tuple[object, int]]:
    """What the kernel looks sources up in, for each port: what makes it the same list as another, and its prefixes."""
    pool = draft.spec.pools.get(service.pool)
    for port in ports_of(service):
        classes = {
            name: spec
            for name, spec in draft.spec.classes.items()
            if pool and name in pool.classes and (spec.ports is None or port in spec.ports)
        }
        sources = sum(len(sources_in(spec, service.vip.version)) for spec in classes.values())
        if classes or service.allow:
            key = (service.allow, service.pool if classes else None, *classes)
            yield key, sources + len(service.allow or ("everybody",))

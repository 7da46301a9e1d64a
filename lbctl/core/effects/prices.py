"""What has to be done for a change, in the order in which it is done, and what each step costs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lbctl.core.effects.outlook import Outlook
from lbctl.core.effects.wording import counted, named
from lbctl.core.features import Features, features_in, features_of
from lbctl.core.ids import identity
from lbctl.core.model import Address, Declaration
from lbctl.core.plan import (
    SetBackend,
    SetInterface,
    SetMembers,
    SetPool,
    SetService,
    SetSlots,
    SetSources,
    SetVip,
    SetWrongPorts,
    Step,
    diff,
)
from lbctl.core.shares import shares_of
from lbctl.core.tables import ROUTED, BackendState
from lbctl.core.vips import vips_by_pool

COMPILE_S = 1.5
"""About, measured with all features on two processors; the program before goes on meanwhile."""
VIP_PROBE_S = 0.6
"""Three probes (RFC 5227 section 2.1.1), 0.2 s apart; all VIPs are asked for at once."""
Ways: TypeAlias = frozenset[tuple[str, str, Address, Address]]
"""Those of the checks: the backend's label, interface and address, and the VIP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """``writes`` are rows and slots of the kernel's tables, each written atomically; ``takes_s`` about how long it takes, if
    that is long."""

    text: str
    writes: int = 0
    takes_s: float | None = None


def prices(outlook: Outlook, *, features: Features) -> tuple[Price, ...]:
    """Of all that follows from the declaration; ``features`` are those of the program at work."""
    steps = diff(outlook.was, outlook.will_be).steps
    writes = list(_writes(outlook, steps))
    before = (*_compiled(outlook, features), *_asked(outlook), *_resolved(outlook), *_routed(outlook))
    return (*before, *writes, *_verified(writes), *_announced(steps))


def _compiled(outlook: Outlook, features: Features) -> Iterator[Price]:
    """What is too much is taken out at the end, in the background: that holds nothing up."""
    wanted = features_of(outlook.after) | features_in(outlook.will_be)
    if wanted | features != features:
        text = "compile the program anew, for the file uses more of it; the one before goes on meanwhile"
        yield Price(text=text, takes_s=COMPILE_S)
    elif wanted != features_of(outlook.before) | features_in(outlook.was):
        text = (
            "compile the program anew in the end, without what is not used any more; the one before goes on meanwhile"
        )
        yield Price(text=text, takes_s=COMPILE_S)


def _asked(outlook: Outlook) -> Iterator[Price]:
    """Of VIPs that are to be answered for where they are not now."""
    before = outlook.was.vips
    fresh = [vip for vip, lan in outlook.will_be.vips.items() if lan != ROUTED and before.get(vip) != lan]
    if fresh:
        text = f"ask the network whether anybody else has {named([str(vip) for vip in fresh])}"
        yield Price(text=text, takes_s=VIP_PROBE_S)


def _resolved(outlook: Outlook) -> Iterator[Price]:
    """The kernel's entries for servers, of which there is one on an interface however many pools a server is in."""
    before, after = _neighbours(outlook.before), _neighbours(outlook.after)
    told = [f"have the kernel resolve {counted(len(after - before), 'neighbour')}"] if after - before else []
    if before - after:
        told.append(f"let go of {counted(len(before - after), 'neighbour')}, once no connection goes there")
    if told:
        yield Price(text="; ".join(told))


def _neighbours(declaration: Declaration) -> frozenset[tuple[str, Address]]:
    return frozenset((backend.interface, backend.address) for backend in declaration.backends())


def _routed(outlook: Outlook) -> Iterator[Price]:
    """What the director's own policy routing has for the checks: a rule for each backend, and for each of its VIPs a route and
    an unreachable one behind it."""
    stay = _with_the_same_ways(outlook)
    before, after = _ways(outlook.before, stay), _ways(outlook.after, stay)
    told = [
        f"{verb} {_rules_and_routes(some, others)}"
        for verb, some, others in (("add", after, before), ("remove", before, after))
        if some - others
    ]
    if told:
        yield Price(text=f"{', '.join(told)} of the checks")


def _rules_and_routes(some: Ways, others: Ways) -> str:
    """Those of some that the others do not have."""
    rules = len({label for label, *_ in some} - {label for label, *_ in others})
    routes = counted(2 * len(some - others), "route")
    return f"{counted(rules, 'rule')} and {routes}" if rules else routes


def _ways(declaration: Declaration, others: frozenset[str]) -> Ways:
    vips = vips_by_pool(declaration)
    found = [backend for backend in declaration.backends() if backend.label not in others]
    return frozenset((b.label, b.interface, b.address, vip) for b in found for vip in vips[b.pool])


def _with_the_same_ways(outlook: Outlook) -> frozenset[str]:
    """Labels: mostly of nearly all backends, which may be thousands, and addresses are slow to hash."""
    before, after = vips_by_pool(outlook.before), vips_by_pool(outlook.after)
    pools = {name for name, vips in after.items() if before.get(name) == vips}
    places = {
        label: (was.interface, was.address) for label, was in outlook.backends_before.items() if was.pool in pools
    }
    return frozenset(
        label for label, b in outlook.backends_after.items() if places.get(label) == (b.interface, b.address)
    )


def _verified(writes: Sequence[Price]) -> Iterator[Price]:
    if writes:
        yield Price(text="count the write (generation + 1), read the tables back and compare")


def _announced(steps: Sequence[Step]) -> Iterator[Price]:
    vips = [str(step.vip) for step in steps if isinstance(step, SetVip) and step.after not in (None, ROUTED)]
    if vips:
        yield Price(text=f"announce {named(vips)} three times, a second apart")


# Writes: steps of a kind that follow each other are one line ----------------------------------------------------------


def _writes(outlook: Outlook, steps: Sequence[Step]) -> Iterator[Price]:
    names = _Names(outlook)
    group: list[Step] = []
    for step in steps:
        if group and _kind(group[0]) != _kind(step):
            yield names.price(group)
            group = []
        group.append(step)
    if group:
        yield names.price(group)


def _kind(step: Step) -> tuple[type[Step], str]:
    """By which steps are told together."""
    if isinstance(step, SetBackend):
        return SetBackend, _verb_of(step)
    removes = not isinstance(step, SetSlots | SetMembers | SetWrongPorts) and step.after is None
    return type(step), "remove" if removes else "write"


def _verb_of(step: SetBackend) -> str:
    if step.after is None:
        return "remove {}"
    if step.before is None or step.before.generation != step.after.generation:
        return "add {}"
    if step.before.state is not step.after.state:
        return _STATES[step.after.state]
    return "change {}"


_STATES = {
    BackendState.UP: "let {} take new connections",
    BackendState.DRAINING: "drain {}",
    BackendState.HALTED: "halt {}",
    BackendState.DOWN: "mark {} down",
    BackendState.DEAD: "mark {} dead",
    BackendState.ABSENT: "remove {}",
}


class _Names:
    """What rows are called."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        shares = (*shares_of(outlook.before), *shares_of(outlook.after))
        self._shares = {identity(share.name): share.name for share in shares}
        self._services = {
            (service.vip, port, service.protocol): service.name
            for declaration in (outlook.before, outlook.after)
            for service in declaration.services
            for port in service.ports
        }

    def price(self, group: Sequence[Step]) -> Price:
        """Of steps of one kind."""
        told = _TOLD[type(group[0])]
        return Price(text=told(self, group), writes=sum(map(writes_of, group)))

    def backends(self, group: Sequence[SetBackend]) -> str:
        names = [self._outlook.name(self._reference(step), pool="") or "" for step in group]
        return _verb_of(group[0]).format(named(names))

    def _reference(self, step: SetBackend) -> int:
        tables = self._outlook.was if step.after is None else self._outlook.will_be
        return tables.reference(step.backend_id)

    def pool(self, pool_id: int) -> str:
        row = self._outlook.will_be.pools.get(pool_id) or self._outlook.was.pools[pool_id]
        return self._shares.get(row.identity, f"#{pool_id}")

    def pools(self, group: Sequence[SetPool]) -> str:
        verb = "remove the row of" if group[0].after is None else "point to its slots:"
        return f"{verb} {named([self.pool(step.pool_id) for step in group])}"

    def slots(self, group: Sequence[SetSlots]) -> str:
        if len(group) == 1:
            step = group[0]
            whole = f"all {step.size:,}" if len(step.at) == step.size else f"{len(step.at):,} of {step.size:,}"
            return f"set {whole} slots of {self.pool(step.pool_id)}"
        pools = named([self.pool(step.pool_id) for step in group])
        return f"set {sum(len(step.at) for step in group):,} slots of {pools}"

    def members(self, group: Sequence[SetMembers]) -> str:
        return f"list anew whom to ask for room: {named([self.pool(step.pool_id) for step in group])}"

    def services(self, group: Sequence[SetService]) -> str:
        verb = "remove" if group[0].after is None else "write"
        keys = [(step.key.vip, step.key.port, step.key.protocol) for step in group]
        names = dict.fromkeys(self._services.get(key, str(key[0])) for key in keys)
        return f"{verb} {counted(len(group), 'port')} of {named(list(names))}"


def _vips(names: _Names, group: Sequence[SetVip]) -> str:
    verb = "cease to answer for" if group[0].after is None else "answer for"
    return f"{verb} {named([str(step.vip) for step in group])}"


def _sources(names: _Names, group: Sequence[SetSources]) -> str:
    verb = "remove" if group[0].after is None else "write"
    return f"{verb} {counted(len(group), 'list')} of sources"


def _interfaces(names: _Names, group: Sequence[SetInterface]) -> str:
    verb = "remove" if group[0].after is None else "write"
    return f"{verb} {counted(len(group), 'segment')}"


def _wrong_ports(names: _Names, group: Sequence[SetWrongPorts]) -> str:
    return f"{'drop' if group[0].after else 'refuse'} what comes to other ports of VIPs"


_TOLD: Mapping[type[Step], Callable[..., str]] = {
    SetBackend: _Names.backends,
    SetPool: _Names.pools,
    SetSlots: _Names.slots,
    SetMembers: _Names.members,
    SetService: _Names.services,
    SetVip: _vips,
    SetSources: _sources,
    SetInterface: _interfaces,
    SetWrongPorts: _wrong_ports,
}


def writes_of(step: Step) -> int:
    """Rows and slots."""
    match step:
        case SetSlots():
            return len(step.at)
        case SetMembers():
            return 1 + len(step.after.own) + len(step.after.fallbacks)
        case SetSources():
            return len(step.after or step.before or ())
        case _:
            return 1


def total(found: Iterable[Price]) -> int:
    """Writes of all of them."""
    return sum(price.writes for price in found)

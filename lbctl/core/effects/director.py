"""What changes in how the director looks after its servers, and in itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lbctl.core.durations import seconds_text
from lbctl.core.effects.effect import Effect, EffectKind
from lbctl.core.effects.outlook import Outlook
from lbctl.core.effects.wording import listed, named
from lbctl.core.failover import has_one
from lbctl.core.model import (
    Backend,
    Check,
    CheckTiming,
    Interface,
    OnEmpty,
    Pool,
    Reassign,
    ResetOnDown,
    Storage,
    WrongPort,
)


def interfaces_given_up(outlook: Outlook) -> Iterator[Effect]:
    """The program is taken off: what lives on it is not carried any more."""
    stay = {interface.name for interface in outlook.after.interfaces}
    for interface in outlook.before.interfaces:
        if interface.name not in stay:
            text = f"{interface.name}: the program is taken off it; connections that come in by it, and live, end"
            yield Effect(text=text, kind=EffectKind.LIVE_SESSIONS, sessions=None)


def director(outlook: Outlook) -> Iterator[Effect]:
    """Neither new connections nor live ones are touched by these, but for what each says."""
    yield from _interfaces(outlook)
    before = {pool.name: pool for pool in outlook.before.pools}
    for pool in outlook.after.pools:
        was = before.get(pool.name)
        if was is not None and was != pool:
            yield from (
                Effect(text=f"{pool.name}: {text}", kind=kind, pool=pool.name) for kind, text in _pool(was, pool)
            )
    yield from _classes(outlook)
    yield from (Effect(text=text, kind=EffectKind.DIRECTOR) for text in _tables(outlook))


def _interfaces(outlook: Outlook) -> Iterator[Effect]:
    before = {interface.name: interface for interface in outlook.before.interfaces}
    for interface in outlook.after.interfaces:
        if text := _interface(before.get(interface.name), interface):
            yield Effect(text=f"{interface.name}: {text}", kind=EffectKind.DIRECTOR)


def _interface(before: Interface | None, after: Interface) -> str:
    if before is None:
        return "the program is put on it"
    if before.mode is not after.mode:
        return f"the program runs in mode {after.mode}, not {before.mode}; if that is another one, for microseconds none does"
    return "" if before.addresses == after.addresses else f"the director is at {listed(after.addresses)} on it"


def _pool(before: Pool, after: Pool) -> Iterator[tuple[EffectKind, str]]:
    """What its keys mean from now on."""
    if before.policy is not after.policy:
        yield EffectKind.NEW_CONNECTIONS, _POLICY[has_one(after)]
    if before.storage is not after.storage and Storage.PRIVATE in (before.storage, after.storage):
        yield EffectKind.NEW_CONNECTIONS, _STORAGE[after.storage is Storage.PRIVATE]
    if before.fallback != after.fallback:
        yield EffectKind.NEW_CONNECTIONS, _fallback(after)
    if before.on_empty is not after.on_empty:
        fate = {OnEmpty.RESET: "refused", OnEmpty.DROP: "dropped"}[after.on_empty]
        yield EffectKind.NEW_CONNECTIONS, f"new connections that nobody takes are {fate} from now on"
    if before.reassign is not after.reassign and after.storage is Storage.PRIVATE:
        yield EffectKind.NEW_CONNECTIONS, f"a source is given another archive {_REASSIGN[after.reassign]}"
    if before.failback is not after.failback and has_one(after):
        yield EffectKind.NEW_CONNECTIONS, f"failback is {after.failback}"
    resets = {backend.reset_on_down for backend in before.backends}  # one, for it is written in the pool
    yield from (
        (EffectKind.DIRECTOR, f"clients of a backend that goes down are {_RESET[reset]}")
        for reset in {backend.reset_on_down for backend in after.backends} - resets
    )
    yield from ((EffectKind.DIRECTOR, text) for text in _care(before, after))


_POLICY = {
    True: "one backend receives at a time, the others stand by",
    False: "all backends receive, by weight",
}
_STORAGE = {
    True: "every source is assigned one archive at its next connection, and keeps to it",
    False: "sources are no longer assigned an archive; each connection is balanced by itself",
}
_REASSIGN = {
    Reassign.NEVER: "by hand only",
    Reassign.REMOVED: "when the one that it had is removed from the file",
    Reassign.DOWN: "as soon as the one that it had is down",
}
_RESET = {
    ResetOnDown.NEVER: "not told; they wait for their own time-outs",
    ResetOnDown.TRANSPORT: "told by a reset if no connection to it can be alive",
    ResetOnDown.ALWAYS: "told by a reset",
}


def _fallback(after: Pool) -> str:
    if after.fallback is None:
        return "no other pool steps in when none of its backends takes new connections"
    return f"pool {after.fallback} steps in when none of its backends takes new connections"


def _care(before: Pool, after: Pool) -> Iterator[str]:
    """Checks and agents of backends that stay."""
    were = {backend.name: backend for backend in before.backends}
    pairs = [(were[backend.name], backend) for backend in after.backends if backend.name in were]
    others = [(was, now) for was, now in pairs if _aim(was.check) != _aim(now.check)]
    if others:
        falls = others[0][1].check.timing.fall
        who = _all_or(others, pairs)
        yield f"{who} probed in another way; who fails that goes down after {falls} probes"
    timed = [(was, now) for was, now in pairs if was.check.timing != now.check.timing]
    if timed:
        was, now = timed[0]
        notice = f"{_notice(now.check.timing)}, not {_notice(was.check.timing)}"
        yield f"{_all_or(timed, pairs)} probed at other times: a failure is noticed within about {notice}"
    agents = [(was, now) for was, now in pairs if was.agent != now.agent]
    if agents:
        follows = [now.name for _, now in agents if now.agent]
        told = (
            "the weight follows what an agent says"
            if follows
            else "the weight stays as declared, for no agent is asked"
        )
        yield f"{_all_or(agents, pairs)} asked about load in another way; {told}"


def _all_or(some: list[tuple[Backend, Backend]], pairs: list[tuple[Backend, Backend]]) -> str:
    if len(some) == len(pairs) > 1:
        return "all backends are"
    return f"{named([now.name for _, now in some])} {'is' if len(some) == 1 else 'are'}"


def _aim(check: Check) -> Check:
    """What is asked of whom, without the times."""
    return replace(check, timing=CheckTiming())


def _notice(timing: CheckTiming) -> str:
    """A failure right after a good probe: until the last of those that count has ended."""
    return seconds_text(round(timing.fall * timing.interval_s + timing.timeout_s, 1))


def _classes(outlook: Outlook) -> Iterator[Effect]:
    """Which connections are of which class; how each is shared is told by pool."""
    before = {found.name: found for found in outlook.before.classes}
    for found in outlook.after.classes:
        was = before.get(found.name)
        pools = [pool.name for pool in outlook.after.pools if found.name in pool.class_weights]
        if was is not None and was != found and pools:
            text = f"class {found.name}: other new connections than before are of it, and shared so in {named(pools)}"
            yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, traffic_class=found.name)


def _tables(outlook: Outlook) -> Iterator[str]:
    before, after = outlook.before.director, outlook.after.director
    if (before.tcp_flows, before.udp_flows) != (after.tcp_flows, after.udp_flows):
        yield (
            f"the flow tables hold {after.tcp_flows:,} TCP and {after.udp_flows:,} UDP flows from the next start on "
            "(systemctl restart lbctl; flows are taken along)"
        )
    if before.wrong_port is not after.wrong_port:
        fate = {WrongPort.REFUSE: "refused", WrongPort.DROP: "dropped without an answer"}[after.wrong_port]
        yield f"what comes to a port of a VIP that no service has is {fate}"

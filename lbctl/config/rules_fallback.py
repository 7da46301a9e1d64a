"""Rules about who answers for whom: pools that are used, and pools that fall back on others. Each yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.config.draft import Draft
from lbctl.config.effective import is_private, policy_of, preset_of
from lbctl.config.mistakes import Mistake, did_you_mean
from lbctl.config.schema import PoolSpec
from lbctl.core.model import Policy, PoolKind


def check_fallbacks(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    for name, pool in draft.spec.pools.items():
        yield from _used(draft, name)
        yield from _reached(draft, name, pool)
        if pool.fallback is None:
            continue
        yield from _may_fall_back(draft, name, pool)
        yield from _fallback_exists(draft, name, pool.fallback)
        if pool.fallback != name and (fallback := draft.spec.pools.get(pool.fallback)):
            yield from _may_be_fallback(draft, name, pool.fallback, fallback)
            yield from _answers(draft, name, pool.fallback, fallback)


def _has_service(draft: Draft, name: str) -> bool:
    """Whether a service names a pool. An entry with a mistake might: then it does."""
    services = draft.spec.services
    return not services or not draft.is_whole("services") or any(found.pool == name for found in services.values())


def _is_fallback(draft: Draft, name: str) -> bool:
    """Whether another pool falls back on this one."""
    return any(other != name and pool.fallback == name for other, pool in draft.spec.pools.items())


def _used(draft: Draft, name: str) -> Iterator[Mistake]:
    might_be_fallback = not (draft.is_whole("pools") and draft.is_spelt("pools"))
    if not _has_service(draft, name) and not _is_fallback(draft, name) and not might_be_fallback:
        hint = f"name it in a service ('pool: {name}'), or as the 'fallback' of a pool, or remove it"
        yield draft.mistake(("pools", name), "no service uses this pool", hint=hint)


def _reached(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    """What happens when nobody takes a connection is told by the pool that its service names, and by no other."""
    if _has_service(draft, name) or not _is_fallback(draft, name):
        return
    for key in ("fallback", "on_empty", "classes"):
        if key in pool.model_fields_set:
            message = f"'{key}' would never be followed: no service names this pool, it is a fallback only"
            hint = "remove it; a fallback's own fallback, on_empty and classes do not count, only those of the service's pool"
            yield draft.mistake(("pools", name, key), message, hint=hint)


def _may_fall_back(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    path = ("pools", name, "fallback")
    if is_private(pool):
        message = "with private storage there is no fallback: a source's studies would be elsewhere"
        hint = "remove it; 'reassign' says when a source may be assigned another archive of the pool"
        yield draft.mistake(path, message, hint=hint)
    elif policy_of(pool) is Policy.FAILOVER:
        is_default = " (the default of its kind)" if pool.policy is None else ""
        message = f"a pool with policy failover{is_default} has no fallback: its backends are the order"
        hint = "remove it, and put those servers into this pool, last in order"
        yield draft.mistake(path, message, hint=hint)
    elif pool.kind is PoolKind.HL7:
        message = "an hl7 pool has no fallback: HL7 messages are ordered, and a feed would split between two receivers"
        hint = "put the servers into this pool, in order, with 'policy: failover'"
        yield draft.mistake(path, message, hint=hint)


def _fallback_exists(draft: Draft, name: str, fallback: str) -> Iterator[Mistake]:
    written = draft.written_names("pools")
    if fallback == name:
        hint = "name another pool, or remove the line"
        yield draft.mistake(("pools", name, "fallback"), "a pool cannot be its own fallback", hint=hint)
    elif fallback not in written:
        others = [other for other in written if other != name]
        hint = did_you_mean(fallback, others, otherwise="declare it under 'pools:', or remove the line")
        yield draft.mistake(("pools", name, "fallback"), f"pool {fallback!r} is not declared", hint=hint)


def _may_be_fallback(draft: Draft, name: str, fallback_name: str, fallback: PoolSpec) -> Iterator[Mistake]:
    path = ("pools", name, "fallback")
    if is_private(fallback):
        message = (
            f"pool {fallback_name} cannot be a fallback: its storage is private, and only its own sources have one"
        )
        yield draft.mistake(path, message, hint="name a pool with 'storage: shared', or remove the line")
    elif policy_of(fallback) is Policy.FAILOVER:
        message = f"pool {fallback_name} cannot be a fallback: its policy is failover"
        hint = f"name a pool with policy balance, or give pool {name} 'policy: failover' and these servers, in order"
        yield draft.mistake(path, message, hint=hint)


def _answers(draft: Draft, name: str, fallback_name: str, fallback: PoolSpec) -> Iterator[Mistake]:
    """The fallback speaks what the services speak."""
    for service_name, service in draft.spec.services.items():
        preset = preset_of(service)
        if service.pool == name and preset and fallback.kind not in preset.pool_kinds:
            message = (
                f"pool {fallback_name} cannot be a fallback: its kind is {fallback.kind}, "
                f"which does not fit preset {preset.name} of service {service_name}"
            )
            kinds = " or ".join(kind for kind in PoolKind if kind in preset.pool_kinds)
            yield draft.mistake(("pools", name, "fallback"), message, hint=f"name a pool of kind {kinds}")

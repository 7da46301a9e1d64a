"""Rules about one pool at a time: its backends, storage, policy and limits. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.config.draft import Draft
from lbctl.config.effective import is_private, limits_of, policy_of, protocol_of, services_of
from lbctl.config.mistakes import Mistake
from lbctl.config.schema import BackendSpec, PoolSpec
from lbctl.core.model import Policy, PoolKind, Protocol, Storage


def check_pools(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    for name, pool in draft.spec.pools.items():
        yield from _backends(draft, name, pool)
        yield from _storage(draft, name, pool)
        yield from _private(draft, name, pool)
        yield from _ordered(draft, name, pool)
        yield from _failback(draft, name, pool)
        yield from _counted(draft, name, pool)
        yield from _resume_at(draft, name, pool)


def _backends(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    if not draft.is_whole("pools", name, "backends"):
        return
    if not pool.backends:
        hint = "add one, such as 'pacs1: {address: 192.0.2.11}'"
        yield draft.mistake(("pools", name, "backends"), "the pool has no backends", hint=hint)
    elif all(backend.weight == 0 for backend in pool.backends.values()):
        hint = "give at least one backend a weight above 0; use 'lbctl drain' to empty a backend for a while"
        message = "every backend has weight 0, so nobody would take new connections"
        yield draft.mistake(("pools", name, "backends"), message, hint=hint)


def _storage(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    if pool.kind is PoolKind.ARCHIVE and pool.storage is None and draft.is_spelt("pools", name):
        message = "an archive pool must say whether its archives share their storage"
        hint = (
            "add 'storage: shared' if each of them answers for the same studies, "
            "'storage: private' if each answers for its own only"
        )
        yield draft.mistake(("pools", name, "storage"), message, hint=hint)
    if pool.kind is not PoolKind.ARCHIVE and pool.storage is not None:
        message = f"'storage' makes sense for archives only, and this pool's kind is {pool.kind}"
        yield draft.mistake(("pools", name, "storage"), message, hint="remove it, or write 'kind: archive'")


def _private(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    if "reassign" in pool.model_fields_set and pool.storage is not Storage.PRIVATE and draft.is_spelt("pools", name):
        message = "'reassign' makes sense with private storage only: in this pool no source is assigned a backend"
        yield draft.mistake(("pools", name, "reassign"), message, hint="remove it, or write 'storage: private'")
    if is_private(pool) and policy_of(pool) is Policy.FAILOVER:
        message = "with private storage each source keeps to its own archive, and policy failover sends all to one"
        hint = "remove 'policy', or write 'storage: shared' if the others answer for the same studies"
        yield draft.mistake(("pools", name, "policy"), message, hint=hint)


def _ordered(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    """HL7 messages are ordered: with two active receivers a feed would split between them."""
    if pool.kind is PoolKind.HL7 and policy_of(pool) is Policy.BALANCE and len(pool.backends) > 1:
        message = f"HL7 messages are ordered, and policy balance would split a feed over {len(pool.backends)} receivers"
        hint = (
            "write 'policy: failover'; if the order does not matter, 'kind: other', "
            "and 'ports:' in its services instead of preset hl7"
        )
        yield draft.mistake(("pools", name, "policy"), message, hint=hint)


def _failback(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    is_written = "failback" in pool.model_fields_set
    if is_written and policy_of(pool) is not Policy.FAILOVER and draft.is_spelt("pools", name):
        message = f"'failback' makes sense with policy failover only, and this pool's policy is {policy_of(pool)}"
        yield draft.mistake(("pools", name, "failback"), message, hint="remove it, or write 'policy: failover'")


def _counted(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    """UDP has no connections: a limit that counts nothing would only look like protection."""
    services = services_of(draft.spec, name)
    if not services or not draft.is_whole("services") or not draft.is_whole("pools") or not draft.is_spelt("pools"):
        return
    if any(protocol_of(service) is Protocol.TCP for service in services):
        return
    for path in _written_limits(name, pool):
        message = "'connection_limit' counts TCP connections, and all services of this pool are UDP"
        yield draft.mistake(path, message, hint="remove it, or spread the load by 'weight'")


def _written_limits(name: str, pool: PoolSpec) -> Iterator[tuple[str, ...]]:
    if pool.connection_limit is not None:
        yield ("pools", name, "connection_limit")
    for backend_name, backend in pool.backends.items():
        if backend.connection_limit is not None:
            yield ("pools", name, "backends", backend_name, "connection_limit")


def _resume_at(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    if not draft.is_spelt("pools", name):
        return
    for backend_name, backend in pool.backends.items():
        path = ("pools", name, "backends", backend_name)
        limit, resume_at = limits_of(pool, backend)
        if backend.resume_at is not None and limit == 0:
            yield _without_limit(draft, (*path, "resume_at"))
        elif limit and resume_at >= limit:
            yield _not_below(draft, name, path, backend, limit=limit, resume_at=resume_at)
    limits = [limits_of(pool, backend) for backend in pool.backends.values()]
    if pool.resume_at is not None and limits and not any(limit for limit, _ in limits):
        yield _without_limit(draft, ("pools", name, "resume_at"))


def _without_limit(draft: Draft, path: tuple[str, ...]) -> Mistake:
    hint = "add 'connection_limit:', or remove it"
    return draft.mistake(path, "'resume_at' means nothing without a 'connection_limit'", hint=hint)


def _not_below(
    draft: Draft, pool: str, path: tuple[str, ...], backend: BackendSpec, *, limit: int, resume_at: int
) -> Mistake:
    """Told where the threshold stands, unless that is the pool's, and the limit that it misses this backend's own."""
    message = f"resume_at {resume_at} is not below the connection limit {limit}"
    if backend.resume_at is not None:
        return draft.mistake((*path, "resume_at"), message, hint=f"write {limit - 1} or less")
    if backend.connection_limit is None:
        return draft.mistake(("pools", pool, "resume_at"), message, hint=f"write {limit - 1} or less")
    hint = f"give this backend a 'resume_at' of its own, {limit - 1} or less"
    return draft.mistake((*path, "connection_limit"), f"{message}, because it is the pool's", hint=hint)

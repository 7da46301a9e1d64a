"""Rules about IPv4 and IPv6: what belongs together is of one address family. Each takes a draft and yields mistakes.

The MAC of a server is the same in both, but its checks and its routes are of one, and so is the VIP on its loopback.
"""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.config.draft import Draft
from lbctl.config.effective import family_of
from lbctl.config.mistakes import Mistake
from lbctl.config.schema import PoolSpec, ServiceSpec


def check_families(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    for name, pool in draft.spec.pools.items():
        yield from _backends(draft, name, pool)
        yield from _fallback(draft, name, pool)
    families = {name: family_of(pool) for name, pool in draft.spec.pools.items()}
    for name, service in draft.spec.services.items():
        yield from _vip(draft, name, service, family=families.get(service.pool))
        yield from _allowed(draft, name, service)


def _backends(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    """Told once for a pool: the first backend that differs from the first one."""
    if not pool.backends:
        return
    first, theirs = next(iter(pool.backends.items()))
    for other, backend in pool.backends.items():
        if backend.address.version != theirs.address.version:
            line = draft.line("pools", name, "backends", first, "address")
            message = (
                f"address {backend.address} is IPv{backend.address.version}, "
                f"and backend {name}/{first} (line {line}) is IPv{theirs.address.version}"
            )
            hint = (
                "make two pools of the servers, one for each family, with a service each: "
                "a server's MAC is the same, but its checks and its routes are of one family"
            )
            yield draft.mistake(("pools", name, "backends", other, "address"), message, hint=hint)
            return


def _fallback(draft: Draft, name: str, pool: PoolSpec) -> Iterator[Mistake]:
    other = draft.spec.pools.get(pool.fallback or name)
    own, theirs = family_of(pool), family_of(other) if other else None
    if own and theirs and own != theirs:
        message = (
            f"pool {pool.fallback} cannot be a fallback: its backends are IPv{theirs}, and this pool's are IPv{own}"
        )
        hint = f"name a pool with IPv{own} addresses: what was sent to an IPv{own} VIP stays as it is"
        yield draft.mistake(("pools", name, "fallback"), message, hint=hint)


def _vip(draft: Draft, name: str, service: ServiceSpec, *, family: int | None) -> Iterator[Mistake]:
    if family and family != service.vip.version:
        message = (
            f"vip {service.vip} is IPv{service.vip.version}, and the backends of pool {service.pool} are IPv{family}"
        )
        hint = f"name a pool whose backends have IPv{service.vip.version} addresses: each family has a pool of its own"
        yield draft.mistake(("services", name, "vip"), message, hint=hint)


def _allowed(draft: Draft, name: str, service: ServiceSpec) -> Iterator[Mistake]:
    for index, prefix in enumerate(service.allow or ()):
        if prefix.version != service.vip.version:
            message = f"allow: {prefix} is IPv{prefix.version}, and vip {service.vip} is IPv{service.vip.version}"
            hint = f"list IPv{service.vip.version} prefixes only: nobody comes to this VIP from another family"
            yield draft.mistake(("services", name, "allow", index), message, hint=hint)

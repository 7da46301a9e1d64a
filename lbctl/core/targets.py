"""What an operator's command is about: one backend, all of a pool, or all that one host is in any pool."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from lbctl.core.model import Address, Backend, Declaration
from lbctl.errors import UsageError

_HINT = "write POOL/BACKEND, the name of a pool, or the address of a host; `lbctl status` lists them"


@dataclass(frozen=True, slots=True)
class OneBackend:
    """A backend of a pool."""

    pool: str
    name: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}"


@dataclass(frozen=True, slots=True)
class WholePool:
    """All backends of a pool."""

    pool: str

    def __str__(self) -> str:
        return f"pool {self.pool}"


@dataclass(frozen=True, slots=True)
class Host:
    """All backends under an address, in whatever pools they are."""

    address: Address

    def __str__(self) -> str:
        return f"host {self.address}"


Target = OneBackend | WholePool | Host


def named(text: str) -> Target:
    """What a person means by ``POOL/BACKEND``, ``POOL`` or an address; `UsageError` if it is none of these. What is an address
    is never a pool's name."""
    pool, separator, name = text.partition("/")
    if separator:
        if not pool or not name or "/" in name:
            raise UsageError(f"{text!r} does not name a backend", hint=_HINT)
        return OneBackend(pool, name)
    try:
        return Host(ip_address(text))
    except ValueError:
        pass
    if not text:
        raise UsageError("'' names nothing", hint=_HINT)
    return WholePool(text)


def typed(target: Target) -> str:
    """As a person writes it; `named` understands it."""
    match target:
        case OneBackend():
            return str(target)
        case WholePool():
            return target.pool
        case Host():
            return str(target.address)


def backends_of(target: Target, declaration: Declaration) -> tuple[Backend, ...]:
    """Those that are declared, in the order of the file; none if there is no such target."""
    return tuple(each for each in declaration.backends() if includes(target, each.pool, each.name, each.address))


def includes(target: Target, pool: str, name: str, address: Address) -> bool:
    """Whether a backend belongs to a target, be it declared or not."""
    match target:
        case OneBackend():
            return (target.pool, target.name) == (pool, name)
        case WholePool():
            return target.pool == pool
        case Host():
            return target.address == address

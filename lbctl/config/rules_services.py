"""Rules about sections and services that concern more than one field. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.config.draft import Draft
from lbctl.config.effective import ports_of, preset_of
from lbctl.config.mistakes import Mistake, did_you_mean
from lbctl.config.schema import ServiceSpec
from lbctl.core.model import PoolKind

# The kernel's table of services is created with a fixed number of rows; this is a little below what fits.
MAX_LISTENERS = 4_000


def check_services(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    yield from _sections(draft)
    yield from _room(draft)
    for name, service in draft.spec.services.items():
        yield from _ports(draft, name, service)
        yield from _pool_of(draft, name, service)
        yield from _preset_fits(draft, name, service)


def _sections(draft: Draft) -> Iterator[Mistake]:
    sections = {"interfaces": draft.spec.interfaces, "services": draft.spec.services, "pools": draft.spec.pools}
    for section, entries in sections.items():
        if not entries and draft.is_whole(section):
            hint = "declare at least one; deploy/examples has files to start from"
            yield draft.mistake((section,), f"no {section} are declared", hint=hint)


def _room(draft: Draft) -> Iterator[Mistake]:
    listeners = sum(len(ports_of(service)) for service in draft.spec.services.values())
    if listeners > MAX_LISTENERS:
        message = f"{listeners} ports in all services are more than the {MAX_LISTENERS} that one director has room for"
        yield draft.mistake(("services",), message, hint="list the ports that clients really use, or add a director")


def _ports(draft: Draft, name: str, service: ServiceSpec) -> Iterator[Mistake]:
    preset = preset_of(service)
    if preset and service.ports:
        hint = f"remove 'preset' to use ports of your own, or 'ports' to use the preset's ({_listed(preset.ports)})"
        yield draft.mistake(("services", name, "ports"), "both 'preset' and 'ports' are given", hint=hint)
    if not preset and not service.ports and draft.is_spelt("services", name):
        hint = "add one of them, such as 'preset: dicom' or 'ports: [104, 11112]'"
        yield draft.mistake(("services", name), "neither 'preset' nor 'ports' is given", hint=hint)
    if preset and service.protocol and service.protocol is not preset.protocol:
        message = f"preset {preset.name} is {preset.protocol} only, not {service.protocol}"
        hint = "remove 'protocol', or write 'ports:' instead of the preset"
        yield draft.mistake(("services", name, "protocol"), message, hint=hint)


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports))


def _pool_of(draft: Draft, name: str, service: ServiceSpec) -> Iterator[Mistake]:
    written = draft.written_names("pools")
    if service.pool not in written:
        hint = did_you_mean(service.pool, written, otherwise="declare it under 'pools:'")
        yield draft.mistake(("services", name, "pool"), f"pool {service.pool!r} is not declared", hint=hint)


def _preset_fits(draft: Draft, name: str, service: ServiceSpec) -> Iterator[Mistake]:
    preset, pool = preset_of(service), draft.spec.pools.get(service.pool)
    if preset and pool and pool.kind not in preset.pool_kinds:
        message = f"preset {preset.name} does not fit pool {service.pool}, whose kind is {pool.kind}"
        kinds = " or ".join(kind for kind in PoolKind if kind in preset.pool_kinds)
        hint = f"name a pool of kind {kinds}, or write 'ports:' instead of the preset"
        yield draft.mistake(("services", name, "preset"), message, hint=hint)

"""Presets: what a service of a well-known imaging protocol needs, so that the file need not say it.

Ports: DICOM 104 and 11112, DICOM over TLS 2762 (IANA ``acr-nema``, ``dicom``, ``dicom-tls``), MLLP 2575 (IANA ``hl7``),
HTTPS 443, and 17035, which imaging vendors use for XDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lbctl.core.model import PoolKind, Protocol

HOUR_S = 3600.0


class CheckType(StrEnum):
    """How a backend's health is probed."""

    DICOM_ECHO = "dicom-echo"
    """A DICOM C-ECHO in an association of its own (PS3.7 section 9.1.5)."""
    TCP = "tcp"
    """A TCP handshake, closed in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Defaults of a service. ``pool_kinds`` are the kinds of pool that can answer it."""

    name: str
    protocol: Protocol
    ports: tuple[int, ...]
    idle_timeout_s: float
    pool_kinds: frozenset[PoolKind]
    check: CheckType
    is_tls: bool = False
    """The ports speak TLS, so a probe that does not cannot be aimed at them."""
    summary: str


_DICOM_KINDS = frozenset({PoolKind.ARCHIVE, PoolKind.WORKSTATION})

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="dicom",
            protocol=Protocol.TCP,
            ports=(104, 11112),
            idle_timeout_s=HOUR_S,  # associations sit idle for as long as a peer likes; most give up within 5 minutes
            pool_kinds=_DICOM_KINDS,
            check=CheckType.DICOM_ECHO,
            summary="DICOM associations",
        ),
        Preset(
            name="dicom-tls",
            protocol=Protocol.TCP,
            ports=(2762,),
            idle_timeout_s=HOUR_S,
            pool_kinds=_DICOM_KINDS,
            check=CheckType.TCP,
            is_tls=True,
            summary="DICOM associations over TLS",
        ),
        Preset(
            name="hl7",
            protocol=Protocol.TCP,
            ports=(2575,),
            idle_timeout_s=24 * HOUR_S,  # an MLLP link stays open all day and may be silent all night
            pool_kinds=frozenset({PoolKind.HL7}),
            check=CheckType.TCP,
            summary="HL7 v2 messages over MLLP; one receiver at a time",
        ),
        Preset(
            name="https",
            protocol=Protocol.TCP,
            ports=(443,),
            idle_timeout_s=HOUR_S,  # viewers keep a connection, or a WebSocket, through a long silence
            pool_kinds=frozenset({PoolKind.WEB, PoolKind.ARCHIVE, PoolKind.XDS}),
            check=CheckType.TCP,
            is_tls=True,
            summary="web viewers, portals and DICOMweb over TLS",
        ),
        Preset(
            name="xds",
            protocol=Protocol.TCP,
            ports=(17035,),
            idle_timeout_s=HOUR_S,
            pool_kinds=frozenset({PoolKind.XDS}),
            check=CheckType.TCP,
            summary="XDS registry or repository (SOAP over HTTP)",
        ),
    )
}


def default_check_type(kind: PoolKind) -> CheckType:
    """The check of a pool whose service names no preset."""
    return CheckType.DICOM_ECHO if kind in _DICOM_KINDS else CheckType.TCP


def default_idle_timeout_s(kind: PoolKind, protocol: Protocol) -> float:
    """The idle limit of a service without a preset: hours for TCP, and for UDP what RFC 4787 (REQ-5) recommends."""
    if protocol is Protocol.UDP:
        return 300.0
    return 24 * HOUR_S if kind is PoolKind.HL7 else HOUR_S

"""The services and the interfaces, as the API's models. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lbctl.core.model import Interface, Service
from lbctl.core.tables import ServiceKey
from lbctl.daemon.models import InterfaceStatus, ServiceState, ServiceStatus
from lbctl.daemon.neighbourhood import Neighbourhood
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.naming import device_name, vlan_ids
from lbctl.daemon.reports.sensing import Sensed
from lbctl.daemon.vips import is_announced
from lbctl.dataplane.port import Attachment


class ServiceReport:
    """One look at everything: ``served`` are the pools whose new connections somebody takes, itself or its fallback."""

    def __init__(self, reconciler: Reconciler, *, sensed: Sensed, served: Collection[str]) -> None:
        self._reconciler = reconciler
        self._sensed = sensed
        self._served = served

    def service(self, service: Service) -> ServiceStatus:
        """A declared service: its ports together."""
        keys = [ServiceKey(vip=service.vip, port=port, protocol=service.protocol) for port in service.ports]
        rows = self._reconciler.current.services
        numbers = [rows[key].id for key in keys if key in rows]
        counted = self._sensed.counters.services
        state, reason = self._state_of(service)
        return ServiceStatus(
            name=service.name,
            vip=service.vip,
            ports=service.ports,
            protocol=service.protocol.value,
            pool=service.pool,
            interface=service.interface,
            announce=service.announce.value,
            allow=tuple(map(str, service.allow)),
            denied=sum(counted[number].denied for number in numbers),
            denied_recently=self._sensed.denied(numbers),
            state=state,
            reason=reason,
            **self._sensed.services(numbers),
        )

    def _state_of(self, service: Service) -> tuple[ServiceState, str]:
        claimant = self._reconciler.refused_vips.get(service.vip)
        if claimant and is_announced(service):
            return "refused", f"{claimant.hex(':')} already answers for {service.vip}"
        if service.interface not in self._reconciler.neighbourhood.nics:
            return "no interface", f"{service.interface} does not exist now"
        if service.vip in self._reconciler.unchecked_vips and is_announced(service):
            return "unchecked", f"{service.interface} is down: whether {service.vip} is free could not be asked"
        if service.pool in self._served:
            return "active", ""
        return "no backend", f"nobody in pool {service.pool} takes new connections"


def interface_status(
    interface: Interface, neighbourhood: Neighbourhood, attachments: Mapping[str, Attachment]
) -> InterfaceStatus:
    """A declared interface, and how the program runs on the device at its bottom."""
    nic, attachment = neighbourhood.nics.get(interface.name), attachments.get(interface.name)
    return InterfaceStatus(
        name=interface.name,
        address=interface.address,
        address6=interface.address6,
        vlans=vlan_ids(nic.lan.vlan) if nic else (),
        device=device_name(nic.lan.ifindex, neighbourhood) if nic and nic.lan.vlan else interface.name,
        mac=nic.mac.hex(":") if nic else None,
        mode=attachment.mode.value if attachment else "detached",
        fallback_reason=attachment.fallback_reason if attachment else "",
        attached=attachment is not None,
    )

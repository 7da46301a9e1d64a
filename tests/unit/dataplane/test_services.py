"""The services in shared memory; here in memory of the test's own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np

from lbctl.core.model import Protocol
from lbctl.core.plan import SetService
from lbctl.core.tables import ServiceKey, ServiceRow
from lbctl.dataplane.layout import SERVICE, SERVICE_ROWS
from lbctl.dataplane.services import Services
from lbctl.dataplane.vips import Numbers

KEY4 = ServiceKey(vip=IPv4Address("192.0.2.100"), port=104, protocol=Protocol.TCP)
KEY6 = ServiceKey(vip=IPv6Address("2001:db8::100"), port=104, protocol=Protocol.TCP)
ROW = ServiceRow(id=0xFFF, pool_id=0x3FF, source_list=0xFFFF)


def test_services_are_read_as_they_were_written_and_changed() -> None:
    services = Services(np.zeros(SERVICE_ROWS, SERVICE), Numbers())
    other = ServiceRow(id=1, pool_id=2)
    for key in (KEY4, KEY6):
        services.write(SetService(key=key, before=None, after=other))
        services.write(SetService(key=key, before=other, after=ROW))

    assert services.read() == {KEY4: ROW, KEY6: ROW}

    services.write(SetService(key=KEY4, before=ROW, after=None))
    assert services.read() == {KEY6: ROW}


def test_service_says_in_fields_of_its_own_who_answers_and_who_may_come() -> None:
    entries = np.zeros(SERVICE_ROWS, SERVICE)
    Services(entries, Numbers()).write(SetService(key=KEY4, before=None, after=ROW))
    (taken,) = entries[entries["key"] != 0]

    assert (taken["id"], taken["pool"], taken["sources"], taken["pad"]) == (0xFFF, 0x3FF, 0xFFFF, 0)


def test_services_of_vips_that_nobody_knows_any_more_are_forgotten_by_the_next_instance() -> None:
    """The writer before died between its services and their VIP."""
    entries = np.zeros(SERVICE_ROWS, SERVICE)
    writer = Services(entries, Numbers())
    for key in (KEY4, KEY6):
        writer.write(SetService(key=key, before=None, after=ROW))
    knowing = Numbers()
    knowing.learn(KEY6.vip)

    assert Services(entries, knowing).read() == {KEY4: ROW, KEY6: ROW}
    assert Services(entries, Numbers()).read() == {KEY4: ROW}
    assert Services(entries, knowing).read() == {KEY4: ROW}

"""What the controller does with a declaration and a situation, in few words, on a data plane that is a fake."""

from __future__ import annotations

from ipaddress import IPv4Address

from lbctl.core.desired import desired_tables
from lbctl.core.model import Address, Declaration
from lbctl.core.plan import Plan, diff
from lbctl.core.situation import Situation
from lbctl.core.tables import NOBODY, Tables, id_of
from lbctl.dataplane.fake import FakeDataplane
from tests.tables import carry_out
from tests.unit.core.declarations import LIMITS, situation


def plan_for(dataplane: FakeDataplane, declared: Declaration, observed: Situation) -> Plan:
    """What is to be done now."""
    current = dataplane.read()
    return diff(current, desired_tables(declared, observed, current=current, limits=LIMITS))


def reconcile(
    dataplane: FakeDataplane, declared: Declaration, observed: Situation | None = None, *, rounds: int = 1
) -> Tables:
    """Do what the controller does, so many times; the tables afterwards."""
    for _ in range(rounds):
        carry_out(plan_for(dataplane, declared, observed or situation(declared)), dataplane)
    return dataplane.read()


def numbers(tables: Tables) -> dict[Address, int]:
    """Ids by address."""
    return {row.address: number for number, row in tables.backends.items()}


def owners(tables: Tables, pool_id: int = 1) -> list[Address | None]:
    """The address that owns each slot."""
    slots = tables.slots[pool_id].tolist()
    return [tables.backends[id_of(ref)].address if ref != NOBODY else None for ref in slots]


def host(last: int) -> IPv4Address:
    """An address of the backends' subnet."""
    return IPv4Address(f"192.0.2.{last}")

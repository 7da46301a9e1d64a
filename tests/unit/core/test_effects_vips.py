"""A VIP that is new to a pool: its servers are checked there as well, and serve nobody until they have it."""

from __future__ import annotations

import pytest

from tests.unit.core.test_effects import FILE, edited, told

WARNING = "from now on; who lacks {} on the loopback goes down for every service"
LOGS = "  log: {vip: 192.0.2.100, ports: [514], protocol: udp, pool: logs}\n"
NEW = {
    "of another service": (
        LOGS,
        f"{LOGS}  qr: {{vip: 192.0.2.102, preset: dicom-tls, pool: archives}}\n",
        ["archives"],
    ),
    "of a new pool": (
        "pools:\n",
        "  s: {vip: 192.0.2.102, ports: [514], protocol: udp, pool: spare}\npools:\n"
        "  spare: {kind: other, check: {type: tcp, port: 514}, backends: {s: {address: 192.0.2.41}}}\n",
        [],
    ),
    "already its own": (LOGS, f"{LOGS}  qr: {{vip: 192.0.2.100, preset: dicom-tls, pool: archives}}\n", []),
}


@pytest.mark.parametrize(("old", "new", "pools"), NEW.values(), ids=NEW)
def test_effects_of_a_vip_that_is_new_to_a_pool_are_told_of_its_servers(old: str, new: str, pools: list[str]) -> None:
    found = [text for text in told(FILE, edited(old, new)) if "are checked at" in text]
    assert found == [f"{pool}: its backends are checked at 192.0.2.102 {WARNING.format('it')}" for pool in pools]


def test_effects_of_a_pool_that_becomes_a_fallback_are_told_of_its_servers() -> None:
    """It has served only its own VIP so far."""
    spare = "  spare:\n    kind: archive\n    storage: shared\n    backends: {old: {address: 192.0.2.41}}\n  engine:\n"
    text = edited("  engine:\n", spare).replace(
        LOGS, f"{LOGS}  old: {{vip: 192.0.2.103, preset: dicom, pool: spare}}\n"
    )
    fallback = text.replace("    connection_limit: 20\n", "    connection_limit: 20\n    fallback: spare\n")
    found = [line for line in told(text, fallback) if "are checked at" in line]
    assert found == [f"spare: its backends are checked at 192.0.2.100 {WARNING.format('it')}"]


def test_effects_of_several_new_vips_are_one_sentence() -> None:
    more = "".join(f"  qr{n}: {{vip: 192.0.2.{n}, preset: dicom-tls, pool: archives}}\n" for n in (102, 103))
    found = [line for line in told(FILE, edited(LOGS, LOGS + more)) if "are checked at" in line]
    assert found == [f"archives: its backends are checked at 192.0.2.102, 192.0.2.103 {WARNING.format('one')}"]

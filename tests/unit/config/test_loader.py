"""Good files become the declaration that they mean; files that cannot be read say why."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from lbctl.config.loader import load, parse
from lbctl.config.presets import PRESETS
from lbctl.config.reading import MAX_BYTES
from lbctl.core.model import (
    Agent,
    AttachMode,
    CheckTiming,
    Declaration,
    DicomEchoCheck,
    PoolKind,
    Protocol,
    ResetOnDown,
    Storage,
    TcpCheck,
)
from lbctl.errors import ConfigError
from tests.unit.config.rows import GOOD

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
NOBODY = 65534


def declaration(text: str) -> Declaration:
    return parse(text, source="lbctl.yaml")


def with_pool(extra: str) -> Declaration:
    return declaration(GOOD.replace("    backends:", f"    {extra}\n    backends:"))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def service_file(*, service: str, kind: str) -> str:
    return f"""\
interfaces: {{eth0: {{address: 192.0.2.10/24}}}}
services:
  s: {{vip: 192.0.2.100, pool: p, {service}}}
pools:
  p: {{kind: {kind}, {"storage: shared, " if kind == "archive" else ""}backends: {{a: {{address: 192.0.2.11}}}}}}
"""


def test_plain_file_gives_the_declaration_with_all_defaults() -> None:
    found = declaration(GOOD)
    (interface,) = found.interfaces
    assert (interface.name, interface.address, interface.mode) == (
        "eth0",
        IPv4Interface("192.0.2.10/24"),
        AttachMode.AUTO,
    )
    (service,) = found.services
    assert (service.vip, service.ports, service.protocol) == (IPv4Address("192.0.2.100"), (104, 11112), Protocol.TCP)
    assert (service.pool, service.interface, service.idle_timeout_s) == ("archives", "eth0", 3600)
    (pool,) = found.pools
    assert (pool.kind, pool.storage) == (PoolKind.ARCHIVE, Storage.SHARED)
    first, second = pool.backends
    assert (first.label, first.address, first.interface) == ("archives/pacs1", IPv4Address("192.0.2.11"), "eth0")
    assert (first.weight, first.agent) == (100, None)
    assert first.check == second.check == DicomEchoCheck(port=104)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_gives_ports_idle_limit_and_check(name: str) -> None:
    ports = {"dicom": (104, 11112), "dicom-tls": (2762,), "hl7": (2575,), "https": (443,), "xds": (17035,)}
    idle_s = {"dicom": 3600, "dicom-tls": 3600, "hl7": 86400}
    kind = min(PRESETS[name].pool_kinds)
    found = declaration(service_file(service=f"preset: {name}", kind=kind))
    (service,) = found.services
    assert service.ports == ports[name]
    assert service.idle_timeout_s == idle_s.get(name, 3600)
    (backend,) = found.backends()
    assert isinstance(backend.check, DicomEchoCheck if name == "dicom" else TcpCheck)
    assert backend.check.port == ports[name][0]


@pytest.mark.parametrize("kind", PoolKind)
def test_service_without_preset_takes_check_and_idle_limit_from_the_kind_of_pool(kind: PoolKind) -> None:
    found = declaration(service_file(service="ports: [4242]", kind=kind))
    (backend,) = found.backends()
    speaks_dicom = kind in (PoolKind.ARCHIVE, PoolKind.WORKSTATION)
    assert backend.check == (DicomEchoCheck(port=4242) if speaks_dicom else TcpCheck(port=4242))
    assert found.services[0].idle_timeout_s == (86400 if kind is PoolKind.HL7 else 3600)


def test_udp_service_is_checked_on_the_tcp_port_that_the_check_names() -> None:
    text = service_file(service="ports: [514], protocol: udp", kind="other")
    found = declaration(text.replace("kind: other", "kind: other, check: {port: 22}"))
    assert (found.services[0].protocol, found.services[0].idle_timeout_s) == (Protocol.UDP, 300)
    assert next(found.backends()).check == TcpCheck(port=22)


def test_check_of_pool_goes_to_the_first_port_of_its_first_tcp_service() -> None:
    more = "  log: {vip: 192.0.2.101, ports: [514], protocol: udp, pool: archives}\n"
    found = declaration(GOOD.replace("services:\n", f"services:\n{more}"))
    assert {backend.check for backend in found.backends()} == {DicomEchoCheck(port=104)}


def test_backend_overrides_its_pools_check_key_by_key() -> None:
    pool = "check: {called_ae: PACS, interval: 10s, fall: 4}"
    text = GOOD.replace("    backends:", f"    {pool}\n    backends:")
    text = text.replace("192.0.2.12}", "192.0.2.12, check: {called_ae: ' PACS2 ', timeout: 500ms, port: 11112}}")
    first, second = declaration(text).backends()
    timing = CheckTiming(interval_s=10, timeout_s=3, fall=4, rise=3)
    assert first.check == DicomEchoCheck(port=104, called_ae="PACS", timing=timing)
    timing = CheckTiming(interval_s=10, timeout_s=0.5, fall=4, rise=3)
    assert second.check == DicomEchoCheck(port=11112, called_ae="PACS2", timing=timing)


def test_backend_checked_by_tcp_leaves_the_ae_titles_of_its_pool_alone() -> None:
    text = GOOD.replace("    backends:", "    check: {called_ae: PACS}\n    backends:")
    first, second = declaration(text.replace("192.0.2.12}", "192.0.2.12, check: {type: tcp}}")).backends()
    assert (first.check, second.check) == (DicomEchoCheck(port=104, called_ae="PACS"), TcpCheck(port=104))


@pytest.mark.parametrize(("interval", "timeout_s"), [("1s", 0.6), ("5s", 3.0), ("1m", 3.0)])
def test_check_timeout_left_out_fits_the_interval(interval: str, timeout_s: float) -> None:
    for backend in with_pool(f"check: {{interval: {interval}}}").backends():
        assert backend.check.timing.timeout_s == pytest.approx(timeout_s)


def test_agent_of_pool_is_overridden_and_switched_off_by_backends() -> None:
    text = GOOD.replace("    backends:", "    agent: {port: 3333, interval: 250ms}\n    backends:")
    text = text.replace(
        "192.0.2.12}", "192.0.2.12, agent: none}\n      pacs3: {address: 192.0.2.13, agent: {port: 4444}}"
    )
    first, second, third = declaration(text).backends()
    assert first.agent == Agent(port=3333, interval_s=0.25, timeout_s=0.2)
    assert second.agent is None
    assert third.agent == Agent(port=4444, interval_s=0.25, timeout_s=0.2)


def test_backend_belongs_to_the_interface_whose_subnet_holds_it() -> None:
    text = GOOD.replace("services:", "  eth1: {address: 198.51.100.1/25, mode: generic}\nservices:")
    text += "  seen: {kind: web, backends: {web1: {address: 198.51.100.12}}}\n"
    found = declaration(text.replace("pools:", "  web: {vip: 198.51.100.100, preset: https, pool: seen}\npools:"))
    assert [backend.interface for backend in found.backends()] == ["eth0", "eth0", "eth1"]


@pytest.mark.parametrize("word", ResetOnDown)
def test_reset_on_down_of_a_pool_holds_for_its_backends(word: ResetOnDown) -> None:
    found = with_pool(f"reset_on_down: {word}")
    assert {backend.reset_on_down for backend in found.backends()} == {word}


def test_reset_on_down_left_out_is_transport() -> None:
    assert {backend.reset_on_down for backend in declaration(GOOD).backends()} == {ResetOnDown.TRANSPORT}


def test_words_that_yaml_1_1_took_for_booleans_are_text() -> None:
    text = GOOD.replace("pacs1:", "on:").replace("pacs2:", "no:").replace("archives", "off").replace("pacs:", "0x1f:")
    found = declaration(text)
    assert [backend.label for backend in found.backends()] == ["off/on", "off/no"]
    assert found.services[0].name == "0x1f"


@pytest.mark.parametrize(("written", "weight"), [("010", 10), ("0o10", 8), ("0x10", 16), ("+7", 7), ("256", 256)])
def test_numbers_are_read_as_yaml_1_2_reads_them(written: str, weight: int) -> None:
    found = declaration(GOOD.replace("192.0.2.11}", f"192.0.2.11, weight: {written}}}"))
    assert next(found.backends()).weight == weight


def test_alias_of_a_whole_check_is_followed() -> None:
    text = GOOD.replace("192.0.2.11}", "192.0.2.11, check: &slow {interval: 30s}}")
    first, second = declaration(text.replace("192.0.2.12}", "192.0.2.12, check: *slow}")).backends()
    assert first.check == second.check
    assert first.check.timing.interval_s == 30


def test_mistake_in_an_aliased_value_is_told_for_every_use() -> None:
    text = GOOD.replace("192.0.2.11}", "192.0.2.11, check: &slow {interval: 30}}")
    with pytest.raises(ConfigError, match=r"(?s)backend archives/pacs1.*backend archives/pacs2"):
        declaration(text.replace("192.0.2.12}", "192.0.2.12, check: *slow}"))


def test_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path) == declaration(GOOD)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_example_is_valid(path: Path) -> None:
    assert load(path).services


def test_examples_exist_for_every_preset() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.yaml"))
    assert set(re.findall(r"preset: ([\w-]+)", text)) == set(PRESETS)


def test_missing_file_is_told(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.yaml")


def test_directory_is_told(tmp_path: Path) -> None:
    assert "this is a directory" in refusal(tmp_path)


def test_path_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be read: Not a directory" in refusal(tmp_path / "file" / "lbctl.yaml")


def test_path_with_a_nul_is_told() -> None:
    assert "cannot be read" in refusal(Path("lbctl\0.yaml"))


def test_file_that_fails_while_it_is_read_is_told() -> None:
    assert "cannot be read: Input/output error" in refusal(Path("/proc/self/mem"))


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root may read everything, so root becomes somebody else for the moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


def test_unreadable_file_is_told(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(GOOD, encoding="utf-8")
    path.chmod(0)
    request.getfixturevalue("ordinary_user")
    assert "may not be read by this user" in refusal(path)


def test_file_larger_than_the_bound_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "larger than 1 MiB" in refusal(path)
    assert "larger than 1 MiB" in refusal(Path("/dev/zero"))


def test_bytes_that_are_not_utf8_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_bytes(GOOD.replace("archives", "r\xf6ntgen").encode("latin-1"))
    assert f"{path}:8:12: byte 0xf6 is not UTF-8" in refusal(path)


def test_large_file_is_read_in_bounded_time() -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match="more than"):
        declaration("pools: [" + "1," * 400_000 + "]")
    assert time.monotonic() - started < 30


def test_anchor_that_is_defined_twice_is_taken_at_its_later_value_without_a_warning() -> None:
    text = GOOD.replace("192.0.2.11}", "192.0.2.11, weight: &a 5}").replace("192.0.2.12}", "192.0.2.12, weight: &a 7}")
    text += "      pacs3: {address: 192.0.2.13, weight: *a}\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [backend.weight for backend in declaration(text).backends()] == [5, 7, 7]

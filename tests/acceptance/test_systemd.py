"""The unit file, as systemd itself reads it."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "lbctl.service"
INSTALLED = "/opt/lbctl/bin/lbctl"
# systemd's own scale from 0 (tight) to 100; a service without any hardening has 96.
EXPOSURE_LIMIT = 35


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the command of this environment in place of the installed one, which need not be there."""
    command = Path(sys.executable).with_name("lbctl")
    assert command.exists()
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(INSTALLED, str(command)), encoding="utf-8")
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


def service_section() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(UNIT)
    return parser["Service"]


def test_unit_file_is_clean_under_verify(unit: Path) -> None:
    verified = analyze("verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_unit_with_a_mistake_is_not_clean_under_verify(unit: Path) -> None:
    """The check above can fail."""
    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec=", "WatchDog="), encoding="utf-8")
    assert "WatchDog" in analyze("verify", "--man=no", str(unit)).stderr


def test_unit_exposure_stays_below_limit(unit: Path) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", "--no-pager", str(unit))
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_unit_stop_leaves_data_plane_attached() -> None:
    """Forwarding outlives the daemon: no command of the unit may take it down."""
    service = service_section()
    assert not {"ExecStop", "ExecStopPost"} & set(service)
    assert not any("detach" in value for value in service.values())


def test_unit_crash_restarts_but_config_mistake_does_not() -> None:
    service = service_section()
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == "2"

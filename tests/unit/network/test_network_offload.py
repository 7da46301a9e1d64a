"""RX VLAN off-load of drivers that no virtual interface has: fixed, and refused."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pyroute2.ethtool.ioctl import NotSupportedError

from lbctl.network import offload
from lbctl.network.offload import FEATURES, untag

BOTH = frozenset(FEATURES)


class Driver:
    """An interface by ``ethtool``'s interface: what is on, what can be changed, and what is asked of it."""

    on: ClassVar[set[str]] = set()
    changeable: ClassVar[frozenset[str]] = BOTH
    obeys: ClassVar[bool] = True
    requests: ClassVar[list[set[str]]] = []

    def __init__(self, name: str) -> None:
        assert name == "eth0"

    def get_features(self) -> Features:
        return Features(set(self.on))

    def set_features(self, features: Features) -> None:
        self.requests.append(features.active)
        if not self.obeys or features.active ^ self.on - self.changeable:
            raise NotSupportedError
        type(self).on = features.active

    def close(self) -> None:
        """Nothing to close."""


class Features:
    def __init__(self, active: set[str]) -> None:
        self.active = active

    def __contains__(self, name: str) -> bool:
        return name in BOTH

    def is_active(self, name: str) -> bool:
        return name in self.active

    def is_available(self, name: str) -> bool:
        return name in Driver.changeable

    def __setitem__(self, name: str, value: bool) -> None:
        assert not value
        self.active.discard(name)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type[Driver]:
    monkeypatch.setattr(offload, "IoctlEthtool", Driver)
    for name, value in {"on": set(FEATURES), "changeable": BOTH, "obeys": True, "requests": []}.items():
        monkeypatch.setattr(Driver, name, value)
    return Driver


def test_untag_asks_once_for_both(driver: type[Driver]) -> None:
    assert untag("eth0") == ""
    assert driver.requests == [set()]
    assert untag("eth0") == ""
    assert len(driver.requests) == 1


def test_untag_fixed_on_is_told_by_name_and_the_other_is_off(driver: type[Driver], monkeypatch: Any) -> None:
    monkeypatch.setattr(driver, "changeable", frozenset(FEATURES[1:]))
    assert FEATURES[0] in (reason := untag("eth0"))
    assert FEATURES[1] not in reason
    assert "eth0" in reason


def test_untag_that_the_driver_does_not_do_is_told(driver: type[Driver], monkeypatch: Any) -> None:
    monkeypatch.setattr(driver, "obeys", False)
    assert all(feature in untag("eth0") for feature in FEATURES)

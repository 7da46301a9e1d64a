"""What the kernel refuses becomes an error for the person who must act."""

from __future__ import annotations

import errno

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from lbctl.errors import NetworkError, SystemRequirementError
from lbctl.network.refusals import explained


@pytest.mark.parametrize("refusal", [NetlinkError(errno.EPERM), PermissionError(errno.EPERM, "no")])
def test_explained_permission_denied_asks_the_administrator(refusal: Exception) -> None:
    with pytest.raises(SystemRequirementError, match="cannot open the door") as caught, explained("open the door"):
        raise refusal
    assert "CAP_NET_ADMIN" in caught.value.hint


@pytest.mark.parametrize("code", [errno.ENETDOWN, errno.ENODEV, errno.EINVAL, errno.EXFULL])
def test_explained_other_refusal_asks_the_network_engineer_with_a_hint(code: int) -> None:
    with pytest.raises(NetworkError, match="cannot open the door") as caught, explained("open the door"):
        raise NetlinkError(code)
    assert caught.value.hint


@pytest.mark.parametrize(
    "refusal",
    [NetlinkError(errno.EACCES), NetlinkError(errno.EINVAL, "IPv6 is disabled on this device")],
    ids=["address", "neighbour"],
)
def test_explained_disabled_ipv6_is_named_with_what_to_do(refusal: NetlinkError) -> None:
    with (
        pytest.raises(NetworkError, match="cannot open the door: IPv6 is disabled") as caught,
        explained("open the door"),
    ):
        raise refusal
    assert "disable_ipv6=0" in caught.value.hint


def test_explained_success_and_foreign_errors_pass() -> None:
    with explained("open the door"):
        pass
    with pytest.raises(KeyError), explained("open the door"):
        raise KeyError

"""What was weighed before is remembered, and changes no answer."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.capacity import Capacity
from lbctl.core.health import DownCause, Health, Status
from lbctl.core.model import Backend, ResetOnDown, TcpCheck
from lbctl.core.standing import Override, standing
from lbctl.daemon.observed import Member
from lbctl.daemon.weighing import Heard, Special, Weighing
from lbctl.network.port import Neighbour
from tests.unit.daemon.rig import HEALTHY, REFUSED, UNREACHABLE

ADDRESS = IPv4Address("192.0.2.11")
BACKENDS = st.builds(
    Backend,
    pool=st.just("p"),
    name=st.sampled_from("ab"),
    address=st.just(ADDRESS),
    interface=st.just("eth0"),
    weight=st.sampled_from([0, 1, 100]),
    check=st.just(TcpCheck(port=104)),
    reset_on_down=st.sampled_from(ResetOnDown),
    connection_limit=st.sampled_from([0, 10]),
)
MEMBERS = st.builds(
    Member,
    st.builds(
        Health,
        status=st.sampled_from(Status),
        cause=st.sampled_from([None, *DownCause]),
        last_result=st.sampled_from([None, HEALTHY, REFUSED, UNREACHABLE]),
    ),
    st.sampled_from([Capacity(), Capacity(percent=0), Capacity(percent=50)]),
)
NEIGHBOURS = st.builds(
    Neighbour,
    ifindex=st.just(2),
    address=st.just(ADDRESS),
    mac=st.just(bytes.fromhex("02000000000b")),
    usable=st.booleans(),
    state=st.sampled_from(["reachable", "failed", "permanent"]),
)
HEARD = st.builds(
    Heard,
    backend=BACKENDS,
    member=MEMBERS,
    neighbour=st.none() | NEIGHBOURS,
    special=st.builds(
        Special,
        override=st.sampled_from([None, *Override]),
        is_silence_doubted=st.booleans(),
        is_full=st.booleans(),
        given_weight=st.sampled_from([None, 0, 50]),
        ramp_percent=st.sampled_from([10, 100]),
    ),
)


@given(st.lists(HEARD, max_size=12))
def test_standings_asked_for_one_after_another_are_those_of_a_single_look(looks: list[Heard]) -> None:
    weighing = Weighing()
    for heard in looks:
        signals = heard.signals()
        assert weighing.standing(heard) == standing(heard.backend, signals)


@given(HEARD)
def test_backend_of_which_nothing_new_is_heard_is_not_weighed_again(heard: Heard) -> None:
    weighing = Weighing()
    assert weighing.standing(heard) is weighing.standing(Heard(*heard))


@given(HEARD)
def test_backend_that_is_declared_no_longer_is_forgotten(heard: Heard) -> None:
    weighing = Weighing()
    before = weighing.standing(heard)
    weighing.keep_only(())
    assert weighing.standing(heard) is not before

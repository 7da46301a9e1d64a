"""What the counters tell of bytes and handshakes."""

from __future__ import annotations

import pytest

from lbctl.daemon.reports.recent import Recent
from lbctl.daemon.reports.sensing import Sensed, quantile_s
from lbctl.dataplane.layout import HANDSHAKE_BUCKETS, HANDSHAKE_UNIT_S
from lbctl.dataplane.port import Counters, Traffic

IDLE = Traffic()


def counters(*, backend: Traffic = IDLE, services: tuple[Traffic, ...] = (), times: tuple[int, ...] = ()) -> Counters:
    return Counters(
        reasons={"denied": Traffic(packets=sum(each.denied for each in services))},
        services=dict(enumerate(services, start=1)),
        backends={1: backend},
        handshakes={1: times} if times else {},
    )


def buckets(**counts: int) -> tuple[int, ...]:
    """``b9=4``: four handshakes of 2^9 to 2^10 units."""
    return tuple(counts.get(f"b{number}", 0) for number in range(HANDSHAKE_BUCKETS))


def sensed(before: Counters, now: Counters, *, after_s: float = 10.0) -> Sensed:
    recent = Recent()
    recent.note(before, now=100.0)
    return Sensed(counters=now, recent=recent, now=100.0 + after_s)


def test_traffic_of_a_backend_is_its_totals_and_its_rates() -> None:
    look = sensed(
        counters(backend=Traffic(returned=1000, sent=50)),
        counters(backend=Traffic(packets=7, bytes=700, connections=3, returned=6000, sent=250)),
    )
    assert look.backend(1) == {
        "packets": 7,
        "bytes": 700,
        "new_connections": 3,
        "returned_bytes": 6000,
        "sent_bytes": 250,
        "returned_per_s": 500.0,
        "sent_per_s": 20.0,
    }


def test_traffic_before_the_first_sample_has_no_rate() -> None:
    look = Sensed(counters=counters(backend=Traffic(returned=6000)), recent=Recent(), now=100.0)
    found = look.backend(1)
    assert (found["returned_bytes"], found["returned_per_s"]) == (6000, 0.0)
    assert (look.handshakes(1).median_s, look.reason("denied"), look.looped(1)) == (None, 0, 0)


def test_traffic_of_a_service_is_that_of_its_ports_together() -> None:
    before = counters(services=(Traffic(sent=10, denied=1), Traffic(sent=20, denied=2)))
    now = counters(services=(Traffic(sent=110, denied=4), Traffic(sent=220, denied=2)))
    look = sensed(before, now)
    assert (look.services([1, 2])["sent_bytes"], look.services([1, 2])["sent_per_s"]) == (330, 30.0)
    assert (look.denied([1, 2]), look.denied([2]), look.reason("denied")) == (3, 0, 3)


def test_handshakes_of_the_last_minute_are_what_is_timed() -> None:
    before = counters(backend=Traffic(begun=90, completed=90), times=buckets(b20=50))
    now = counters(
        backend=Traffic(begun=200, completed=190, repeated=7, looped=2), times=buckets(b9=90, b14=10, b20=50)
    )
    found = sensed(before, now).handshakes(1)
    assert (found.begun, found.completed, found.repeated, found.repeated_recently) == (200, 190, 7, 7)
    assert found.median_s is not None
    assert found.p95_s is not None
    assert 2**9 * HANDSHAKE_UNIT_S <= found.median_s <= 2**10 * HANDSHAKE_UNIT_S
    assert 2**14 * HANDSHAKE_UNIT_S <= found.p95_s <= 2**15 * HANDSHAKE_UNIT_S


@pytest.mark.parametrize(
    ("counted", "part", "units"),
    [
        (buckets(), 0.5, None),
        (buckets(b0=4), 1.0, 2.0),
        (buckets(b10=100), 0.5, 2**10.5),
        (buckets(b10=50, b12=50), 0.5, 2**11),
        (buckets(b10=50, b12=50), 0.51, 2**12.02),
        (buckets(b3=1), 0.5, 2**3.5),
    ],
)
def test_quantile_is_found_within_its_bucket(counted: tuple[int, ...], part: float, units: float | None) -> None:
    found = quantile_s(counted, part)
    assert (found is None) == (units is None)
    if units is not None:
        assert found == pytest.approx(units * HANDSHAKE_UNIT_S, rel=0.005)

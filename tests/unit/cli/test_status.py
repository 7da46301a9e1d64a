"""``lbctl status`` as it is seen: golden pictures at two widths, and what must hold at any."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lbctl.cli.render import amount, duration, latency
from lbctl.cli.status import show
from lbctl.core.standing import Condition
from lbctl.daemon.models import Status
from tests.unit.cli import families, samples
from tests.unit.cli.canned import Canned
from tests.unit.cli.running import run
from tests.unit.daemon.served import served

GOLDEN = Path(__file__).parent / "golden"


def picture(found: Status, width: int, *, traffic: bool = False) -> str:
    """What a screen of that width shows, without the blanks at the ends of lines."""
    screen = StringIO()
    show(found, Console(file=screen, width=width, highlight=False), traffic=traffic)
    return "".join(f"{line.rstrip()}\n" for line in screen.getvalue().splitlines())


@pytest.mark.parametrize("width", [80, 160])
def test_status_with_everything_in_it_looks_as_it_should(width: int) -> None:
    assert picture(samples.status(), width) == (GOLDEN / f"status-{width}.txt").read_text()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_status_of_both_families_looks_as_it_should(width: int) -> None:
    assert picture(families.both_families(), width) == (GOLDEN / f"families-{width}.txt").read_text()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_status_of_traffic_looks_as_it_should(width: int) -> None:
    assert picture(families.both_families(), width, traffic=True) == (GOLDEN / f"traffic-{width}.txt").read_text()


@pytest.mark.parametrize("traffic", [False, True])
@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_status_of_both_families_cuts_nothing_at_any_width(width: int, traffic: bool) -> None:
    shown = picture(families.both_families(), width, traffic=traffic)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    if not traffic:
        together = "".join(shown.split())
        assert all(part in together for part in str(families.LONG).split(":"))
        assert "fd00::a:12" in shown
        assert "fd00::a:1\n" in shown


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_status_at_any_width_cuts_nothing_and_leaves_out_nothing_that_matters(width: int) -> None:
    shown = picture(samples.status(), width)
    words = " ".join(shown.split())
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    rows = [row for pool in samples.status().pools for row in pool.backends]
    for row in rows:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{row.name} ")]
        assert str(row.address) in line
        assert row.state in line
        assert f"{row.share:.1%}" in line
        assert f" {row.connections}" in line
    assert {row.state for row in rows} == set(Condition) - {Condition.REMOVED}
    if width < 160:  # in a column of their own the reasons are broken into pieces
        for reason in samples.REASONS.values():
            assert reason in words


def test_status_begins_with_what_an_operator_must_see_first() -> None:
    troubles = picture(samples.status(), 200).partition("INTERFACE")[0]
    assert [line for line in troubles.splitlines() if line] == [
        "The file was refused, the configuration before it goes on:",
        "/etc/lbctl/lbctl.yaml:7:5: service pacs: unknown key 'prset'",
        "  hint: did you mean 'preset'?",
        "The latest change failed and is tried again: writing a map entry: No space left on device",
        "worklist is not served: 02:00:c0:00:02:63 already answers for 192.0.2.101",
        "Not as declared: interface eth0 has no IPv4 address, but the file says 192.0.2.10/24",
        "eth0 runs in generic mode, which is slower: the driver says: Operation not supported",
        "loop_backend, 12 packets in the last minute: a backend sends packets back: the VIP is missing on its loopback",
        "unresolved, 1 packet in the last minute: packets for a backend without a known MAC were dropped",
        "turned_away, 2 packets in the last minute: new connections were refused, for no backend took them",
        "over_budget, 900 packets in the last minute: connections came faster than they are entered: "
        "forwarded, but not remembered (a flood?)",
        "lost_fragment, 3 packets in the last minute: fragments were dropped, for the first one of their datagram had not "
        "come by",
        "a flow table is 95% full: beyond that, packets go by hash alone",
    ]


def test_status_without_trouble_has_no_word_of_it() -> None:
    found = samples.status()
    calm = found.model_copy(
        update={
            "daemon": found.daemon.model_copy(update={"config_error": None, "last_error": None, "warnings": ()}),
            "flow_table": found.flow_table.model_copy(update={"fullest": 0.01}),
            "interfaces": (found.interfaces[0].model_copy(update={"mode": "native", "fallback_reason": ""}),),
            "reasons": {name: count.model_copy(update={"recent_packets": 0}) for name, count in found.reasons.items()},
            "services": found.services[:1],
            "removed": (),
            "removed_vips": (),
        }
    )
    shown = picture(calm, 120)
    assert shown.startswith("INTERFACE")
    assert "removed from the file" not in shown
    assert "31 loop_backend" in shown.rpartition("packets:")[2]  # the total stays in the last lines


def test_status_of_a_pool_says_how_it_gives_its_connections_away() -> None:
    assert [line for line in picture(samples.status(), 100).splitlines() if line.startswith(("pool ", "clients "))] == [
        "pool archives (archive): balance, private storage, 40 sources assigned",
        "clients assigned to one archive do not see the studies of the others",
        "pool feeds (hl7): failover, feed1 is active",
        "pool portal (web): balance, fallback spare takes the new connections, dropped if nobody takes them",
        "pool spare (web): balance",
    ]


@pytest.mark.parametrize(
    ("own", "spare", "said"),
    [
        ("up", "up", "fallback spare"),
        ("full", "up", "fallback spare takes the new connections"),
        ("down", "full", "fallback spare"),
    ],
)
def test_status_of_a_pool_says_whether_its_fallback_is_in_use(own: str, spare: str, said: str) -> None:
    pools = (
        samples.pool("portal", "web", samples.backend(own, 1), fallback="spare"),
        samples.pool("spare", "web", samples.backend(spare, 2)),
    )
    assert f"pool portal (web): balance, {said}" in picture(samples.status(pools=pools), 100).splitlines()


@pytest.mark.parametrize(("limit", "shown"), [(None, "7"), (10, "7/10")])
def test_status_of_a_backend_shows_its_connections_beside_their_limit(limit: int | None, shown: str) -> None:
    one = samples.backend("up", 1, connections=7, connection_limit=limit)
    picture_of_it = picture(samples.status(pools=(samples.pool("p", "web", one),)), 80)
    (row,) = [line.split() for line in picture_of_it.splitlines() if line.startswith("pacs1 ")]
    assert row[row.index("33.3%") + 1] == shown


@pytest.mark.parametrize(
    ("said", "weight", "reason"),
    [
        ({"given_weight": 20, "weight_declared_then": 100}, "20/20", "weight 20 by an operator, 100 in the file"),
        (
            {"given_weight": 20, "weight_declared_then": 70},
            "20/20",
            "weight 20 by an operator; the file said 70 then, and says 100 now",
        ),
        (
            {"given_weight": 0, "weight_declared_then": 100, "reason": "its weight is 0 by an operator"},
            "20/0",
            "its weight is 0 by an operator; weight 100 in the file",
        ),
        ({"slow_start_percent": 20}, "20/100", "accepts connections; slow start, 20 %"),
    ],
)
def test_status_of_a_backend_tells_an_operators_weight_and_a_slow_start(
    said: dict[str, object], weight: str, reason: str
) -> None:
    row = samples.backend("up", 1, effective_weight=20.0, **said)
    shown = picture(samples.status(pools=(samples.pool("p", "web", row),)), 240)
    assert f" {weight} " in shown
    assert reason in shown


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


def test_status_in_a_pipe_is_not_folded_to_a_screen(canned: Path) -> None:
    ended = run("status", "--socket", canned)
    assert ended.code == 0
    assert "REASON" in ended.out
    assert max(map(len, ended.out.splitlines())) > 160


def test_status_of_traffic_is_asked_for_by_an_option(canned: Path) -> None:
    ended = run("status", "--traffic", "--socket", canned)
    assert "MEDIAN" in ended.out
    assert "ADDRESS" not in ended.out


def test_status_as_json_is_the_whole_model(canned: Path) -> None:
    ended = run("status", "--json", "--socket", canned)
    assert Status.model_validate_json(ended.out) == samples.status()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (119, "119 s"), (300, "5 min"), (12_000, "3 h 20 min"),
     (187_200, "2 d 4 h")],
)  # fmt: skip
def test_duration_is_shown_for_people(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0.00041, "0.41 ms"), (0.0042, "4.2 ms"), (0.0123, "12 ms"), (0.9, "900 ms"), (1.25, "1.2 s")],
)
def test_latency_is_shown_for_people(seconds: float | None, shown: str) -> None:
    assert latency(seconds) == shown


@pytest.mark.parametrize(
    ("octets", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (10**18, "1000.0 PB")]
)
def test_amount_is_shown_for_people(octets: float, shown: str) -> None:
    assert amount(octets) == shown

"""The act of the flood: what an attacker's SYNs do to connections that sit idle, and to new ones. Nothing."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from lbctl.lab import http
from lbctl.lab.demo.ledger import Phase
from lbctl.lab.demo.life.configuration import WEB_PORT
from lbctl.lab.demo.life.stage import Stage
from lbctl.lab.demo.words import by_name
from lbctl.lab.flood import SPOOFED, send_spoofed_syns
from lbctl.lab.lines import line_to, spread
from lbctl.lab.topology import VIP

_SYNS = 20_000
_COUNTED_AT_LEAST = 0.95
"""Of the spoofed SYNs. A busy machine loses some in the queue of a virtual cable."""
_AT_A_TIME = 5


def flood(stage: Stage, phase: Phase) -> None:
    """SYNs from addresses that nobody has, while an idle connection hangs by its entry in the flow table alone."""
    client, attacker, name = stage.clients[0], stage.clients[2], "server1"
    with line_to(client, name, port=WEB_PORT) as idle, stage.told("drain", "web", name):
        syns = _syns(stage)
        phase.now(f"{_SYNS:,} SYNs from spoofed addresses; new connections meanwhile")
        with ThreadPoolExecutor(max_workers=1) as pool:
            sending = pool.submit(
                send_spoofed_syns, attacker, VIP, port=WEB_PORT, to_mac=stage.lab.director.mac, count=_SYNS, seed=1
            )
            answered: Counter[str] = Counter()
            while not sending.done():
                answered += spread(client, _AT_A_TIME, port=WEB_PORT)
        counted = _syns(stage) - syns
        phase.expect(
            counted >= _COUNTED_AT_LEAST * sending.result(),
            "the program sees the flood, and counts it",
            expected=f"{sending.result():,} SYNs, and those of new connections",
            seen=f"{counted:,}",
        )
        phase.expect_equal("none of it enters the flow table", expected=0, seen=_spoofed_flows(stage))
        phase.expect(
            answered.total() > 0 and name not in answered,
            "new connections are served during the flood",
            expected="each of them, by the others",
            seen=f"{answered.total()}: {by_name(answered)}",
        )
        seen = idle.ask()
        phase.expect_equal(
            f"a connection that sat idle at {name}, which is drained, is still there", expected=name, seen=seen
        )
    phase.fates.update({"went on": 1, "served": answered.total()})
    phase.result = f"{counted:,} SYNs: 0 flows; {answered.total()} new connections served; the idle one still there"


def _syns(stage: Stage) -> int:
    """SYNs that the program has given to a backend so far."""
    reasons = stage.daemon.status()["reasons"]
    return int(reasons["syn"]["packets"]) if "syn" in reasons else 0


def _spoofed_flows(stage: Stage) -> int:
    found = json.loads(http.get_over_socket(stage.daemon.socket, "/v1/flows?limit=10000"))["flows"]
    return sum(IPv4Address(flow["client"]) in SPOOFED for flow in found)

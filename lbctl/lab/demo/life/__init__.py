"""The life of a connection: never moved, never cut without cause, and told at once when its server is dead."""

from __future__ import annotations

from lbctl.lab.demo.life.accounts import accounts, summary
from lbctl.lab.demo.life.acts import ACTS
from lbctl.lab.demo.life.configuration import HOSTS
from lbctl.lab.demo.life.stage import set_stage
from lbctl.lab.demo.programme import Demonstration
from lbctl.lab.topology import plan_lab

DEMONSTRATION = Demonstration(
    title="lbctl: the life of a connection",
    setting_up="a switch, a director, three clients and eight servers, each in a network namespace.",
    plan=lambda: plan_lab(backends=len(HOSTS), clients=3),
    set_stage=set_stage,
    acts=ACTS,
    most_backends=3,
    accounts=accounts,
    summary=summary,
)

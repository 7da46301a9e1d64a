"""Real archives behind one virtual address: images go in and come back past the director, archives come and go."""

from __future__ import annotations

from lbctl.lab.demo.images.accounts import accounts, summary
from lbctl.lab.demo.images.acts import ACTS
from lbctl.lab.demo.images.stage import set_stage
from lbctl.lab.demo.programme import Demonstration
from lbctl.lab.topology import VIP, plan_lab

DEMONSTRATION = Demonstration(
    title=f"lbctl: three archives behind {VIP}",
    setting_up="a switch, a director, three archives and three clients, each in a network namespace.",
    plan=lambda: plan_lab(backends=3, clients=3),
    set_stage=set_stage,
    acts=ACTS,
    most_backends=3,
    accounts=accounts,
    summary=summary,
)

"""The lab: a switch with directors, backends and clients on one subnet, made of network namespaces.

::

    clients .201 …        director .10 (.9 …)        backends .11 …        router .1
         │                       │                         │                   :
    ─────┴───────────────────────┴─────────────────────────┴───── switch, 192.0.2.0/24 and 2001:db8:2::/64
                      virtual addresses .100 …

With backends elsewhere (`plan_lab(far_backends=…)`) the directors and a router have a place on a second segment as well:
another wire, or a VLAN of the same one, 203.0.113.0/24 and 2001:db8:113::/64.

The demo, the namespace tests and the benchmarks share it. It leaves nothing behind: not on an error, not on Ctrl-C,
not on SIGTERM.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from lbctl.errors import UsageError
from lbctl.lab import ownership, wiring
from lbctl.lab.capture import FrameCounter
from lbctl.lab.interrupts import uninterrupted, unwinding_on_termination
from lbctl.lab.namespaces import require_tools, run_ip
from lbctl.lab.node import Node, Role
from lbctl.lab.plan import SUBNET, VIP, VIP6, LabPlan, plan_lab
from lbctl.lab.processes import Processes
from lbctl.lab.segments import HOME, SECOND_WIRE, TAGGED

__all__ = ["HOME", "SECOND_WIRE", "SUBNET", "TAGGED", "VIP", "VIP6", "Lab", "LabPlan", "plan_lab"]


class Lab:
    """A running lab. Use it as a context manager, or call `build` and `tear_down`."""

    def __init__(self, plan: LabPlan) -> None:
        self.plan = plan
        self.processes = Processes()
        self.nodes = tuple(Node(node, processes=self.processes) for node in plan.nodes)
        self.directors = self._with_role(Role.DIRECTOR)
        self.backends = self._with_role(Role.BACKEND)
        self.clients = self._with_role(Role.CLIENT)
        self.routers = self._with_role(Role.ROUTER)
        self.directory = plan.directory
        self._open = ExitStack()
        self._signals = ExitStack()
        self._lock: int | None = None

    @property
    def director(self) -> Node:
        """The first director."""
        return self.directors[0]

    @property
    def pins(self) -> Path:
        """Where the first director's daemon pins its programs and maps."""
        return self.pins_of(self.director)

    def pins_of(self, director: Node) -> Path:
        """Where that director's daemon pins: a directory of its own on the lab's bpffs."""
        return self.plan.bpffs / director.name

    def node(self, name: str) -> Node:
        """The node of that name; `UsageError` listing the names there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(
            f"the lab has no node {name!r}", hint=f"its nodes are {', '.join(node.name for node in self.nodes)}"
        )

    def count_frames(self, node: Node) -> FrameCounter:
        """Start to count what passes that node's NIC (exact, see `lbctl.lab.capture`); ends with the lab."""
        counter = FrameCounter(namespace=self.plan.switch, port=node.plan.port, own=(node.address, node.address6))
        return self._open.enter_context(counter)

    def cut(self, node: Node, *, cable: int = 0) -> None:
        """Pull a cable of the node out of the switch. Its own interface loses carrier."""
        run_ip([f"link set {node.places[cable].port} down"], namespace=self.plan.switch)

    def mend(self, node: Node, *, cable: int = 0) -> None:
        """Plug the node's cable in again."""
        run_ip([f"link set {node.places[cable].port} up"], namespace=self.plan.switch)

    def replace_interface(self, node: Node, *, cable: int = 0) -> None:
        """Take an interface of a node away and make it anew, as a driver that is reloaded does: another index, nothing on it
        but its addresses."""
        wiring.replace_interface(self.plan, node.plan, node.places[cable])
        if not cable:
            node.mac = node.plan.mac

    def build(self) -> None:
        """Make every namespace, cable and mount; takes a fraction of a second."""
        require_tools("ip", "tc", "ethtool", "nsenter", "mount", hint="install iproute2, ethtool and util-linux")
        self.directory.mkdir(mode=0o755)  # claims the prefix: from here on whatever bears it is this lab's to remove
        # Ctrl-C may strike between a `with` statement's steps, where nothing else would take the lab down.
        atexit.register(self.tear_down)
        try:
            self._lock = ownership.claim(self.directory)
            wiring.mount_bpffs(self.plan.bpffs)
            wiring.connect(self.plan)
            for node in self.backends:
                for vip in self.plan.vips:
                    node.add_vip(vip)
        except BaseException:
            with uninterrupted():
                self.tear_down()
            raise

    def tear_down(self) -> None:
        """End the lab's processes, delete its namespaces, unmount and remove its directory. Never stops half-way."""
        with ExitStack() as steps:
            steps.callback(self._let_go)
            steps.callback(wiring.remove, self.plan.prefix, self.directory)
            steps.callback(self.processes.end_all)
            steps.callback(self._open.close)

    def leave_standing(self) -> None:
        """Let the lab outlive this process; another one removes it."""
        ownership.leave_standing(self.directory)
        self._let_go()

    def __enter__(self) -> Lab:
        with ExitStack() as signals:
            signals.enter_context(unwinding_on_termination())
            self.build()
            self._signals = signals.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._signals, uninterrupted():
            self.tear_down()

    def _let_go(self) -> None:
        atexit.unregister(self.tear_down)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _with_role(self, role: Role) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is role)

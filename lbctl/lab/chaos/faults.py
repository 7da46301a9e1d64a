"""How each step is carried out in the lab."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lbctl.errors import LabError
from lbctl.lab.chaos import control
from lbctl.lab.chaos.control import ANSWERED_WITHIN_S
from lbctl.lab.chaos.disk import Disk
from lbctl.lab.chaos.document import configuration
from lbctl.lab.chaos.sessions import Servers
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.world import VAULT, Fate
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until

READY_WITHIN_S = 90.0
_CONFIRM_S = 2.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """All that a step may touch."""

    lab: Lab
    daemon: Daemon
    servers: Servers
    disk: Disk

    def carry_out(self, step: Step) -> None:
        """Do it. What it leads to is for others to wait for."""
        if step.is_absent:
            self.daemon.kill()
        _HOW[step.kind](self, step)
        if step.is_absent:
            self.start()

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        self.daemon.start(ready_within_s=READY_WITHIN_S)

    def change(self, step: Step) -> None:
        """Another file, by SIGHUP."""
        self.daemon.reload(configuration(step.after))

    def bad_file(self, step: Step) -> None:
        """Nothing may change but what status says, also if the daemon is started anew with it; then the good one again."""
        self.daemon.reload(step.text)
        wait_until(self._config_error, deadline_s=ANSWERED_WITHIN_S, what="status to tell of a bad file")
        if step.has_crash:
            self.crash(step)
            wait_until(
                self._config_error, deadline_s=ANSWERED_WITHIN_S, what="status to tell of a bad file at the start"
            )
        self.daemon.reload(configuration(step.after))

    def _config_error(self) -> bool:
        return bool(self.daemon.status()["daemon"]["config_error"])

    def confirmed(self, step: Step) -> None:
        """A change by plan, apply and confirm."""
        self._apply(step, confirm_s=ANSWERED_WITHIN_S)
        control.require(self.daemon.socket, "/v1/confirm")

    def unconfirmed(self, step: Step) -> None:
        """A change that nobody confirms, also if the daemon dies while it waits for that."""
        self._apply(step, confirm_s=_CONFIRM_S)
        if step.has_crash:
            time.sleep(step.delay_s)
            self.crash(step)
        wait_until(self._has_all_settled, deadline_s=ANSWERED_WITHIN_S, what="the change to be rolled back")

    def _apply(self, step: Step, *, confirm_s: float) -> None:
        assert step.between is not None
        text, source = configuration(step.between), self.daemon.directory / "proposed.yaml"
        source.write_text(text)
        planned = control.plan(self.daemon.socket, text)
        application = {"text": text, "source": str(source), "base": planned["base"], "confirm_s": confirm_s}
        control.require(self.daemon.socket, "/v1/apply", application)

    def _has_all_settled(self) -> bool:
        return self.daemon.status()["daemon"]["unconfirmed"] is None

    def command(self, step: Step) -> None:
        """Drain, halt, enable or activate. What was answered is on disk, or in the kernel, so it outlives a crash."""
        control.require(self.daemon.socket, f"/v1/backends/{step.label}/{step.kind}")
        self._maybe_crash(step)

    def weight(self, step: Step) -> None:
        """Another weight than the file's, or that one again."""
        control.put(self.daemon.socket, f"/v1/backends/{step.label}/weight", {"weight": step.weight})
        self._maybe_crash(step)

    def assign(self, step: Step) -> None:
        """A source to a member, or to whomever its next connection finds."""
        resource = f"/v1/pools/{VAULT}/assignments/{step.source}"
        if step.label:
            control.put(self.daemon.socket, resource, {"backend": step.label.partition("/")[2]})
        else:
            control.delete(self.daemon.socket, resource)
        self._maybe_crash(step)

    def _maybe_crash(self, step: Step) -> None:
        if step.has_crash:
            self.crash(step)

    def crash(self, step: Step) -> None:
        """SIGKILL, and a start."""
        self.daemon.kill()
        self.start()

    def crash_in_reload(self, step: Step) -> None:
        """SIGKILL some time after SIGHUP."""
        self.daemon.reload(configuration(step.after))
        time.sleep(step.delay_s)
        self.daemon.kill()
        self.start()

    def crash_in_start(self, step: Step) -> None:
        """SIGKILL while it starts."""
        self.daemon.stop()
        process = self.daemon.launch()
        time.sleep(step.delay_s)
        signal_group(process, signal.SIGKILL)
        process.wait()
        self.start()

    def restart(self, step: Step) -> None:
        """In order; an upgrade is one to a program with other parts."""
        if self.daemon.stop() != 0:
            raise LabError("lbctl run did not end in order")
        self.daemon.config.write_text(configuration(step.after))
        self.start()

    def disk_full(self, step: Step) -> None:
        """An operator's word is refused and forgotten, a start succeeds; with space again a changed file goes through."""
        self.disk.fill()
        try:
            pool, name, _ = next(iter(step.before.members()))
            word = "enable" if f"{pool}/{name}" in step.before.overrides else "drain"
            code, _ = control.ask(self.daemon.socket, f"/v1/backends/{pool}/{name}/{word}")
            if code == control.OK:
                raise LabError(f"{word} {pool}/{name} was accepted though the disk is full")
            self.crash(step)
        finally:
            self.disk.free()
        self.change(step)

    def director_cable(self, step: Step) -> None:
        """Out of the switch, and in again."""
        self._pull(self.lab.director, step.delay_s)

    def server_cable(self, step: Step) -> None:
        """Likewise."""
        self._pull(self.lab.node(step.node), step.delay_s)

    def _pull(self, node: Node, for_s: float) -> None:
        self.lab.cut(node)
        time.sleep(for_s)
        self.lab.mend(node)

    def link(self, step: Step) -> None:
        """The interface itself down and up, as by hand: its routes and neighbours are gone. A server's comes back with those
        that it had, as its network manager would see to."""
        node = self.lab.node(step.node) if step.node else self.lab.director
        node.set_link(up=False)
        time.sleep(step.delay_s)
        node.set_link(up=True)

    def director_nic(self, step: Step) -> None:
        """The driver is loaded anew."""
        self.lab.replace_interface(self.lab.director)

    def mac(self, step: Step) -> None:
        """Another one; a director's is announced by lbctl or by nobody."""
        node = self.lab.node(step.node) if step.node else self.lab.director
        node.change_mac(announce=step.kind is Kind.SERVER_MAC)

    def server_killed(self, step: Step) -> None:
        """Its process: the kernel of its host ends its connections, and refuses new ones."""
        self.servers.kill(step.node)

    def server_cut(self, step: Step) -> None:
        """Its cable is out until it comes back."""
        self.lab.cut(self.lab.node(step.node))

    def server_back(self, step: Step) -> None:
        """From either death."""
        if step.before.fates[step.node] is Fate.CUT:
            self.lab.mend(self.lab.node(step.node))
        else:
            self.servers.start(step.node)

    def own_interface(self) -> tuple[int, str]:
        """The director's: index and MAC."""
        director = self.lab.director
        said = director.run(["ip", "-o", "link", "show", "dev", director.interface]).stdout
        return int(said.partition(":")[0]), director.mac

    def macs(self) -> Mapping[str, str]:
        """Of every server, as they are now."""
        return {node.name: node.mac for node in self.lab.backends}


_HOW: dict[Kind, Callable[[Stage, Step], None]] = {
    Kind.CHANGE: Stage.change,
    Kind.BAD_FILE: Stage.bad_file,
    Kind.CONFIRMED: Stage.confirmed,
    Kind.UNCONFIRMED: Stage.unconfirmed,
    Kind.DRAIN: Stage.command,
    Kind.HALT: Stage.command,
    Kind.ENABLE: Stage.command,
    Kind.ACTIVATE: Stage.command,
    Kind.WEIGHT: Stage.weight,
    Kind.ASSIGN: Stage.assign,
    Kind.UNASSIGN: Stage.assign,
    Kind.CRASH: Stage.crash,
    Kind.CRASH_IN_RELOAD: Stage.crash_in_reload,
    Kind.CRASH_IN_START: Stage.crash_in_start,
    Kind.RESTART: Stage.restart,
    Kind.UPGRADE: Stage.restart,
    Kind.DISK_FULL: Stage.disk_full,
    Kind.DIRECTOR_CABLE: Stage.director_cable,
    Kind.DIRECTOR_LINK: Stage.link,
    Kind.DIRECTOR_NIC: Stage.director_nic,
    Kind.DIRECTOR_MAC: Stage.mac,
    Kind.SERVER_CABLE: Stage.server_cable,
    Kind.SERVER_LINK: Stage.link,
    Kind.SERVER_MAC: Stage.mac,
    Kind.SERVER_MAC_SILENT: Stage.mac,
    Kind.SERVER_KILLED: Stage.server_killed,
    Kind.SERVER_CUT: Stage.server_cut,
    Kind.SERVER_BACK: Stage.server_back,
}

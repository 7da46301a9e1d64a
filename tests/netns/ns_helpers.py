"""Network namespaces for the tests of `lbctl.network`: hosts on one switch, and code that runs inside a host."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count(1)


def enter(namespace: str) -> None:
    """Move the calling thread, and only it, into the namespace."""
    with Path("/run/netns", namespace).open() as handle:
        if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A namespace with one interface, ``eth0``, on the switch."""

    namespace: str
    address: str
    switch: str
    port: str

    def run(self, command: str, *, stdin: str | None = None) -> str:
        """Run a command inside; its output. Raises if it fails."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *command.split()],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside. Sockets it opens stay there and can be used from anywhere."""
        result: Future[T] = Future()

        def work() -> None:
            try:
                enter(self.namespace)
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return result.result(timeout=30)

    def set_sysctl(self, key: str, value: int) -> None:
        self.run(f"sysctl -qw {key}={value}")

    def set_mac(self, mac: str) -> None:
        """Change the MAC as Linux does: silently."""
        self.run(f"ip link set eth0 address {mac}")

    def set_port(self, state: str) -> None:
        """Set the switch's port that the host is plugged into ``up`` or ``down``: the carrier follows."""
        _ip(f"-n {self.switch} link set {self.port} {state}")

    @property
    def mac(self) -> bytes:
        words = self.run("ip -br link show eth0").split()
        return bytes.fromhex(words[2].replace(":", ""))


class LoopInside:
    """An event loop in a thread that has entered a host's namespace."""

    def __init__(self, host: Host) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, args=(host.namespace,), daemon=True)
        self._thread.start()

    def _work(self, namespace: str) -> None:
        enter(namespace)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float = 60) -> T:
        """Run a coroutine there; its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@contextmanager
def hosts_on_a_switch(count: int) -> Iterator[tuple[Host, ...]]:
    """Hosts 10.77.0.1/24 and up, on a bridge in a namespace of its own; torn down in the end, whatever happens."""
    stem = f"lbnet{os.getpid()}n{next(_serial)}"
    switch = f"{stem}sw"
    hosts = tuple(
        Host(namespace=f"{stem}h{index}", address=f"10.77.0.{index}", switch=switch, port=f"p{index}")
        for index in range(1, count + 1)
    )
    try:
        _ip(f"netns add {switch}")
        _ip(f"-n {switch} link add br0 type bridge forward_delay 0 mcast_snooping 0")
        _ip(f"-n {switch} link set br0 up")
        for host in hosts:
            _connect(host)
        yield hosts
    finally:
        for namespace in [switch, *(host.namespace for host in hosts)]:
            with suppress(subprocess.CalledProcessError):
                _ip(f"netns del {namespace}")


def _connect(host: Host) -> None:
    _ip(f"netns add {host.namespace}")
    _ip(f"link add eth0 netns {host.namespace} type veth peer name {host.port} netns {host.switch}")
    _ip(f"-n {host.switch} link set {host.port} master br0 up")
    _ip(f"-n {host.namespace} addr add {host.address}/24 dev eth0")
    _ip(f"-n {host.namespace} link set lo up")
    _ip(f"-n {host.namespace} link set eth0 up")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def eventually(condition: Callable[[], T | None], *, within_s: float = 10) -> T:
    """Wait until the condition holds; its value. Fails the test after the deadline."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {within_s} s: {condition}"
        time.sleep(0.01)  # the pause between two looks
    return value

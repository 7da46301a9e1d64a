"""The composition root: from options to a running daemon, and its end. Neither bcc nor scapy is imported here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from lbctl import __version__
from lbctl.core.features import Features, features_of
from lbctl.core.model import Declaration
from lbctl.daemon.api import make_api
from lbctl.daemon.changes.starting import Start
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.early import Begun
from lbctl.daemon.garbage import look_at_the_young_only, tidy_up_forever
from lbctl.daemon.instance import alone_in_network, only_instance
from lbctl.daemon.notify import notify, watchdog_interval_s
from lbctl.daemon.sockets import PeerProtocol, open_control_socket
from lbctl.daemon.state.store import kept_seed
from lbctl.daemon.surroundings import Claims, Surroundings
from lbctl.daemon.vips import announced_vips
from lbctl.dataplane import loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import sized
from lbctl.dataplane.links import require_free
from lbctl.dataplane.moving import Mover, needs_ipv6, price
from lbctl.dataplane.objectfile import Build, start_build
from lbctl.dataplane.vips import pinned_vips
from lbctl.errors import LbctlError
from lbctl.network.kernel import KernelNetwork
from lbctl.network.port import Link

_log = logging.getLogger("lbctl")

_NO_WATCHDOG_S = 3600.0
MAX_CONNECTIONS = 200
"""Of the control socket; more are refused, so that they cannot use up the daemon's file descriptors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where everything lies."""

    config: Path
    pins: Path
    socket: Path
    state: Path


def run(options: Options, begun: Begun) -> None:
    """Run until SIGTERM or SIGINT. Forwarding goes on after that. Raises `LbctlError` if it cannot start."""
    asyncio.run(_run(options, begun))


async def _run(options: Options, begun: Begun) -> None:
    loader.prepare_pins(options.pins)
    with only_instance(options.pins), open_control_socket(options.socket) as control, alone_in_network():
        surroundings = Surroundings(KernelNetwork())
        try:
            await _serve(options, begun, surroundings, control)
        finally:
            await surroundings.close()
            options.socket.unlink(missing_ok=True)


async def _serve(options: Options, begun: Begun, surroundings: Surroundings, control: socket.socket) -> None:
    """Start, then all loops until a signal, or until one of them fails."""
    declaration = begun.start.declaration
    if begun.start.config_error:
        _log.error("what was in force before is in force again, for the file is wrong: %s", begun.start.config_error)
    links = await surroundings.links(declaration)
    require_free(options.pins, [link.attach_index for link in links.values()])
    with _building(begun, _features(options.pins, declaration)) as build:
        await surroundings.manage_neighbours(declaration, links)
        claims = asyncio.create_task(_claims(options.pins, declaration, surroundings, links))
        mover = await _load(options, declaration, build)
    lost = price(mover.loaded, options.pins)
    daemon = _make_daemon(options, begun.start, surroundings, mover, lost)
    server = _Server(_server_config(daemon))
    stop = asyncio.Event()
    look_at_the_young_only()
    with _signals(daemon, stop):
        loops: list[asyncio.Task[Any]] = [asyncio.create_task(daemon.watch_network())]
        await daemon.bring_up(links, claims=await claims)
        _leave_old_tables(mover, options.pins)
        more = (*daemon.loops(), _pet_watchdog(), tidy_up_forever(), stop.wait())
        loops += [asyncio.create_task(loop) for loop in more]
        serving = asyncio.create_task(server.serve(sockets=[control]))
        notify("READY=1", "STATUS=forwarding")
        _log.info("ready")
        done, _ = await asyncio.wait([*loops, serving], return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    _log.info("stopping; forwarding goes on (`lbctl detach` ends it)")
    daemon.watching.end_all()
    await _end(loops, server, serving)
    await daemon.close()
    for task in done:
        task.result()  # a loop that ended by itself has failed: let that be known


async def _end(loops: list[asyncio.Task[Any]], server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    for task in loops:
        task.cancel()
    await asyncio.gather(*loops, serving, return_exceptions=True)


async def _claims(
    pins: Path, declaration: Declaration, surroundings: Surroundings, links: Mapping[str, Link]
) -> Claims:
    """Who else answers for the VIPs that are not active yet. Takes a moment, during which the program is built."""
    fresh = announced_vips(declaration) - pinned_vips(pins)
    return await surroundings.find_duplicates(fresh, declaration, links)


def _features(pins: Path, declaration: Declaration) -> Features:
    """What the file uses; and IPv6, as long as there is something to go on with."""
    wanted = features_of(declaration)
    return replace(wanted, ipv6=wanted.ipv6 or needs_ipv6(pins))


@contextlib.contextmanager
def _building(begun: Begun, features: Features) -> Iterator[Build]:
    """The build child, which works while the network is asked for the VIPs; another if more is needed than the file says."""
    build = begun.build if begun.build.features == features else start_build(features=features)
    try:
        yield build
    finally:
        build.cancel()


async def _load(options: Options, declaration: Declaration, build: Build) -> Mover:
    """Maps and programs, beside those that are at work; and who took live flows along into them, and will take more."""
    source = await asyncio.to_thread(build.wait)
    _log.info("lbctl %s: data plane built in %.2f s", __version__, source.build_s)
    director = declaration.director
    specs = sized(tcp_flows=director.tcp_flows, udp_flows=director.udp_flows, has_ipv6=source.features.ipv6)
    mover = Mover(loader.load(source, options.pins, specs), options.pins)
    moved = mover.move()
    if moved:
        _log.info("%d flows taken along into new tables", moved)
    return mover


def _leave_old_tables(mover: Mover, pins: Path) -> None:
    """The new program is at work: what the old one entered until then comes along, its tables go."""
    try:
        mover.move()
    except LbctlError as error:
        _log.error("%s", error)
    loader.remove_left_overs(pins, mover.loaded.specs)


def _make_daemon(
    options: Options, start: Start, surroundings: Surroundings, mover: Mover, lost: tuple[str, ...]
) -> Daemon:
    dataplane = KernelDataplane(mover.loaded, options.pins, mover=mover)
    dataplane.sow(kept_seed(options.state))
    return Daemon(
        config=options.config,
        start=start,
        dataplane=dataplane,
        surroundings=surroundings,
        state=options.state,
        features=mover.loaded.features,
        lost=lost,
    )


async def _pet_watchdog() -> None:
    interval_s = watchdog_interval_s()
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s or _NO_WATCHDOG_S)


@contextlib.contextmanager
def _signals(daemon: Daemon, stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(daemon))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    yield
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.remove_signal_handler(number)


async def _reload(daemon: Daemon) -> None:
    notify("RELOADING=1")
    try:
        await daemon.reload()
    except LbctlError:
        pass  # told in the log and in the status
    except Exception:
        _log.exception("the reload failed in a way that it should not; the configuration before goes on")
    finally:
        notify("READY=1")


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: ours stop it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _server_config(daemon: Daemon) -> uvicorn.Config:
    return uvicorn.Config(
        make_api(daemon.operator, daemon.audit, daemon.applier, daemon.planner),
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=16,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )


def set_up_logging(*, debug: bool) -> None:
    """One line a message on standard error; the journal adds the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for noisy in ("uvicorn", "asyncio", "pyroute2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

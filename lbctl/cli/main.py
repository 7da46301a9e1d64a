"""The ``lbctl`` command: a group whose commands are imported when they are called, so that each starts fast."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any

import click

from lbctl import __version__
from lbctl.errors import ConfigError, LbctlError

_COMMANDS = {
    "run": ("run", "Run the director in the foreground (what the service does)."),
    "check": ("check", "Check a configuration file; needs neither root nor a daemon."),
    "plan": ("plan", "Show what a file would change, and what that does; change nothing."),
    "apply": ("apply", "Put a configuration file in force, verified, or leave all as it was."),
    "confirm": ("apply", "Let the change stay that was applied with --confirm."),
    "history": ("history", "List the configurations that were in force, and who put them there."),
    "rollback": ("rollback", "Put a configuration of the history in force again."),
    "status": ("status", "Show services, backends and traffic."),
    "drain": ("backends", "Give backends no new connections; their live ones go on."),
    "halt": ("backends", "Give backends no new connections, and cut their live ones."),
    "enable": ("backends", "End a drain or a halt, at once or with a slow start."),
    "weight": ("weight", "Give backends another weight than the file does."),
    "maintenance": ("maintenance", "Drain, hold and enable hosts, one after the other."),
    "activate": ("backends", "Make a backend the active one of its pool with failover."),
    "assign": ("assign", "List and edit which source has which archive, for private storage."),
    "flows": ("flows", "List live connections."),
    "events": ("events", "Print new connections and dropped packets as they happen."),
    "detach": ("detach", "Take the data plane down: traffic to the VIPs stops."),
    "lab": ("lab", "A practice network on this machine: switch, director, backends, clients."),
}


class _Lazy(click.Group):
    """Knows its commands by name; imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, not of the alphabet."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from its own module."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"lbctl.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error that names the nearest ones."""
        close = difflib.get_close_matches(args[0], _COMMANDS)
        if args[0] not in _COMMANDS and close and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, close))}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 it failed, 2 the configuration or the command line is wrong.",
)
@click.version_option(__version__, prog_name="lbctl")
def cli() -> None:
    """A layer-4 load balancer for imaging networks: XDP direct routing.

    The director picks a backend for each new connection to a virtual address (VIP) and rewrites only MAC addresses;
    the backend answers the client directly.
    """


def main(*args: Any) -> None:
    """Run a command. Exit codes: 0 done, 1 it failed, 2 the configuration or the command line is wrong.

    Mistakes in a file come as a compiler's do, each line beginning with ``file:line:column``.
    """
    try:
        cli(*args)
    except LbctlError as error:
        sys.stderr.write(f"{error}\n" if isinstance(error, ConfigError) else f"error: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a read-only file system: foreseen nowhere in particular
        sys.stderr.write(f"error: {error.filename or 'lbctl'}: {error.strerror or error}\n")
        sys.exit(1)

"""The one exception tree. Each class's docstring says who must act."""

from __future__ import annotations


class LbctlError(Exception):
    """Base of every error lbctl raises on purpose: a message naming the object, and a hint that says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(LbctlError):
    """The author of the configuration file must act; nothing was changed."""

    exit_code = 2


class UsageError(LbctlError):
    """The person at the keyboard must act: the command names something that does not exist or is not allowed."""

    exit_code = 2


class ConflictError(LbctlError):
    """The person at the keyboard must look again: what was asked for does not fit the situation of now. Nothing was changed."""


class SystemRequirementError(LbctlError):
    """The administrator of the machine must act: a package, a privilege or a kernel feature is missing."""


class KernelError(LbctlError):
    """The kernel refused a BPF operation; the message carries its errno or the verifier's last lines."""


class RolledBackError(KernelError):
    """The administrator of the machine must act: a change was written, found wrong, and taken back; the message says how."""


class LayoutError(LbctlError):
    """A developer must act: ``ebpf/types.h`` and ``lbctl/dataplane/layout.py`` disagree."""


class NetworkError(LbctlError):
    """The network engineer must act: an interface, an address or a neighbour is not as declared."""


class NoSuchInterfaceError(NetworkError):
    """The network engineer must act, or wait: an interface does not exist now."""


class DaemonUnreachableError(LbctlError):
    """The person at the keyboard must act: no lbctl daemon answers on the control socket."""


class UnansweredError(DaemonUnreachableError):
    """The person at the keyboard must look: the daemon was asked for a change, and that may be made, or be made later."""


class LabError(LbctlError):
    """Whoever runs a lab must act: a command of a node failed, or something did not happen in time."""

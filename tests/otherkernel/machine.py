"""The emulated machine: boots, runs one command, says how it ended."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lbctl.errors import LbctlError, SystemRequirementError
from tests.otherkernel.initramfs import initramfs
from tests.otherkernel.stock import StockKernel, stock_kernel

EMULATOR = "qemu-system-x86_64"
FILE_SERVER = "/usr/lib/qemu/virtiofsd"
MEMORY = "2G"
"""At most; the host gives it as the guest touches it."""
BOOT = "console=ttyS0 quiet panic=-1 oops=panic"
"""A kernel bug ends the run at once, with its trace on the console."""
LAST_WORDS = 3_000
"""Characters of each log in an error."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# A child does not outlive this process, however it dies.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
# The whole tree of mounts, each of them read-only, in a mount namespace of the server's own. Some may vanish meanwhile: that
# of a network namespace does when its name is removed.
READ_ONLY_ROOT = """
    mount --rbind / "$0"
    findmnt --raw --noheadings --output TARGET --submounts "$0" | while read -r escaped; do
        target=$(printf %b "$escaped")
        mount -o remount,bind,ro "$target" || ! mountpoint -q "$target"
    done
    exec "$@"
"""


class MachineError(LbctlError):
    """A developer must act: the emulated machine did not come as far as the end of its command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended on the other kernel."""

    code: int
    output: str
    """Empty if it went elsewhere."""
    console: str
    """What the kernel said."""
    tainted: int
    """The kernel's own word, ``/proc/sys/kernel/tainted``: not 0 after a warning or worse."""
    seconds: float
    """Boot included."""


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    deadline_s: float,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    kernel: StockKernel | None = None,
) -> Outcome:
    """Boot, run a command in a directory of the host's, switch off. What it writes is lost with the machine.

    Its output, errors included, goes to ``output`` at once, or into the outcome. Raises `MachineError` if the machine died
    or did not end within ``deadline_s``, `SystemRequirementError` if something to boot with is missing."""
    started, kernel = time.monotonic(), kernel or stock_kernel()
    _require(EMULATOR, FILE_SERVER)
    script = _script(command, cwd, environment or {})
    with tempfile.TemporaryDirectory(prefix="lbctl-machine-") as name:
        directory = Path(name)
        (directory / "initramfs").write_bytes(initramfs(kernel, command=script))
        with _shared_files(directory), (directory / "output").open("w+b") as kept:
            _boot(kernel, directory, output or kept, deadline_s)
            kept.seek(0)
            said = kept.read().decode(errors="replace")
        console, ending = _text(directory / "console"), _text(directory / "ending").split()
        if len(ending) != 2:
            raise _failure("the emulated machine died before its command ended", directory)
    code, tainted = map(int, ending)
    return Outcome(code=code, output=said, console=console, tainted=tainted, seconds=time.monotonic() - started)


def _require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise SystemRequirementError(f"{program} is missing", hint="make deps-lab")


def _script(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
    usual = {"PATH": PATH, "HOME": str(Path.home()), "LC_ALL": "C.UTF-8"}
    variables = [f"{name}={value}" for name, value in {**usual, **environment}.items()]
    return f"#!/bin/sh\ncd {shlex.quote(str(cwd))} && exec env -i {shlex.join([*variables, *command])}\n"


@contextmanager
def _shared_files(directory: Path) -> Iterator[None]:
    """Serve this machine's files, read-only, on a socket."""
    root = directory / "root"
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as listening, (directory / "server").open("wb") as log:
        listening.bind(str(directory / "files"))
        listening.listen()
        server = [FILE_SERVER, f"--fd={listening.fileno()}", "-f", "-o", "log_level=warn"]
        options = ["-o", f"source={root},cache=always,sandbox=chroot"]
        argv = [*DIES_WITH_US, "unshare", "--mount", "sh", "-euc", READ_ONLY_ROOT, str(root), *server, *options]
        with _started(argv, pass_fds=(listening.fileno(),), stdout=log.fileno(), stderr=log.fileno()):
            listening.close()  # now it is the server's alone: should that die, the emulator is told
            yield


def _boot(kernel: StockKernel, directory: Path, output: IO[bytes], deadline_s: float) -> None:
    argv = [
        *DIES_WITH_US, EMULATOR, "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", MEMORY,
        "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
        "-kernel", str(kernel.image), "-initrd", str(directory / "initramfs"), "-append", BOOT,
        "-serial", f"file:{directory}/console",
        "-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output",
        "-serial", f"file:{directory}/ending",
        # The file server reads and writes the guest's memory.
        "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=files,path={directory}/files", "-device", "vhost-user-fs-pci,chardev=files,tag=host",
    ]  # fmt: skip
    with (
        (directory / "emulator").open("wb") as log,
        _started(argv, stdout=output.fileno(), stderr=log.fileno()) as emulator,
    ):
        try:
            emulator.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise _failure(f"the emulated machine was not done after {deadline_s:g} s", directory) from None
    if emulator.returncode:
        raise _failure(f"{EMULATOR} failed", directory)


def _failure(what: str, directory: Path) -> MachineError:
    """With the last words of everybody."""
    words = [_text(directory / name)[-LAST_WORDS:].strip() for name in ("server", "emulator", "console")]
    return MachineError("\n".join([what, *filter(None, words)]))


def _text(path: Path) -> str:
    """Empty if nobody began it."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


@contextmanager
def _started(
    argv: Sequence[str], *, stdout: int, stderr: int, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is gone at the end."""
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, pass_fds=pass_fds)
    try:
        yield child
    finally:
        child.kill()
        child.wait()

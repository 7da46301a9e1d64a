"""The kernel to boot, with its modules, and a busybox to begin with: unpacked, not installed, by ``make deps-kernel``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lbctl.errors import SystemRequirementError


@dataclass(frozen=True)
class StockKernel:
    """A directory that Debian packages were unpacked into."""

    root: Path

    @property
    def release(self) -> str:
        """As ``uname -r`` will say."""
        (modules,) = (self.root / "lib" / "modules").iterdir()
        return modules.name

    @property
    def image(self) -> Path:
        """What the boot loader loads."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """``/lib/modules/RELEASE``."""
        return self.root / "lib" / "modules" / self.release

    @property
    def busybox(self) -> Path:
        """A static one."""
        return self.root / "bin" / "busybox"

    def with_dependencies(self, *names: str) -> list[Path]:
        """The files of these modules and of all that they need, in the order in which to insert them."""
        wanted: dict[Path, None] = {}
        for name in names:
            module = next(path for path in self._needed if Path(path).stem == name)
            # depmod lists the nearest first
            wanted |= dict.fromkeys(self.modules / path for path in (*reversed(self._needed[module]), module))
        return list(wanted)

    @cached_property
    def _needed(self) -> dict[str, list[str]]:
        return dict(self._dependencies())

    def _dependencies(self) -> Iterator[tuple[str, list[str]]]:
        for line in (self.modules / "modules.dep").read_text(encoding="ascii").splitlines():
            module, _, needed = line.partition(":")
            yield module, needed.split()


def stock_kernel() -> StockKernel:
    """The one that ``deploy/deps.sh kernel`` unpacked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = cache / "lbctl" / "stock-kernel"
    if not root.is_dir():
        raise SystemRequirementError(f"there is no kernel to boot in {root}", hint="make deps-kernel")
    return StockKernel(root)

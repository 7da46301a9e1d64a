"""From object file to kernel: maps opened or made, programs loaded, everything pinned on a bpffs.

The pin directory holds ``<map>@<layout id>`` for every map, ``lb_ingress`` (the program behind the links) and
``link@<ifindex>@<mode>``. They outlive the process: forwarding needs no daemon. (A bpffs refuses names with a dot.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbctl.dataplane import bpf
from lbctl.dataplane.layout import MAPS, MapSpec
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import LayoutError, SystemRequirementError

INGRESS = "lb_ingress"
CLOCK = "lb_clock"
LINK_PREFIX = "link@"
_BPFFS_MAGIC = 0xCAFE4A11


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Descriptors of all maps and programs; ``adopted`` names the maps that were found pinned."""

    specs: Mapping[str, MapSpec]
    maps: Mapping[str, int]
    programs: Mapping[str, int]
    adopted: frozenset[str]


def prepare_pins(pins: Path) -> None:
    """Make the pin directory; refuses a path that is not on a bpffs, where pins could not outlive the daemon."""
    with contextlib.suppress(FileExistsError):
        _nearest(pins)
        pins.mkdir(parents=True, mode=0o700)
    _nearest(pins)
    found = pins.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SystemRequirementError(
            f"{pins} belongs to another user or is open to others, who could stop the traffic by removing a pin",
            hint=f"remove it (rmdir {pins}) and start again: lbctl makes its own",
        )


def _nearest(path: Path) -> None:
    """Refuse before anything is made: the nearest existing parent must be a bpffs already."""
    parent = next(directory for directory in (path, *path.parents) if directory.exists())
    if filesystem_magic(parent) != _BPFFS_MAGIC:
        raise SystemRequirementError(
            f"{path} is not on a BPF file system ({parent} is not)",
            hint="mount it with: mount -t bpf bpf /sys/fs/bpf (and do not start lbctl by `ip netns exec`, which hides it)",
        )


def filesystem_magic(path: Path) -> int:
    """``f_type`` of statfs(2), its first machine word."""
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer):
        raise SystemRequirementError(f"{path}: {os.strerror(ctypes.get_errno())}")
    return int.from_bytes(buffer.raw[:8], "little")


def load(source: ObjectFile, pins: Path, specs: Mapping[str, MapSpec] = MAPS) -> Loaded:
    """Open or create every map, load every program. Nothing is attached, and the running program is not touched."""
    maps, adopted = {}, set()
    for name, spec in specs.items():
        maps[name], was_pinned = open_map(name, spec, pins)
        if was_pinned:
            adopted.add(name)
    programs = {name: bpf.load_xdp(name, program.linked(maps)) for name, program in source.programs.items()}
    return Loaded(specs=specs, maps=maps, programs=programs, adopted=frozenset(adopted))


def open_map(name: str, spec: MapSpec, pins: Path) -> tuple[int, bool]:
    """A map's descriptor, and whether it was pinned already with this very layout."""
    path = pin_path(name, spec, pins)
    if path.exists():
        descriptor = bpf.open_pin(path)
        _check(descriptor, spec, path)
        return descriptor, True
    descriptor = bpf.create_map(
        name,
        type=spec.type,
        key_size=spec.key.itemsize,
        value_size=spec.value.itemsize,
        max_entries=spec.max_entries,
        flags=spec.flags,
    )
    bpf.pin(descriptor, path)
    return descriptor, False


def pin_path(name: str, spec: MapSpec, pins: Path) -> Path:
    """Where a map of this layout is pinned."""
    return pins / f"{name}@{spec.layout_id}"


def _check(descriptor: int, spec: MapSpec, path: Path) -> None:
    """A pin's name promises a layout; the kernel knows."""
    info = bpf.map_info(descriptor)
    found = (info.type, info.key_size, info.value_size, info.max_entries, info.flags)
    if found != (spec.type, spec.key.itemsize, spec.value.itemsize, spec.max_entries, spec.flags):
        raise LayoutError(
            f"{path} is not the map its name says", hint="remove it, or run `lbctl detach`, and start again"
        )


def pin_program(descriptor: int, pins: Path) -> None:
    """Give the running program its name, in place of its predecessor's."""
    fresh = pins / f"{INGRESS}@next"
    fresh.unlink(missing_ok=True)
    bpf.pin(descriptor, fresh)
    fresh.rename(pins / INGRESS)


def left_overs(pins: Path, specs: Mapping[str, MapSpec]) -> Sequence[Path]:
    """Pins of maps of layouts that the running program does not use."""
    current = {pin_path(name, spec, pins).name for name, spec in specs.items()}
    names = [path.name for path in pins.iterdir()]
    return [pins / name for name in names if "@" in name and name.startswith("lb_") and name not in current]


def remove_left_overs(pins: Path, specs: Mapping[str, MapSpec]) -> None:
    """Unpin them; the kernel frees them."""
    for path in left_overs(pins, specs):
        path.unlink()

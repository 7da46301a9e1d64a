"""From object file to kernel: maps opened or made, programs loaded, everything pinned on a bpffs.

The pin directory holds ``<map>@<layout id>`` for every map, ``lb_ingress`` (the program behind the links) and
``link@<ifindex>@<mode>``. They outlive the process: forwarding needs no daemon. (A bpffs refuses names with a dot.)

``lb_programs`` holds programs and not data: every ``lb_ingress`` that is loaded has one of its own, which leads to those
that were loaded with it. It is pinned as ``lb_programs@<layout id>@<id of that lb_ingress>`` while that one is at work, for
the kernel empties such a map as soon as no descriptor and no pin of it is left, even if programs still use it. Beside it is
a description of the program's maps, ``lb_layouts@<id of that lb_ingress>`` (see `descriptions`).

A map that is new is pinned when it holds what was carried over from another version's: a pin is never half of something.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lbctl.core.features import Features
from lbctl.dataplane import bpf
from lbctl.dataplane.carrying import carry_over
from lbctl.dataplane.descriptions import LAYOUTS, keep_descriptions, pins_of
from lbctl.dataplane.layout import INDEX, MAPS, PROGRAMS
from lbctl.dataplane.mapspec import MapSpec
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import LayoutError, SystemRequirementError

INGRESS = "lb_ingress"
CLOCK = "lb_clock"
TAILS = "lb_programs"
LINK_PREFIX = "link@"
_BPFFS_MAGIC = 0xCAFE4A11
_RDONLY_PROG = 1 << 7
"""``BPF_F_RDONLY_PROG``, which the kernel itself gives to a map of devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Descriptors of all maps and programs, and what was compiled into these; ``adopted`` names the maps that were found
    pinned. ``lost`` are those of which another version's entries could not be carried over, and why."""

    specs: Mapping[str, MapSpec]
    maps: Mapping[str, int]
    programs: Mapping[str, int]
    features: Features
    adopted: frozenset[str]
    lost: Mapping[str, str] = field(default_factory=dict)


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
    """Open or create every map, load every program, and carry over what another version's maps hold. Nothing is attached, and
    the running program is not touched."""
    paths = {name: pin_path(name, spec, pins) for name, spec in specs.items() if name != TAILS}
    _remove_outdated(paths.values(), pins)
    adopted = frozenset(name for name, path in paths.items() if path.exists())
    maps = {
        name: _open(specs[name], path) if name in adopted else create_map(name, specs[name])
        for name, path in paths.items()
    }
    loaded = load_programs(source, specs, maps, adopted=adopted)
    fresh = {name: descriptor for name, descriptor in maps.items() if name not in adopted}
    lost = carry_over(fresh, specs, pins, at_work=_pinned_ingress(pins))
    for name, descriptor in fresh.items():
        bpf.pin(descriptor, paths[name])
    return replace(loaded, lost=lost)


def _remove_outdated(paths: Iterable[Path], pins: Path) -> None:
    """Unpin the maps of a start that was broken off before its program ran. Since then the program at work has gone on with
    others, and perhaps a daemon, which may have given away the same numbers: what they hold is out of date."""
    used = [pins_of(program, pins) for program in _at_work(pins)]
    if used and all(used):  # each left a description
        for path in paths:
            if path.name not in frozenset().union(*used):
                path.unlink(missing_ok=True)


def load_programs(
    source: ObjectFile, specs: Mapping[str, MapSpec], maps: Mapping[str, int], *, adopted: frozenset[str] = frozenset()
) -> Loaded:
    """Load every program on these maps, with an ``lb_programs`` of their own that leads to those for IPv6, if there are any."""
    programs: dict[str, int] = {}
    with contextlib.ExitStack() as unless_all_is_well:
        maps = {**maps, TAILS: create_map(TAILS, specs[TAILS])}
        unless_all_is_well.callback(os.close, maps[TAILS])
        for name, program in source.programs.items():
            programs[name] = bpf.load_xdp(name, program.linked(maps))
            unless_all_is_well.callback(os.close, programs[name])
        for row, name in enumerate(PROGRAMS):
            if name in programs:
                bpf.update(maps[TAILS], np.array([row], INDEX), np.array([programs[name]], INDEX))
        unless_all_is_well.pop_all()
    return Loaded(specs=specs, maps=maps, programs=programs, features=source.features, adopted=adopted)


def open_map(name: str, spec: MapSpec, pins: Path) -> tuple[int, bool]:
    """A map's descriptor, and whether it was pinned already with this very layout."""
    path = pin_path(name, spec, pins)
    if path.exists():
        return _open(spec, path), True
    descriptor = create_map(name, spec)
    bpf.pin(descriptor, path)
    return descriptor, False


def _open(spec: MapSpec, path: Path) -> int:
    descriptor = bpf.open_pin(path)
    _check(descriptor, spec, path)
    return descriptor


def create_map(name: str, spec: MapSpec) -> int:
    """An empty map's descriptor."""
    return bpf.create_map(
        name,
        type=spec.type,
        key_size=spec.key.itemsize,
        value_size=spec.value.itemsize,
        max_entries=spec.max_entries,
        flags=spec.flags,
    )


def pin_path(name: str, spec: MapSpec, pins: Path) -> Path:
    """Where a map of this layout is pinned."""
    return pins / f"{name}@{spec.layout_id}"


def _check(descriptor: int, spec: MapSpec, path: Path) -> None:
    """A pin's name promises a layout; the kernel knows."""
    info = bpf.map_info(descriptor)
    found = (info.type, info.key_size, info.value_size, info.max_entries, info.flags & ~_RDONLY_PROG)
    if found != (spec.type, spec.key.itemsize, spec.value.itemsize, spec.max_entries, spec.flags):
        raise LayoutError(
            f"{path} is not the map its name says", hint="remove it, or run `lbctl detach`, and start again"
        )


def pin_maps(loaded: Loaded, pins: Path) -> bool:
    """Pin those again that somebody unpinned, perhaps with their directory; returns whether there were any."""
    paths = {name: pin_path(name, spec, pins) for name, spec in loaded.specs.items() if name != TAILS}
    missing = {name: path for name, path in paths.items() if not path.exists()}
    try:
        if missing:
            prepare_pins(pins)
    except OSError as error:
        raise SystemRequirementError(f"{pins} cannot be made: {error.strerror}", hint="see: mount -t bpf") from error
    for name, path in missing.items():
        bpf.pin(loaded.maps[name], path)
    return bool(missing)


def pin_programs(loaded: Loaded, pins: Path) -> None:
    """What the program leads to gets a name, and its maps a description, before the program is put to work."""
    program = bpf.program_id(loaded.programs[INGRESS])
    layouts = pins / f"{LAYOUTS}@{program}"
    if not layouts.exists():
        keep_descriptions(loaded.specs, layouts)
    path = Path(f"{pin_path(TAILS, loaded.specs[TAILS], pins)}@{program}")
    if not path.exists():
        bpf.pin(loaded.maps[TAILS], path)


def pin_ingress(loaded: Loaded, pins: Path) -> None:
    """Give the running program its name, in place of its predecessor's."""
    fresh = pins / f"{INGRESS}@next"
    fresh.unlink(missing_ok=True)
    bpf.pin(loaded.programs[INGRESS], fresh)
    fresh.rename(pins / INGRESS)


def left_overs(pins: Path, specs: Mapping[str, MapSpec]) -> Sequence[Path]:
    """Pins of maps of layouts that the running program does not use, of what programs that are gone led to, and of their
    descriptions."""
    current = {pin_path(name, spec, pins).name for name, spec in specs.items() if name != TAILS}
    of_programs = [*pins.glob(f"{TAILS}@*"), *pins.glob(f"{LAYOUTS}@*")]
    current |= {path.name for path in of_programs if int(path.name.rpartition("@")[2]) in _at_work(pins)}
    names = [path.name for path in pins.iterdir()]
    return [pins / name for name in names if "@" in name and name.startswith("lb_") and name not in current]


def _at_work(pins: Path) -> frozenset[int]:
    """The ids of the programs that are behind links, or pinned."""
    found = set()
    for path in pins.glob(f"{LINK_PREFIX}*"):
        with bpf.opened_pin(path) as link:
            found.add(bpf.link_info(link).program_id)
    return frozenset({*found, _pinned_ingress(pins)} - {0})


def _pinned_ingress(pins: Path) -> int:
    """The id of the program that was last put to work, 0 if there is none."""
    if not (pins / INGRESS).exists():
        return 0
    with bpf.opened_pin(pins / INGRESS) as program:
        return bpf.program_id(program)


def remove_left_overs(pins: Path, specs: Mapping[str, MapSpec]) -> None:
    """Unpin them; the kernel frees them."""
    for path in left_overs(pins, specs):
        path.unlink()

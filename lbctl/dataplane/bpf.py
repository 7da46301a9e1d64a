"""The only binding to libbpf: maps, programs, links and pins, as functions over file descriptors.

Buffers are contiguous numpy arrays. Every failure is a `KernelError` with the operation, its object and the errno's text.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import abi
from lbctl.errors import KernelError, SystemRequirementError

PROG_TYPE_XDP = 6
ATTACH_XDP = 37
PROG_XDP_HAS_FRAGS = 1 << 5
XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2
VERIFIER_LOG_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInfo:
    """What the kernel says of a map."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkInfo:
    """What the kernel says of an XDP link; ``ifindex`` is 0 when its interface is gone."""

    id: int
    program_id: int
    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """The outcome of a test-run: verdict, the packet as it left, and the kernel's mean duration of one repeat."""

    verdict: int
    data: bytes
    duration_ns: int


@cache
def library() -> ctypes.CDLL:
    """libbpf, opened once, with the types of what is called."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise SystemRequirementError("libbpf.so.1 is not installed", hint="apt-get install libbpf1") from error
    lib.bpf_prog_load.argtypes = (c_int, c_char_p, c_char_p, c_void_p, c_size_t, POINTER(abi.ProgLoadOpts))
    lib.bpf_map_create.argtypes = (c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(abi.MapCreateOpts))
    for name in ("bpf_map_update_elem", "bpf_map_lookup_elem"):
        getattr(lib, name).argtypes = (c_int, c_void_p, c_void_p) + ((c_uint64,) if "update" in name else ())
    lib.bpf_map_delete_elem.argtypes = (c_int, c_void_p)
    lib.bpf_map_lookup_batch.argtypes = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
    lib.bpf_map_update_batch.argtypes = (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
    lib.bpf_map_delete_batch.argtypes = (c_int, c_void_p, POINTER(c_uint32), c_void_p)
    lib.bpf_obj_get_info_by_fd.argtypes = (c_int, c_void_p, POINTER(c_uint32))
    lib.bpf_link_create.argtypes = (c_int, c_int, c_int, POINTER(abi.LinkCreateOpts))
    lib.bpf_xdp_query_id.argtypes = (c_int, c_int, POINTER(c_uint32))
    lib.bpf_prog_test_run_opts.argtypes = (c_int, POINTER(abi.TestRunOpts))
    lib.ring_buffer__new.argtypes = (c_int, abi.RingCallback, c_void_p, c_void_p)
    lib.ring_buffer__new.restype = c_void_p
    lib.ring_buffer__consume.argtypes = lib.ring_buffer__free.argtypes = (c_void_p,)
    return lib


def checked(result: int, what: str) -> int:
    """A result of libbpf's, which is a negative errno if ``what`` failed."""
    if result >= 0:
        return result
    code = -result
    hint = "run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)" if code in (errno.EPERM, errno.EACCES) else ""
    raise KernelError(f"{what}: {os.strerror(code)}", hint=hint) from OSError(code, os.strerror(code))


def error_number(error: KernelError) -> int:
    """The errno behind a `KernelError`, 0 if there is none."""
    cause = error.__cause__
    return cause.errno or 0 if isinstance(cause, OSError) else 0


def create_map(name: str, *, type: int, key_size: int, value_size: int, max_entries: int, flags: int) -> int:
    """Create a map; returns its descriptor."""
    opts = abi.MapCreateOpts(map_flags=flags)
    fd = library().bpf_map_create(type, name.encode()[:15], key_size, value_size, max_entries, byref(opts))
    return checked(fd, f"creating map {name}")


def load_xdp(name: str, code: bytes) -> int:
    """Verify and load an XDP program that can take multi-buffer frames; returns its descriptor.

    On a refusal the verifier's last lines are in the error."""
    opts = abi.ProgLoadOpts(prog_flags=PROG_XDP_HAS_FRAGS, expected_attach_type=ATTACH_XDP)
    result = library().bpf_prog_load(PROG_TYPE_XDP, name.encode(), b"GPL", code, len(code) // 8, byref(opts))
    if result >= 0:
        return int(result)
    log = ctypes.create_string_buffer(VERIFIER_LOG_BYTES)
    opts.log_buf, opts.log_size, opts.log_level = ctypes.cast(log, c_char_p), VERIFIER_LOG_BYTES, 1
    again = library().bpf_prog_load(PROG_TYPE_XDP, name.encode(), b"GPL", code, len(code) // 8, byref(opts))
    tail = "\n".join(log.value.decode(errors="replace").splitlines()[-12:])
    return checked(again, f"loading program {name}\n{tail}\n")


def pin(fd: int, path: Path) -> None:
    """Give an object a name on the bpffs, so that it outlives the process."""
    checked(library().bpf_obj_pin(fd, os.fsencode(path)), f"pinning {path}")


def open_pin(path: Path) -> int:
    """Open a pinned object; returns its descriptor."""
    return checked(library().bpf_obj_get(os.fsencode(path)), f"opening pin {path}")


@contextmanager
def opened_pin(path: Path) -> Iterator[int]:
    """Open a pinned object for a moment."""
    fd = open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _info(fd: int, info: ctypes.Structure, what: str) -> None:
    checked(library().bpf_obj_get_info_by_fd(fd, byref(info), byref(c_uint32(ctypes.sizeof(info)))), what)


def map_info(fd: int) -> MapInfo:
    """The kernel's description of a map."""
    info = abi.MapInfo()
    _info(fd, info, "reading a map's description")
    return MapInfo(
        id=info.id, type=info.type, key_size=info.key_size, value_size=info.value_size, max_entries=info.max_entries,
        flags=info.map_flags,
    )  # fmt: skip


def program_id(fd: int) -> int:
    """The kernel's number of a program: no other one gets it before 2^31 more were loaded."""
    info = abi.ProgInfo()
    _info(fd, info, "reading a program's description")
    return int(info.id)


def link_info(fd: int) -> LinkInfo:
    """The kernel's description of an XDP link."""
    info = abi.LinkInfo()
    _info(fd, info, "reading a link's description")
    return LinkInfo(id=info.id, program_id=info.prog_id, ifindex=info.ifindex)


def create_xdp_link(program: int, ifindex: int, *, generic: bool) -> int:
    """Attach a program to an interface by a link; returns the link's descriptor. `KernelError` EOPNOTSUPP: the driver
    has no native XDP; EBUSY, EEXIST: another program is attached."""
    opts = abi.LinkCreateOpts(flags=XDP_FLAGS_SKB_MODE if generic else XDP_FLAGS_DRV_MODE)
    return checked(
        library().bpf_link_create(program, ifindex, ATTACH_XDP, byref(opts)), f"attaching to interface {ifindex}"
    )


def xdp_program(ifindex: int) -> int:
    """The id of the XDP program on an interface, in whatever mode; 0 if there is none."""
    found = c_uint32()
    checked(library().bpf_xdp_query_id(ifindex, 0, byref(found)), "query the XDP program of an interface")
    return found.value


def update_link(link: int, program: int) -> None:
    """Put another program behind a link, without a gap."""
    checked(library().bpf_link_update(link, program, None), "replacing the program of a link")


def detach_link(link: int) -> None:
    """Take the program off its interface now, not some time after the last pin is gone."""
    checked(library().bpf_link_detach(link), "detaching a link")


def update(fd: int, key: NDArray[Any], value: NDArray[Any]) -> None:
    """Write one entry."""
    checked(library().bpf_map_update_elem(fd, key.ctypes.data, value.ctypes.data, 0), "writing a map entry")


def lookup(fd: int, key: NDArray[Any], value: NDArray[Any]) -> bool:
    """Read one entry into ``value``; false if there is none."""
    result = library().bpf_map_lookup_elem(fd, key.ctypes.data, value.ctypes.data)
    if result == -errno.ENOENT:
        return False
    return checked(result, "reading a map entry") == 0


def delete(fd: int, key: NDArray[Any]) -> bool:
    """Delete one entry; false if there was none."""
    result = library().bpf_map_delete_elem(fd, key.ctypes.data)
    if result == -errno.ENOENT:
        return False
    return checked(result, "deleting a map entry") == 0


def lookup_batch(fd: int, keys: NDArray[Any], values: NDArray[Any], *, cursor: NDArray[np.uint64], first: bool) -> int:
    """Read on from the cursor into ``keys`` and ``values``; returns how many, and -1 minus that at the end of the map."""
    count = c_uint32(len(keys))
    result = library().bpf_map_lookup_batch(
        fd, None if first else cursor.ctypes.data, cursor.ctypes.data, keys.ctypes.data, values.ctypes.data,
        byref(count), None,
    )  # fmt: skip
    if result == -errno.ENOENT:
        return -1 - count.value
    checked(result, "reading a map")
    return count.value


def update_batch(fd: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
    """Write many entries."""
    count = c_uint32(len(keys))
    result = library().bpf_map_update_batch(fd, keys.ctypes.data, values.ctypes.data, byref(count), None)
    checked(result, f"writing map entries ({count.value} of {len(keys)} done)")


def delete_batch(fd: int, keys: NDArray[Any]) -> None:
    """Delete many entries; those that are gone already are no fault."""
    at = 0
    while at < len(keys):
        count = c_uint32(len(keys) - at)
        result = library().bpf_map_delete_batch(fd, keys[at:].ctypes.data, byref(count), None)
        at += count.value
        if result == -errno.ENOENT:
            at += 1  # the kernel stops at the one that is gone: go on behind it
            continue
        checked(result, "deleting map entries")


def test_run(program: int, packet: bytes, *, repeat: int = 1, ifindex: int = 0, size_out: int = 4096) -> TestRun:
    """Run a program on a packet by ``BPF_PROG_TEST_RUN``. Maps are written for real; nothing is sent.

    ``ifindex`` 0 stands for the namespace's loopback. ``duration_ns`` is the mean over the repeats; the packet is not
    reset between them."""
    data, out = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(size_out)
    opts = abi.TestRunOpts(
        data_in=ctypes.addressof(data), data_size_in=len(packet), data_out=ctypes.addressof(out),
        data_size_out=size_out, repeat=repeat,
    )  # fmt: skip
    context = (c_uint32 * 6)(0, len(packet), 0, ifindex, 0, 0)  # struct xdp_md
    if ifindex:
        opts.ctx_in, opts.ctx_size_in = ctypes.addressof(context), ctypes.sizeof(context)
    checked(library().bpf_prog_test_run_opts(program, byref(opts)), "test-running a program")
    return TestRun(verdict=opts.retval, data=out.raw[: opts.data_size_out], duration_ns=opts.duration)

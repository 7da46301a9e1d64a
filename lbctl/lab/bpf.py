"""The few bpf(2) calls a lab needs, and an assembler of a dozen instructions. No compiler, no library.

A lab loads the ``XDP_PASS`` that lets a veth peer transmit by ``XDP_TX``, the socket filter that counts frames
(`lbctl.lab.capture`), and what the switch does with VLAN tags (`lbctl.lab.vlans`) and to whom it does harm
(`lbctl.lab.losses`). All are small enough to be written as instructions.
Layouts: ``union bpf_attr`` and ``struct bpf_insn`` in ``linux/bpf.h``.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbctl.errors import KernelError

_SYSCALL_NUMBER = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_LOOKUP, _PROG_LOAD, _OBJ_PIN = 0, 1, 5, 6
_MAP_TYPE_ARRAY = 2
_PROG_TYPE_SOCKET_FILTER, _PROG_TYPE_SCHED_CLS, _PROG_TYPE_XDP = 1, 3, 6
_ATTACH_TYPE_XDP = 37
_F_XDP_HAS_FRAGS = 1 << 5
"""Without it the kernel refuses the program on an interface with jumbo frames."""
_PSEUDO_MAP_VALUE = 2
_LOG_BYTES = 65_536

XDP_PASS, XDP_TX = 2, 3

TC_PASS, TC_DROP, TC_NEXT = 0, 2, -1
"""What a program of traffic control returns; the last leaves it to the next program."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Op:
    """One instruction; ``jump`` names the `Label` to go to when the condition holds."""

    code: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0
    jump: str = ""

    def encoded(self, offset: int) -> bytes:
        """The 8 bytes of ``struct bpf_insn``."""
        return struct.pack("<BBhI", self.code, self.dst | self.src << 4, offset, self.imm & 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Label:
    """A place to jump to."""

    name: str


def assemble(source: Sequence[Op | Label]) -> bytes:
    """Instructions as the kernel takes them, jumps resolved."""
    places: dict[str, int] = {}
    ops: list[Op] = []
    for item in source:
        if isinstance(item, Label):
            places[item.name] = len(ops)
        else:
            ops.append(item)
    return b"".join(op.encoded(places[op.jump] - index - 1 if op.jump else op.offset) for index, op in enumerate(ops))


def load_word(address: int) -> Op:
    """r0 = the frame's 4 bytes at ``address``, in host order (the frame is counted nowhere if it is shorter)."""
    return Op(0x20, imm=address)


def load_half(address: int) -> Op:
    """r0 = the frame's 2 bytes at ``address``, in host order."""
    return Op(0x28, imm=address)


def load_byte(address: int) -> Op:
    """r0 = the frame's byte at ``address``."""
    return Op(0x30, imm=address)


def load_byte_at(register: int, offset: int) -> Op:
    """r0 = the frame's byte at ``register + offset``."""
    return Op(0x50, src=register, imm=offset)


def load_field(dst: int, base: int, offset: int) -> Op:
    """dst = 4 bytes of memory at ``base + offset``."""
    return Op(0x61, dst, base, offset)


def move(dst: int, src: int) -> Op:
    """dst = src."""
    return Op(0xBF, dst, src)


def set_value(dst: int, value: int) -> Op:
    """dst = value."""
    return Op(0xB7, dst, imm=value)


def add_register(dst: int, src: int) -> Op:
    """dst += src."""
    return Op(0x0F, dst, src)


def add_value(dst: int, value: int) -> Op:
    """dst += value."""
    return Op(0x07, dst, imm=value)


def and_value(dst: int, mask: int) -> Op:
    """dst &= mask, in 32 bits."""
    return Op(0x54, dst, imm=mask)


def modulo(dst: int, value: int) -> Op:
    """dst %= value, in 32 bits."""
    return Op(0x94, dst, imm=value)


def shift_left(dst: int, bits: int) -> Op:
    """dst <<= bits."""
    return Op(0x67, dst, imm=bits)


def shift_right(dst: int, bits: int) -> Op:
    """dst >>= bits."""
    return Op(0x77, dst, imm=bits)


def atomic_add(base: int, offset: int, src: int) -> Op:
    """8 bytes at ``base + offset`` += src, whichever processor does it."""
    return Op(0xDB, base, src, offset)


def goto(label: str) -> Op:
    """Go to ``label``."""
    return Op(0x05, jump=label)


def if_equal(register: int, value: int, label: str) -> Op:
    """Go to ``label`` if the register's low 32 bits are ``value``."""
    return Op(0x16, register, imm=value, jump=label)


def if_not_equal(register: int, value: int, label: str) -> Op:
    """Go to ``label`` if the register's low 32 bits are not ``value``."""
    return Op(0x56, register, imm=value, jump=label)


def if_greater(register: int, other: int, label: str) -> Op:
    """Go to ``label`` if register > other, unsigned."""
    return Op(0x2D, register, other, jump=label)


def if_below(register: int, value: int, label: str) -> Op:
    """Go to ``label`` if the register's low 32 bits are less than ``value``, unsigned."""
    return Op(0xA6, register, imm=value, jump=label)


def call(helper: int) -> Op:
    """r0 = a helper's answer (its number in ``enum bpf_func_id``) to r1 to r5, which it spoils."""
    return Op(0x85, imm=helper)


def map_value(dst: int, map_fd: int) -> tuple[Op, Op]:
    """dst = the address of the only value of an array map (a 16-byte load: two instructions)."""
    return Op(0x18, dst, _PSEUDO_MAP_VALUE, imm=map_fd), Op(0x00)


def leave() -> Op:
    """Return r0."""
    return Op(0x95)


def load_xdp_verdict(verdict: int) -> int:
    """File descriptor of an XDP program that gives every frame the same verdict (``XDP_PASS``, ``XDP_TX``)."""
    return _load(_PROG_TYPE_XDP, assemble([set_value(0, verdict), leave()]), _F_XDP_HAS_FRAGS, _ATTACH_TYPE_XDP)


def load_socket_filter(source: Sequence[Op | Label]) -> int:
    """File descriptor of a socket filter, for ``SO_ATTACH_BPF``."""
    return _load(_PROG_TYPE_SOCKET_FILTER, assemble(source), 0, 0)


def load_tc_program(source: Sequence[Op | Label]) -> int:
    """File descriptor of a program for traffic control, which returns `TC_PASS`, `TC_DROP`, or what a redirection does."""
    return _load(_PROG_TYPE_SCHED_CLS, assemble(source), 0, 0)


def create_value_map(value_bytes: int) -> int:
    """File descriptor of an array map with one value of that size, zeroed."""
    attributes = struct.pack("<IIIII", _MAP_TYPE_ARRAY, 4, value_bytes, 1, 0)
    return _bpf(_MAP_CREATE, attributes, what="create a map")


def read_value(map_fd: int, value_bytes: int) -> bytes:
    """The only value of an array map."""
    key, value = ctypes.c_uint32(0), ctypes.create_string_buffer(value_bytes)
    attributes = struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
    _bpf(_MAP_LOOKUP, attributes, what="read a map")
    return value.raw


def pin(fd: int, path: Path) -> None:
    """Give a program or map a name on a bpffs."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_OBJ_PIN, struct.pack("<QII", ctypes.addressof(name), fd, 0), what=f"pin {path}")


def _load(program_type: int, code: bytes, flags: int, attach_type: int) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        program_type,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        1,
        _LOG_BYTES,
        ctypes.addressof(log),
        0,
        flags,
        b"lbctl_lab",
        0,
        attach_type,
    )
    try:
        return _bpf(_PROG_LOAD, attributes, what="load a program")
    except KernelError as error:
        last_lines = log.value.decode(errors="replace").splitlines()[-3:]
        raise KernelError("; ".join([error.message, *last_lines]), hint=error.hint) from error


def _bpf(command: int, attributes: bytes, *, what: str) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(_SYSCALL_NUMBER[platform.machine()], command, buffer, len(attributes))
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelError(f"the kernel refused to {what}: {reason}", hint="a lab needs root and CONFIG_BPF_SYSCALL")
    return int(result)

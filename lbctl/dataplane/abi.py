"""Structures that libbpf and the bpf(2) system call take and fill in. Source: libbpf 1.1 (``bpf/bpf.h``), linux/bpf.h."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any


class Opts(ctypes.Structure):
    """Base of libbpf's extensible option structures: the size goes first."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(sz=ctypes.sizeof(type(self)), **fields)


class MapCreateOpts(Opts):
    _fields_ = (
        ("sz", c_size_t), ("btf_fd", c_uint32), ("btf_key_type_id", c_uint32), ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32), ("inner_map_fd", c_uint32), ("map_flags", c_uint32),
    )  # fmt: skip


class ProgLoadOpts(Opts):
    _fields_ = (
        ("sz", c_size_t), ("attempts", c_int), ("expected_attach_type", c_int), ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32), ("prog_ifindex", c_uint32), ("kern_version", c_uint32), ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32), ("attach_btf_obj_fd", c_uint32), ("fd_array", c_void_p), ("func_info", c_void_p),
        ("func_info_cnt", c_uint32), ("func_info_rec_size", c_uint32), ("line_info", c_void_p),
        ("line_info_cnt", c_uint32), ("line_info_rec_size", c_uint32), ("log_level", c_uint32),
        ("log_size", c_uint32), ("log_buf", c_char_p),
    )  # fmt: skip


class LinkCreateOpts(Opts):
    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("iter_info", c_void_p), ("iter_info_len", c_uint32))


class TestRunOpts(Opts):
    _fields_ = (
        ("sz", c_size_t), ("data_in", c_void_p), ("data_out", c_void_p), ("data_size_in", c_uint32),
        ("data_size_out", c_uint32), ("ctx_in", c_void_p), ("ctx_out", c_void_p), ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32), ("retval", c_uint32), ("repeat", c_int), ("duration", c_uint32),
        ("flags", c_uint32), ("cpu", c_uint32), ("batch_size", c_uint32),
    )  # fmt: skip


class MapInfo(ctypes.Structure):
    """The head of ``struct bpf_map_info``."""

    _fields_ = (
        ("type", c_uint32), ("id", c_uint32), ("key_size", c_uint32), ("value_size", c_uint32),
        ("max_entries", c_uint32), ("map_flags", c_uint32), ("name", ctypes.c_char * 16),
    )  # fmt: skip


class LinkInfo(ctypes.Structure):
    """The head of ``struct bpf_link_info`` with the XDP member of its union."""

    _fields_ = (("type", c_uint32), ("id", c_uint32), ("prog_id", c_uint32), ("pad", c_uint32), ("ifindex", c_uint32))


class ProgInfo(ctypes.Structure):
    """The head of ``struct bpf_prog_info``."""

    _fields_ = (("type", c_uint32), ("id", c_uint32), ("tag", ctypes.c_uint8 * 8))


RingCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
"""``ring_buffer_sample_fn``: context, record, size; returns 0 to go on."""

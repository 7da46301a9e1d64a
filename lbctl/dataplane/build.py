"""The build child: compiles the data plane with bcc and prints the result as one line of JSON.

Run as ``/usr/bin/python3 -I build.py SHIM_DIR SOURCE [OPTION...]`` under the distribution's Python, which has bcc; the options
are the compiler's, such as ``-DLB_IPV6=0``. It
needs nothing else beyond the standard library, and it exits: bcc leaves 50-200 MB of LLVM in a process, which the daemon
must not carry. It loads and pins nothing. What it prints is an object file in all but name::

    {"programs": {name: {"code": hex, "maps": [[instruction, map name], ...]}},
     "maps": {name: {"type", "flags", "key_size", "value_size", "key": fields, "value": fields}}}

with fields as ``[[name, offset, size], ...]`` in bytes (empty for a scalar), and map references as instruction indices
whose immediate the loader replaces by a file descriptor of its own. Errors go to standard error with positions of the
real files.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import sys
from typing import Any

QUOTED_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"')
LOAD_IMM64 = 0x18
PSEUDO_MAP_FD = 1
INSTRUCTION_BYTES = 8
RING_BUFFER = 27
"""``BPF_MAP_TYPE_RINGBUF``: it has no keys, whatever bcc declares."""


def flatten(path: str, seen: set[str]) -> list[str]:
    """The lines of a source file with its quoted includes in their place, each file once.

    bcc rewrites map accesses in the main file only, so there must be just one; ``#line`` keeps error positions true."""
    seen.add(path)
    lines = [f'#line 1 "{path}"']
    with open(path, encoding="utf-8") as source:
        for number, line in enumerate(source, start=1):
            match = QUOTED_INCLUDE.match(line)
            if not match:
                lines.append(line.rstrip("\n"))
                continue
            included = os.path.normpath(os.path.join(os.path.dirname(path), match.group(1)))
            if included not in seen:
                lines.extend(flatten(included, seen))
            lines.append(f'#line {number + 1} "{path}"')
    return lines


def compile_source(shim: str, source: str, options: list[str]) -> Any:
    """The bcc module of a source file. The kernel shim stands in for a kernel tree, which an XDP program does not need."""
    os.environ["BCC_KERNEL_SOURCE"] = shim
    from bcc import BPF  # reads the environment on import

    text = "\n".join(flatten(source, set()))
    triple = f"/usr/include/{platform.machine()}-linux-gnu"
    # headers are also summed as 16-bit words, hence no strict aliasing
    strict = ["-Wall", "-Werror", "-Wno-unused-function", "-fno-strict-aliasing"]
    flags = ["-isystem", "/usr/include", "-isystem", triple, *strict, *options]
    return BPF(text=text, cflags=flags)


def fields_of(struct: Any) -> list[list[Any]]:
    """The fields of a ctypes structure as bcc derived it, without the padding that bcc itself adds at the end."""
    named = [(field[0], getattr(struct, field[0])) for field in getattr(struct, "_fields_", ())]
    return [[name, field.offset, field.size] for name, field in named if not name.startswith("__pad")]


def describe_maps(module: Any, lib: Any) -> tuple[dict[str, Any], dict[int, str]]:
    """Every table that the source declares, and which descriptor bcc gave it."""
    maps: dict[str, Any] = {}
    descriptors: dict[int, str] = {}
    for index in range(lib.bpf_num_tables(module.module)):
        name = lib.bpf_table_name(module.module, index).decode()
        table = module.get_table(name)
        kind = lib.bpf_table_type_id(module.module, index)
        maps[name] = {
            "type": kind,
            "flags": lib.bpf_table_flags_id(module.module, index),
            "key_size": 0 if kind == RING_BUFFER else ctypes.sizeof(table.Key),
            "value_size": lib.bpf_table_leaf_size_id(module.module, index),
            "key": fields_of(table.Key),
            "value": fields_of(value_struct(table)),
        }
        descriptors[table.map_fd] = name
    return maps, descriptors


def value_struct(table: Any) -> Any:
    """The value's structure; of a per-CPU table bcc makes an array of one for each CPU."""
    leaf = getattr(table, "sLeaf", None) or table.Leaf
    return getattr(leaf, "_type_", leaf) if issubclass(leaf, ctypes.Array) else leaf


def describe_program(module: Any, lib: Any, name: str, descriptors: dict[int, str]) -> dict[str, Any]:
    """A function's bytecode and the places where it refers to a map."""
    size = lib.bpf_function_size(module.module, name.encode())
    code = ctypes.string_at(lib.bpf_function_start(module.module, name.encode()), size)
    references = []
    for at in range(0, size, INSTRUCTION_BYTES):
        if code[at] == LOAD_IMM64 and code[at + 1] >> 4 == PSEUDO_MAP_FD:
            descriptor = int.from_bytes(code[at + 4 : at + 8], "little")
            references.append([at // INSTRUCTION_BYTES, descriptors[descriptor]])
    return {"code": code.hex(), "maps": references}


def main() -> None:
    """Compile and print."""
    try:
        module = compile_source(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:])
    except Exception as error:  # bcc raises nothing more precise; the compiler has already said where
        sys.exit(str(error))
    from bcc import lib

    lib.bpf_function_start.restype = ctypes.c_void_p
    lib.bpf_function_name.restype = lib.bpf_table_name.restype = ctypes.c_char_p
    maps, descriptors = describe_maps(module, lib)
    names = [lib.bpf_function_name(module.module, i).decode() for i in range(lib.bpf_num_functions(module.module))]
    programs = {name: describe_program(module, lib, name, descriptors) for name in names}
    print(json.dumps({"programs": programs, "maps": maps}))


if __name__ == "__main__":
    main()

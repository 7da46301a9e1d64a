"""How much of the kernel's memory the director's tables take."""

from __future__ import annotations

_ELEMENT_HEADER_BYTES = 48  # struct htab_elem
_FLOW_KEY_BYTES = {4: 16, 6: 40}  # 12 and 40, rounded up to eight
_FLOW_VALUE_BYTES = 32
_BUCKET_BYTES = 16  # struct bucket: head of the list and its lock


def flow_table_bytes(entries: int, *, version: int) -> int:
    """Bytes of kernel memory that a table with room for ``entries`` flows of IPv4 or IPv6 takes, from the start on.

    A preallocated BPF hash map has an element for each entry, used or not, and one bucket for each, their number rounded
    up to a power of two (``htab_map_alloc`` and ``htab_map_mem_usage`` in the kernel's ``kernel/bpf/hashtab.c``). Left out
    is what does not grow with the table: one spare element for each CPU, and the map's own few hundred bytes.
    """
    element_bytes = _ELEMENT_HEADER_BYTES + _FLOW_KEY_BYTES[version] + _FLOW_VALUE_BYTES
    buckets = 1 << (entries - 1).bit_length()
    return entries * element_bytes + buckets * _BUCKET_BYTES

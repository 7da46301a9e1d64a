"""How much of the kernel's memory the director's tables take."""

from __future__ import annotations

_ELEMENT_HEADER_BYTES = 48  # struct htab_elem
_FLOW_KEY_BYTES = 16
_FLOW_VALUE_BYTES = 24
_BUCKET_BYTES = 16  # struct bucket: head of the list and its lock


def flow_table_bytes(entries: int) -> int:
    """Bytes of kernel memory that a flow table with room for ``entries`` flows takes, from the start on.

    A preallocated BPF hash map has an element for each entry, used or not, and one bucket for each, their number rounded
    up to a power of two (``htab_map_alloc`` and ``htab_map_mem_usage`` in the kernel's ``kernel/bpf/hashtab.c``). Left out
    is what does not grow with the table: one spare element for each CPU, and the map's own few hundred bytes.
    """
    element_bytes = _ELEMENT_HEADER_BYTES + _FLOW_KEY_BYTES + _FLOW_VALUE_BYTES
    buckets = 1 << (entries - 1).bit_length()
    return entries * element_bytes + buckets * _BUCKET_BYTES

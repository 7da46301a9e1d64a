"""Mistakes of the director's own section."""

from __future__ import annotations

from tests.unit.config.rows import GOOD, Wrong, whole


def _director(id_: str, text: str, *, says: tuple[str, ...], hint: str) -> Wrong:
    return whole(id_, f"{GOOD}{text}\n", says=says, hint=hint)


ROWS: tuple[Wrong, ...] = (
    _director("director-without-value", "§director:", says=("director", "has no value"), hint="remove the line"),
    _director("director-is-a-word", "director: §big", says=("must be a block of keys, not text",), hint="tcp_flows: "),
    _director(
        "director-key-unknown", "director: {§tcp_flow: 2048}", says=("director", "'tcp_flow'"), hint="'tcp_flows'"
    ),
    _director(
        "director-key-of-a-pool", "director: {§on_empty: drop}", says=("unknown key 'on_empty'",), hint="to: pool"
    ),
    _director(
        "director-flows-too-few",
        "director: {tcp_flows: §100}",
        says=("director: tcp_flows: 100 is out of range",),
        hint="from 1024 to 4194304 flows",
    ),
    _director(
        "director-flows-too-many", "director: {udp_flows: §4194305}", says=("udp_flows: 4194305",), hint="4194304"
    ),
    _director(
        "director-flows-with-a-suffix", "director: {tcp_flows: §128k}", says=("'128k' is not",), hint="whole number"
    ),
    _director(
        "director-wrong-port-unknown",
        "director: {wrong_port: §reset}",
        says=("director: wrong_port: 'reset' is unknown",),
        hint="'refuse'",
    ),
)

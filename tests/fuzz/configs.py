"""The configuration file: bytes on a disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from lbctl.config.describe import describe
from lbctl.config.loader import load
from lbctl.config.mistakes import MAX_SHOWN, InvalidConfigError
from lbctl.config.schema import SECTIONS
from tests.fuzz.fuzzer import Feed, Fuzzer
from tests.fuzz.mutation import mutated
from tests.unit.config.rows import GOOD

_SMALL = """\
interfaces: {e: {address: 192.0.2.1/24}}
services: {s: {vip: 192.0.2.9, ports: [1], pool: p}}
pools: {p: {kind: other, backends: {a: {address: 192.0.2.2}}}}
"""
_LARGE = """\
director: {tcp_flows: 65536, wrong_port: drop}
interfaces: {eth0: {address: 192.0.2.10/24, address6: 2001:db8::10/64}}
classes: {ct: {sources: [10.20.0.0/16]}}
services:
  web: {vip: 192.0.2.99, preset: https, pool: rest}
  feed: {vip: 2001:db8::99, preset: hl7, pool: engine, idle_timeout: 1h, allow: [2001:db8::/32]}
pools:
  engine: {kind: hl7, policy: failover, failback: manual, check: &c {type: tcp, interval: 5s, timeout: 3s}, backends: {
    a: {address: 2001:db8::11, agent: {port: 3333, interval: 500ms}, check: *c}, b: {address: 2001:db8::12}}}
  rest: {kind: web, on_empty: drop, classes: {ct: {c: 10}}, backends: {c: {address: 192.0.2.13, weight: 7}}}
"""
_SEEDS = tuple(text.encode() for text in (GOOD, _SMALL, _SMALL, _LARGE))
_KEYS = tuple(sorted({key for model in SECTIONS.values() for key in model.model_fields}))
_VALUES = (
    *("192.0.2.10/24", "192.0.2.11", "2001:db8::11", "10.0.0.1:104", "::1", "0.0.0.0/0", "eth0.20", "routed", "5s"),
    *("1e9h",),
    *("dicom", "hl7", "archive", "shared", "private", "failover", "tcp", "none", "null", "true", "~", "-1", "0"),
    *("65536",),
    *("1e400", "0x7f", "0o17", "99999999999999999999", ".5", "''", '"\\u0000"', '"\\ud800"', "é", "\U0001f3e5", "a/b"),
    *("a.b",),
)
_TOKENS = (
    *(": ", "- ", "? ", "\n", "\n  ", "\t", "{", "}", "[", "]", ", ", "&a ", "*a", "!!int ", "! ", "|\n", ">-\n", "'"),
    *('"', "#"),
    *("<<: ", "---\n", "...\n", "%YAML 1.1\n---\n", "%TAG ! x:\n", "\ufeff", "\x85", "\u2028", "\r", "{" * 20),
    *("- " * 40,),
)
_WORDS = tuple(word.encode(errors="surrogatepass") for word in (*_KEYS, *_VALUES, *_TOKENS))
_DEEPEST = 5


def make(dice: Random) -> bytes:
    """A file that is nearly one, or something of keys and values in a place where it may not be."""
    if dice.random() < 0.75:
        return mutated(dice, _SEEDS, _WORDS)
    text = _grown(dice, _DEEPEST)
    return (
        dice.choice(("%s\n", f"{_SMALL}classes: %s\n", f"{_SMALL}director: %s\n", "pools: {p: %s}\n")) % text
    ).encode()


def _grown(dice: Random, depth: int) -> str:
    kind = dice.randrange(4) if depth else 0
    if kind > 1:
        entries = (f"{dice.choice(_KEYS)}: {_grown(dice, depth - 1)}" for _ in range(dice.randrange(5)))
        return f"{{{', '.join(entries)}}}"
    if kind == 1:
        return f"[{', '.join(_grown(dice, depth - 1) for _ in range(dice.randrange(4)))}]"
    return dice.choice(_VALUES)


@contextmanager
def _opened() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lbctl.yaml"

        def feed(data: bytes) -> bool:
            path.write_bytes(data)
            try:
                declaration = load(path)
            except InvalidConfigError as error:
                _check(error)
                return False
            assert describe(declaration)
            return True

        yield feed


def _check(error: InvalidConfigError) -> None:
    """Each mistake with what to do, all on lines that a terminal can be trusted with."""
    assert error.mistakes
    assert all(mistake.message and mistake.hint for mistake in error.mistakes)
    lines = str(error).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 2 * MAX_SHOWN + 1


FUZZERS = (Fuzzer(name="config", make=make, opened=_opened),)

"""The files of the state directory: one fuzzer for each store that there is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from lbctl.daemon.state.jsonfile import JsonStore
from lbctl.daemon.state.overrides import OverrideStore
from lbctl.daemon.state.store import ActiveStore, AssignmentStore, HealthStore, SeedStore
from lbctl.errors import SystemRequirementError
from tests.fuzz.fuzzer import Feed, Fuzzer
from tests.fuzz.mutation import mutated

_SEEDS = (
    b'{"drained": ["p/a", "p/b"], "halted": ["p/c"]}',
    b'{"active": {"p": "a", "q": "b"}}',
    b'{"pools": {"p": {"192.0.2.1": "a", "2001:db8::1": "b"}}}',
    b'{"seed": 4611686018427387904}',
    b'{"weights": {"p/a": 50}}',
    b"{}",
)
_WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-1", b"1e999", b"NaN", b"1" * 400, b"0.5"),
    *(b"[" * 300,),
    *(b'"\\ud800"', b'"\\u0000"', b"\\", b"\xff", b"\xef\xbb\xbf", b'"drained"', b'"halted"', b'"active"', b'"pools"'),
    *(b'"seed"', b'"192.0.2.1"', b'"::ffff:192.0.2.1"', b'"fe80::1%eth0"', b'"p/a"', b" ", b"\n"),
)


def make(dice: Random) -> bytes:
    """A file of one of the stores, spoilt; perhaps of another one."""
    return mutated(dice, _SEEDS, _WORDS)


@contextmanager
def _opened(kind: type[JsonStore[Any]]) -> Iterator[Feed]:
    # In memory: what is understood is saved again, and that waits for the disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory = Path(name)
        store: JsonStore[Any] = kind(directory)  # type: ignore[call-arg]
        store.save(store.load())
        (path,) = directory.iterdir()

        def feed(data: bytes) -> bool:
            path.write_bytes(data)
            try:
                content = store.load()
            except SystemRequirementError as error:
                assert error.message.isprintable() and error.hint
                return False
            store.save(content)
            assert store.load() == content
            return True

        yield feed


STORES: tuple[type[JsonStore[Any]], ...] = (OverrideStore, ActiveStore, AssignmentStore, HealthStore, SeedStore)
FUZZERS = tuple(
    Fuzzer(name=f"state-{kind.__name__.removesuffix('Store').lower()}", make=make, opened=partial(_opened, kind))
    for kind in STORES
)

"""Small things that the machine says: the build child's answer, who holds a lock, and how often the service manager looks."""

from __future__ import annotations

import json
import os
from random import Random
from unittest.mock import patch

from lbctl.daemon.instance import holder_of
from lbctl.daemon.notify import watchdog_interval_s
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.mapspec import fields_of
from lbctl.dataplane.objectfile import read_programs
from lbctl.errors import KernelError, LayoutError
from tests.fuzz.fuzzer import Fuzzer, pure
from tests.fuzz.mutation import mutated

_MAPS = {
    name: {
        "type": int(spec.type),
        "flags": spec.flags,
        "key_size": spec.key.itemsize,
        "value_size": spec.value.itemsize,
        "key": fields_of(spec.key),
        "value": fields_of(spec.value),
    }
    for name, spec in MAPS.items()
}
_PROGRAM = {"code": "95" + "00" * 7, "maps": [[0, "lb_slots"]]}
_BUILT = json.dumps({"programs": {"p": _PROGRAM}, "maps": _MAPS}).encode()
_AT_PROGRAMS = _BUILT.index(b'}, "maps": {')
_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b'"code"',
    b'"maps"',
    b"[" * 2000,
    b"\xff",
)


def make_built(dice: Random) -> bytes:
    """What the child says, mostly spoilt in its programs: spoilt maps are refused at once."""
    if dice.random() < 0.7:
        return mutated(dice, (_BUILT[:_AT_PROGRAMS],), _JSON) + _BUILT[_AT_PROGRAMS:]
    return mutated(dice, (_BUILT,), _JSON)


def feed_built(data: bytes) -> bool:
    """Programs, or whose fault it is."""
    try:
        programs = read_programs(data)
    except (KernelError, LayoutError):
        return False
    assert all(isinstance(program.code, bytes) for program in programs.values())
    return True


_LOCKS = (b"1: FLOCK  ADVISORY  WRITE 812 00:1a:4711 0 EOF\n2: -> POSIX  ADVISORY  READ 9 08:01:4711 0 10\n",)


def make_locks(dice: Random) -> bytes:
    """The kernel's list of locks."""
    return mutated(dice, _LOCKS, (b"FLOCK", b":4711", b"\n", b" ", b"->", b"\x85", b"\xe2\x80\xa8"))


def feed_locks(data: bytes) -> bool:
    """A process, or nothing."""
    found = holder_of(4711, data.decode(errors="replace"))
    assert found == "" or found.startswith(" (process ")
    return bool(found)


def make_interval(dice: Random) -> bytes:
    """What may be in the environment."""
    return mutated(dice, (b"30000000", b"0"), (b"9" * 5000, b"9" * 400, b"-", b"\xc2\xb2", b"1e9", b"\xd9\xa3"))


def feed_interval(data: bytes) -> bool:
    """A time, or none."""
    # Not in the real environment: the C library forgets none of the values that it ever set.
    with patch.object(os, "environ", {"WATCHDOG_USEC": os.fsdecode(data.replace(b"\0", b""))}):
        interval_s = watchdog_interval_s()
    assert interval_s is None or interval_s >= 0
    return interval_s is not None


FUZZERS = (
    Fuzzer(name="build-answer", make=make_built, opened=pure(feed_built)),
    Fuzzer(name="lock-holder", make=make_locks, opened=pure(feed_locks)),
    Fuzzer(name="watchdog-interval", make=make_interval, opened=pure(feed_interval)),
)

"""Every parser of what others can shape, fed with a million inputs each that are nearly right.

``python -m tests.fuzz [--inputs N] [--only NAME] [--seed S]``. What a parser stumbles over is printed with the command that
has it again; ``--at NUMBER`` feeds that one input and shows where it goes wrong. The exit code is 1 if a parser broke its
promise.
"""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.catalogue import FUZZERS
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.running import FoundError, Row, input_of, run

INPUTS = 1_000_000
SEED = 20_260_101
_HEAD = ("parser", "inputs", "inputs/s", "accepted", "refused", "slowest ms", "growth KiB")
_WIDTHS = (22, 10, 10, 10, 10, 10, 10)


def main() -> int:
    """The exit code."""
    options = _options()
    chosen = [fuzzer for fuzzer in FUZZERS if options.only in ("", fuzzer.name)]
    if not chosen:
        sys.exit(f"there is no fuzzer {options.only}; there are: {', '.join(fuzzer.name for fuzzer in FUZZERS)}")
    if options.at is not None:
        return _again(chosen[0], seed=options.seed, number=options.at)
    _print(_HEAD)
    failed = [fuzzer for fuzzer in chosen if not _holds(fuzzer, inputs=options.inputs, seed=options.seed)]
    print(f"\nseed {options.seed}: {len(chosen) - len(failed)} of {len(chosen)} parsers keep their promises")
    return int(bool(failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Every parser, with inputs nearly right.")
    parser.add_argument(
        "--inputs", metavar="N", type=int, default=INPUTS, help="for each parser (default: %(default)s)"
    )
    parser.add_argument("--only", metavar="NAME", default="", help="only this parser")
    parser.add_argument("--seed", metavar="S", type=int, default=SEED, help="of the inputs (default: %(default)s)")
    parser.add_argument("--at", metavar="NUMBER", type=int, help="only this input, with what comes of it")
    return parser.parse_args()


def _holds(fuzzer: Fuzzer, *, inputs: int, seed: int) -> bool:
    try:
        row = run(fuzzer, inputs=inputs, seed=seed)
    except (FoundError, AssertionError) as error:
        print(error, flush=True)
        return False
    _print(_cells(row))
    return True


def _cells(row: Row) -> tuple[str, ...]:
    counts = (f"{number:,}" for number in (row.inputs, round(row.rate_hz), row.accepted, row.refused))
    return row.name, *counts, f"{row.slowest_s * 1e3:.2f}", f"{row.growth_bytes >> 10:,}"


def _print(cells: tuple[str, ...]) -> None:
    name, *numbers = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    print(f"{name.strip():<{_WIDTHS[0]}}", *numbers, flush=True)


def _again(fuzzer: Fuzzer, *, seed: int, number: int) -> int:
    """What the parser raises is shown as it is."""
    data = input_of(fuzzer, seed=seed, number=number)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"%d bytes: %r\n" % (len(data), data))
    with fuzzer.opened() as feed:
        print("accepted" if feed(data) else "refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())

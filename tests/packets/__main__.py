"""Conformance: every row of the table of packets through the real program, and beside it what the oracle says.

Run as root: ``python -m tests.packets``. It attaches to nothing and sends nothing. With ``--packets N`` so many random packets
in random states follow. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from random import Random
from types import ModuleType

from lbctl.dataplane.layout import Reason
from lbctl.dataplane.objectfile import compile_source
from tests.packets.cases import Case
from tests.packets.comparing import Comparison, DifferenceError
from tests.packets.conformance import ROOMS, Result, expected, foretold
from tests.packets.rig import Rig, rig_of
from tests.packets.running import entries, expected_entries, run
from tests.packets.summary import summary

SEED = 20_260_101
COLUMNS = (72, 38, 26, 26)


def main() -> int:
    """The exit code."""
    options = _options()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # budgets are kept for each CPU
    with rig_of(compile_source()) as rig:
        differing = _show_table(rig, options.only)
        if options.packets:
            differing += _show_random(rig, options.packets, options.seed)
    return int(differing > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.packets", description="Program and oracle, case by case.")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the cases whose name has this text")
    parser.add_argument("--packets", metavar="N", type=int, default=0, help="so many random packets as well")
    parser.add_argument("--seed", metavar="N", type=int, default=SEED, help="of the random packets")
    return parser.parse_args()


# The table -----------------------------------------------------------------------------------------------------------


def _show_table(rig: Rig, only: str) -> int:
    """How many cases differ."""
    counts = [_show_room(rig, room, only) for room in ROOMS]
    total, differing = sum(cases for cases, _ in counts), sum(different for _, different in counts)
    print(f"\n{total} cases: {total - differing} agree, {differing} differ")
    return differing


def _show_room(rig: Rig, room: ModuleType, only: str) -> tuple[int, int]:
    """(cases, how many of them differ)"""
    cases = [case for case in room.ROWS if only in case.name]
    if cases:
        print(f"\n{(room.__doc__ or '').removeprefix('Rows: ').strip()}\n")
        _print_columns("case", "packet", "program", "oracle", "bytes out")
    return len(cases), sum(not _agrees(rig, case) for case in cases)


def _agrees(rig: Rig, case: Case) -> bool:
    """Shows the case, too."""
    rig.forget()
    program, oracle, row = run(rig, case), foretold(case), expected(case)
    is_remembered = entries(rig) == expected_entries(case)
    _print_columns(case.name, summary(case.frame), _told(program), _told(oracle), _of_output(program, oracle, case))
    if program == oracle == row and is_remembered:
        return True
    print(f"    DIFFERS; the table says {_told(row)}" + ("" if is_remembered else ", and another flow"))
    for who, result in (("program", program), ("oracle", oracle), ("table", row)):
        print(f"    {who:8}{result.out.hex()}")
    return False


def _told(result: Result) -> str:
    return f"{result.verdict.name} {result.reason.name.lower()}"


def _of_output(program: Result, oracle: Result, case: Case) -> str:
    if program.out != oracle.out or program.out != case.out:
        return "DIFFER"
    return "unaltered" if program.out == case.frame else f"{len(program.out)} as foretold"


def _print_columns(*texts: str) -> None:
    *padded, last = texts
    print("  ".join(f"{text:{width}}" for text, width in zip(padded, COLUMNS, strict=True)), last, sep="  ")


# Random packets ------------------------------------------------------------------------------------------------------


def _show_random(rig: Rig, packets: int, seed: int) -> int:
    """1 if there is a difference."""
    rig.forget()
    comparison, began = Comparison(rig, Random(seed)), time.monotonic()
    try:
        comparison.run(packets)
    except DifferenceError as error:
        print(f"\nafter {sum(comparison.seen.values())} random packets of seed {seed}:\n{error}")
        return 1
    print(
        f"\n{sum(comparison.seen.values())} random packets of seed {seed} in {time.monotonic() - began:.0f} s: all agree\n"
    )
    for reason in Reason:
        print(f"  {reason.name.lower():20}{comparison.seen.get(reason, 0):10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

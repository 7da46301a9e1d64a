#!/bin/bash
# The whole suite, as `make test` runs it: tests/suite.sh PYTHON [OPTION OF PYTEST...]
#
# Tests with a director wait for most of their time, so three processes share the modules. What goes by the clock or is loud
# itself (marked `alone`) has the machine to itself, afterwards.
set -uo pipefail

python=$1
shift
INTERRUPTED=2 NONE_FOUND=5

"$python" -m pytest tests -m "not long and not alone" --numprocesses 3 --dist loadfile --no-loadscope-reorder "$@"
beside=$?
[ "$beside" -ne "$INTERRUPTED" ] || exit "$beside"

"$python" -m pytest tests -m "alone and not long" "$@"
alone=$?

# Of the tests that were asked for, all may be in one of the two.
[ "$beside" -ne "$NONE_FOUND" ] || exit "$alone"
[ "$beside" -eq 0 ] || echo "tests that ran side by side failed, see above" >&2
[ "$alone" -eq "$NONE_FOUND" ] || [ "$beside" -ne 0 ] || exit "$alone"
exit "$beside"

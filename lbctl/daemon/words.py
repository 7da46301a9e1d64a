"""What an operator's commands are answered with."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from lbctl.errors import UsageError


def require(label: str, *, declared: Sequence[str], known: Collection[str]) -> None:
    """`UsageError` naming the nearest ones if no backend of that label is declared; ``known`` were so once."""
    if label in declared:
        return
    if label in known:
        raise UsageError(f"{label} was removed from the file", hint="it takes no new connections any more")
    close = difflib.get_close_matches(label, declared, n=3, cutoff=0.8)
    hint = f"did you mean {' or '.join(close)}?" if close else "the backends are: " + ", ".join(declared)
    raise UsageError(f"there is no backend {label}", hint=hint)


def drained(label: str, *, is_last: bool) -> str:
    """A drain took effect."""
    warning = "; warning: nobody in its pool takes new connections now" if is_last else ""
    return f"{label} drained: no new connections, live ones go on{warning}"

"""Reading a configuration file: text → document → schema → rules → `Declaration`, or every mistake at once.

A plain file without mistakes is read quickly. At any doubt it is read again, thoroughly: that alone tells of mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from lbctl.config.document import read_document
from lbctl.config.draft import Draft, draft, sound_draft
from lbctl.config.mistakes import InvalidConfigError, Mistake
from lbctl.config.plain import NotPlainError, read_plain
from lbctl.config.reading import MAX_BYTES, read_text, too_large
from lbctl.config.resolve import resolve
from lbctl.config.rules_addresses import check_addresses
from lbctl.config.rules_checks import check_checks
from lbctl.config.rules_classes import check_classes
from lbctl.config.rules_fallback import check_fallbacks
from lbctl.config.rules_families import check_families
from lbctl.config.rules_interfaces import check_interfaces
from lbctl.config.rules_pools import check_pools
from lbctl.config.rules_services import check_services
from lbctl.core.model import Declaration


def load(path: Path) -> Declaration:
    """Read and validate a file. Raises `InvalidConfigError` (a `ConfigError`) with all mistakes found."""
    return parse(read_text(path), source=str(path))


def parse(text: str, *, source: str) -> Declaration:
    """Validate a configuration. ``source`` is what messages call it. Raises as `load` does."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise too_large(source)
    return _quickly(text) or _thoroughly(text, source=source)


def _quickly(text: str) -> Declaration | None:
    """The declaration of a plain file without mistakes; ``None`` for any other."""
    try:
        part = sound_draft(read_plain(text))
    except (NotPlainError, ValidationError):
        return None
    return None if any(_broken_rules(part)) else resolve(part.spec)


def _thoroughly(text: str, *, source: str) -> Declaration:
    """By a reader of all that YAML has, which knows the place of everything; that takes its time."""
    document = read_document(text, source=source)
    part, mistakes = draft(document)
    found = [*document.mistakes, *mistakes, *(_broken_rules(part) if part else [])]
    if found or part is None:
        raise InvalidConfigError(found, source=source)
    return resolve(part.spec)


def _broken_rules(part: Draft) -> Iterator[Mistake]:
    rules = (
        check_interfaces,
        check_addresses,
        check_families,
        check_services,
        check_pools,
        check_fallbacks,
        check_classes,
        check_checks,
    )
    return chain.from_iterable(rule(part) for rule in rules)

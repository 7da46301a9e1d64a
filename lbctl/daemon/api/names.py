"""Names in paths."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from lbctl.daemon.models import MAX_NAME

Name = Annotated[str, Path(max_length=MAX_NAME)]
"""Of a pool or a backend."""

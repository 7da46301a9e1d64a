"""Names and addresses in paths."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import IPvAnyAddress, WithJsonSchema

from lbctl.daemon.models import MAX_NAME, NAME

Name = Annotated[str, Path(max_length=MAX_NAME, pattern=NAME)]
"""Of a pool or a backend."""

Station = Annotated[
    IPvAnyAddress, WithJsonSchema({"anyOf": [{"type": "string", "format": family} for family in ("ipv4", "ipv6")]})
]
"""An address of either family; described in the words of JSON Schema, which has none for both."""

"""What all models of the control API have in common."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pydantic import BaseModel, ConfigDict

Address = IPv4Address | IPv6Address
MAX_NAME = 63
"""Characters of the name of a pool or a backend, at most."""


class Model(BaseModel):
    """Base of all models; each field's doc stands beneath it."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

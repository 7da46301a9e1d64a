"""What all models of the control API have in common."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pydantic import BaseModel, ConfigDict

Address = IPv4Address | IPv6Address
MAX_NAME = 63
"""Characters of the name of a pool or a backend, at most."""
NAME = r"^[ -.0-~]+$"
"""What a name is made of, and more, so that a slip of the hand is answered with the name that was meant. No line ends and no
control characters, which would reach the journal and terminals; and no slash."""
LABEL = r"^[ -~]*$"
"""Of ``POOL/BACKEND``."""

MAX_WEIGHT = 256
"""Of a backend, as in the file."""
MIN_SLOW_START_S, MAX_SLOW_START_S = 1.0, 86_400.0


class Model(BaseModel):
    """Base of all models; each field's doc stands beneath it."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

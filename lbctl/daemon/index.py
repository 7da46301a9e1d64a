"""Look-ups in a declaration, made once for each: there may be thousands of backends, with events every second."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core.desired import backend_key
from lbctl.core.ids import identity
from lbctl.core.model import Address, Backend, Declaration


class Index:
    """``backends`` by label; ``identities`` (what their rows are recognised by) by label, and ``labels`` the other way round;
    ``interfaces`` (their names) by the backend's address."""

    def __init__(self, declaration: Declaration) -> None:
        self.backends: Mapping[str, Backend] = {backend.label: backend for backend in declaration.backends()}
        self.identities: Mapping[str, int] = {
            label: identity(backend_key(backend)) for label, backend in self.backends.items()
        }
        self.labels: Mapping[int, str] = {number: label for label, number in self.identities.items()}
        self.interfaces: Mapping[Address, str] = {each.address: each.interface for each in self.backends.values()}

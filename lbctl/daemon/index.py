"""Look-ups in a declaration, made once for each: there may be thousands of backends, with events every second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbctl.core.entrances import interface_of
from lbctl.core.ids import identity
from lbctl.core.model import Address, Backend, Declaration
from lbctl.core.tables import BackendRow


class Index:
    """``backends`` by label; ``identities`` (what their rows are recognised by) by label, and ``labels`` the other way round;
    ``interfaces`` (their names) by the backend's address; ``limited`` are the labels of those with a connection limit."""

    def __init__(self, declaration: Declaration) -> None:
        self.backends: Mapping[str, Backend] = {backend.label: backend for backend in declaration.backends()}
        self.identities: Mapping[str, int] = {label: identity(backend.key) for label, backend in self.backends.items()}
        self.labels: Mapping[int, str] = {number: label for label, number in self.identities.items()}
        self.interfaces: Mapping[Address, str] = {each.address: each.interface for each in self.backends.values()}
        self._declaration = declaration
        self.limited = frozenset(label for label, backend in self.backends.items() if backend.connection_limit)

    def lingering(self, rows: Iterable[BackendRow]) -> Mapping[Address, str]:
        """Of backends that are declared no more, and may have connections: the interface by the address, as above. Of these
        rows, which are all that the tables have."""
        removed = (row.address for row in rows if row.identity not in self.labels)
        found = {address: interface_of(address, self._declaration) for address in removed}
        return {address: name for address, name in found.items() if name and address not in self.interfaces}

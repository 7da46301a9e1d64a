"""Texts put in force, and the history of those that were."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import FastAPI, Path, Request

from lbctl.daemon.audit import Actor
from lbctl.daemon.models import Application, Done, History, HistoryText, Rollback
from lbctl.daemon.requests import actor_of, audited

Number = Annotated[int, Path(ge=1, le=999_999_999)]


class Applying(Protocol):
    """What that does. What changes something returns it in words; `ConflictError` if another text is in force by now, or one
    waits for its confirmation; `RolledBackError` if it was taken back at once."""

    async def apply(self, actor: Actor, *, text: str, source: str, base: str, confirm_s: float | None) -> str:
        """Put a text in force."""
        ...

    async def confirm(self) -> str:
        """What waits for its confirmation stays."""
        ...

    async def roll_back(self, actor: Actor, *, number: int | None, base: str) -> str:
        """Put an entry of the history in force again."""
        ...

    def history(self) -> History:
        """The latest entries. Called in another thread."""
        ...

    def history_text(self, number: int) -> HistoryText:
        """The text of one. Called in another thread."""
        ...


def apply_texts(app: FastAPI, applying: Applying) -> None:
    """One at a time."""

    @app.post("/v1/apply", summary="Put a configuration in force, verified, or leave all as it was")
    async def apply(application: Application, request: Request) -> Done:
        return await audited(
            request,
            "apply",
            application.source,
            applying.apply(
                await actor_of(request),
                text=application.text,
                source=application.source,
                base=application.base,
                confirm_s=application.confirm_s,
            ),
        )

    @app.post("/v1/confirm", summary="Let the change stay that is rolled back otherwise")
    async def confirm(request: Request) -> Done:
        return await audited(request, "confirm", "the latest change", applying.confirm())

    @app.post("/v1/rollback", summary="Put an entry of the history in force again")
    async def rollback(wanted: Rollback, request: Request) -> Done:
        target = f"entry {wanted.number}" if wanted.number else "the latest change"
        act = applying.roll_back(await actor_of(request), number=wanted.number, base=wanted.base)
        return await audited(request, "rollback", target, act)

    @app.get("/v1/history", summary="Which configurations were in force, and who put them there")
    def history() -> History:
        return applying.history()

    @app.get("/v1/history/{number}", summary="The text of an entry")
    def history_text(number: Number) -> HistoryText:
        return applying.history_text(number)

"""What a text would change, before anybody puts it in force."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI

from lbctl.daemon.models import PlanReport, Proposal


class Planning(Protocol):
    """What tells that."""

    async def plan(self, text: str, *, source: str) -> PlanReport:
        """Compare a text with what is in force. `ConfigError` if it is no configuration."""
        ...


def plan_texts(app: FastAPI, planning: Planning) -> None:
    """Nothing changes by it, so nobody notes who asked."""

    @app.post("/v1/plan", summary="What a configuration would change, and what that does; nothing is changed")
    async def plan(proposal: Proposal) -> PlanReport:
        return await planning.plan(proposal.text, source=proposal.source)

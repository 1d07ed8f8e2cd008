"""The section of the paper gate: the weeks of paper trading that live trading needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings.families import Section


class PaperGateSettings(Section):
    """What has to be seen on paper before live trading. Nothing here can ask for less than that."""

    min_sessions: Annotated[int, Field(ge=20)] = 20
    """Sessions one after another without manual intervention; 20 are four weeks."""
    evidence_days: Annotated[int, Field(ge=28, le=365)] = 90
    """Calendar days back from the last paper session that a drill, a breaker, a reconnect or a
    healing cycle counts, and that the desk may have stood still."""
    lost_connection_hours: Annotated[float, Field(gt=0, le=24)] = 24
    """A connection that was lost for so long is escalated."""

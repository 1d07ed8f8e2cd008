"""Settings of the self-healing agent: what it may do by itself, and how much it may try."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hydra_pipelines.settings.families import Positive, Section


class AgentSettings(Section):
    """The agent that finds out why a model stopped being right, and tries cures."""

    autonomy: Literal["observe", "propose", "auto"] = "propose"
    """`observe`: experiments and a report. `propose`: what passes the gate waits as `challenger`,
    and a person is told, who promotes it or not. `auto`: it is promoted, and watched."""
    budget: Annotated[int, Field(ge=1, le=50)] = 6
    """Experiments of one healing cycle, over all strategies."""
    cool_down_sessions: Annotated[int, Field(ge=0)] = 60
    """A change that was rejected is not tried again for so many sessions."""
    watch_sessions: Annotated[int, Field(ge=10, le=252)] = 20
    """Sessions with known outcome over which a promoted version is compared with the one before."""
    watch_margin: Annotated[float, Field(gt=0, le=1)] = 0.05
    """It is rolled back where its mean rank IC is lower by more than this, and it earned less."""
    experiment_timeout_s: Positive = 900
    """An experiment that takes longer is ended and has failed."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Experiments at work at a time, each in a process of its own."""

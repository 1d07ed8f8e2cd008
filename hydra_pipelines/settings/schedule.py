"""When the desk works by itself. What a tick does is `day.timetable`'s business."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings.families import Section


class ScheduleSettings(Section):
    """Times of day in New York, on exchange sessions; which of them are on is set in Dagster.

    A schedule takes a new time when the code location is loaded again (in the UI: Deployment,
    Reload), its run key stays the session's, so no session is run twice for it.
    """

    predictions: time = time(18, 15)
    """Of the evening; bars, features and predictions of the session that closed."""
    order_plan: time = time(18, 30)
    """Of the evening; the plan for the next session. Sends nothing."""
    drift_check: time = time(19, 0)
    """Of the evening."""
    trading: time = time(9, 35)
    """Of the next session, when the plan is worked; `execution.start` where that is later. `hydra
    paper-trade start --schedule-hour --schedule-minute` writes it to the desk's own file."""
    trading_window_minutes: Annotated[int, Field(ge=1, le=390)] = 60
    """A trading tick that was missed is made up for so long, and never later."""
    training: time = time(8, 0)
    """Of Saturday."""
    self_heal: time = time(10, 0)
    """Of Saturday, after the training; off unless it is switched on."""

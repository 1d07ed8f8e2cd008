"""The section `monitoring`: what the drift check looks at, and what may follow from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings.families import Positive, Section


class MonitoringSettings(Section):
    """The drift check of the deployed models; docs/monitoring.md says how its levels are made."""

    window_sessions: Annotated[int, Field(ge=21, le=252)] = 63
    """So many sessions back is now, for features, predictions and performance."""
    min_predictions: Annotated[int, Field(ge=1)] = 10
    """With fewer predictions in the last `recent_sessions` a model is not judged at all."""
    recent_sessions: Annotated[int, Field(ge=1)] = 7
    """Sessions over which `min_predictions` are counted."""
    false_alarms: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Share of the months in which a model may be said to have drifted with nothing changed."""
    auto_rollback: bool = False
    """Whether a model that drifted is set back to the version under the alias `previous`; once,
    and again only after another promotion."""
    report: bool = True
    """Whether the job `drift_check` makes the HTML report too."""
    report_rows: Annotated[int, Field(ge=100)] = 5000
    """Rows that are drawn for it, of reference and window each."""
    report_timeout_s: Positive = 180
    """The report's process is ended after so long; the check has long been stored."""

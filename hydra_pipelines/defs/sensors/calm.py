"""What every sensor shares: a look that fails is a reason to skip, and no error a minute."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.control import ControlError
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerBusy, LedgerError
from hydra_pipelines.sessions import ClockError, NotASession
from hydra_pipelines.settings import SettingsError

Answer = dg.SensorResult | dg.SkipReason | dg.RunRequest
Look = Callable[[dg.SensorEvaluationContext, Desk], Answer]


def calm(look: Look) -> Callable[[dg.SensorEvaluationContext, DeskResource], Answer]:
    """The body of a sensor from a look at the desk.

    What stands in the way for now is the reason why it skips. An error that nobody expected is
    told to a person, once in a while, and skipped too: the next look may find the desk well again.
    """

    # Not `functools.wraps`: Dagster reads which resources it needs from the annotations.
    def body(context: dg.SensorEvaluationContext, desk: DeskResource) -> Answer:
        try:
            return look(context, desk.desk)
        except LedgerBusy as error:
            return dg.SkipReason(f"somebody is at work: {error}")
        except (LedgerError, ControlError, SettingsError, NotASession, ClockError, OSError,
                sqlite3.Error) as error:  # fmt: skip
            return dg.SkipReason(f"it can't be looked at just now: {error}")
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            desk.desk.alerts.send(
                AlertKind.JOB_FAILURE,
                f"sensor {look.__name__}",
                f"hydra: the sensor {look.__name__} can't look",
                f"{text}. It goes on trying; until then nobody looks at this.",
            )
            return dg.SkipReason(f"it can't look: {text}")

    return body


def now() -> datetime:
    """When a sensor looks (UTC); a function of its own, so that tests can set the clock."""
    return datetime.now(UTC)

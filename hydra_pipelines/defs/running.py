"""What every asset body shares: its session, its run's flags, and errors a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.control import ControlError
from hydra_pipelines.day.session import SessionRefused
from hydra_pipelines.defs.jobs import DRY_RUN_TAG, RECONCILE_TAG
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerError
from hydra_pipelines.sessions import ClockError, NotASession
from hydra_pipelines.settings import SettingsError

BACKFILL_TAG = "dagster/backfill"
"""Dagster's own, on every run of a backfill."""
RANGE_END_TAG = "dagster/asset_partition_range_end"
"""Dagster's own, on a run over a range of partitions: the last of them."""


def session_of(context: dg.AssetExecutionContext) -> date:
    """The session of the run; of a range of them in one run the last, which all others come with.

    Only research assets are run over ranges: what they make up to a session holds all before it.
    """
    return date.fromisoformat(context.run.tags.get(RANGE_END_TAG) or context.partition_key)


def is_dry_run(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(DRY_RUN_TAG, "").lower() == "true"


def is_reconcile_only(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(RECONCILE_TAG, "").lower() == "true"


def saying(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    return lambda text: context.log.info(text)


def refuse_backfill(context: dg.AssetExecutionContext) -> None:
    """Fail a backfill: what belongs to the broker is what it is now, and no past session trades."""
    if BACKFILL_TAG in context.run.tags or RANGE_END_TAG in context.run.tags:
        name = context.asset_key.to_user_string()
        raise dg.Failure(
            description=f"{name} is not part of backfills: it asks the broker, who knows the "
            "present only. Backfill market, feature and model assets alone; a session's orders "
            "are worked by `hydra execute` or the job daily_cycle, one session at a time",
            allow_retries=False,
        )


@contextmanager
def readable_errors(*expected: type[Exception]) -> Iterator[None]:
    """Turn refusals that need no stack trace into a failure with their message, not retried."""
    known: tuple[type[Exception], ...] = (
        SettingsError,
        NotASession,
        SessionRefused,
        ClockError,
        LedgerError,
        ControlError,
        *expected,
    )
    try:
        yield
    except known as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@contextmanager
def order_errors(desk: Desk, session: date) -> Iterator[None]:
    """Errors of a step that sends orders: one after the first send is never tried again blindly.

    Before that a broken connection is a plain failure, which a retry policy may take up.
    """
    from hydra_pipelines.execution.broker.messages import BrokerError
    from hydra_pipelines.execution.orders.manager import WindowPassed

    try:
        with readable_errors(WindowPassed, day.NoPlan):
            yield
    except dg.Failure:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
        if day.may_have_sent(desk, session):
            raise dg.Failure(
                description=f"{text}. Orders of {session} may have been sent: nothing is tried "
                "again blindly; the next run of the session reconciles before it goes on",
                allow_retries=False,
            ) from error
        if isinstance(error, BrokerError):
            raise dg.Failure(description=text) from error
        raise

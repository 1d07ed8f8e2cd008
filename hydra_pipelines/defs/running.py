"""What every asset body shares: its session, its dry-run flag, and errors a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg

from hydra_pipelines.control import ControlError
from hydra_pipelines.day.session import SessionRefused
from hydra_pipelines.defs.jobs import DRY_RUN_TAG
from hydra_pipelines.ledger.store import LedgerError
from hydra_pipelines.sessions import ClockError, NotASession
from hydra_pipelines.settings import SettingsError


def session_of(context: dg.AssetExecutionContext) -> date:
    return date.fromisoformat(context.partition_key)


def is_dry_run(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(DRY_RUN_TAG, "").lower() == "true"


def saying(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    return lambda text: context.log.info(text)


@contextmanager
def readable_errors(*expected: type[Exception]) -> Iterator[None]:
    """Turn refusals that need no stack trace into a failure with their message, not retried."""
    known = (
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

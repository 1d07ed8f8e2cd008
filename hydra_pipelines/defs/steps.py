"""The body of an asset as a step of a run: it ends where the run is to end, and what a passing
hiccup broke is tried again.

Dagster tells a run's process to end once, by an interrupt. That gets lost where a library takes it
for an error of its own, and Dagster's retry policies answer it by trying the step again, after
which the run goes on. So steps ask for themselves, and their retries are made here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator

import dagster as dg

from hydra_pipelines.defs.resources import DeskResource

Body = Callable[[dg.AssetExecutionContext, DeskResource], Iterator[object]]

TO_END = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
AGAIN = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""How often a step is tried again, and after how long. Given to no asset: see above."""
ASK_EVERY_S = 1.0


def end_if_asked(context: dg.AssetExecutionContext) -> None:
    """End the run here if it was cancelled: raises DagsterExecutionInterruptedError."""
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status in TO_END:
        raise dg.DagsterExecutionInterruptedError("the run was cancelled")


def checkpoint(context: dg.AssetExecutionContext) -> Callable[[], None]:
    """`end_if_asked`, for loops: asks once a second at most.

    Where Dagster's store doesn't answer, it is asked again later: orders that work need the loop,
    and the interrupt is still there.
    """
    due = 0.0

    def ask() -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + ASK_EVERY_S
        try:
            end_if_asked(context)
        except Exception as error:  # The end itself is a BaseException, as every interrupt.
            context.log.warning(f"whether the run was cancelled can't be read: {error}")

    return ask


def step(body: Body) -> Body:
    """Is not begun in a run that was cancelled."""

    @functools.wraps(body)
    def begin(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        end_if_asked(context)
        yield from body(context, desk)

    return begin


def step_tried_again(body: Body) -> Body:
    """The same, and its errors are tried again, but for failures that forbid it.

    For steps before the first order alone: after a send only reconciliation decides what to do.
    """

    @functools.wraps(body)
    def begin(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        end_if_asked(context)
        try:
            yield from body(context, desk)
        except Exception as error:
            # An interrupt that a library turned into an error of its own.
            end_if_asked(context)
            if isinstance(error, dg.Failure) and not error.allow_retries:
                raise
            wait = AGAIN.calculate_delay(context.retry_number + 1)
            raise dg.RetryRequested(AGAIN.max_retries, wait) from error

    return begin

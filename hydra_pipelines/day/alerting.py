"""Which outcomes of the day's work a person is told of at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hydra_pipelines.alerts import AlertKind, Tell
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.broker.order_state import State

if TYPE_CHECKING:
    from hydra_pipelines.execution.orders.outcome import ExecutionReport
    from hydra_pipelines.models.history import Move


def tell_of_orders(report: ExecutionReport, tell: Tell) -> None:
    """Orders that ended as a person should know: unknown ones, and those the broker refused."""
    if report.unknown:
        tell(
            AlertKind.UNKNOWN_ORDERS,
            " ".join(sorted(order.order_ref for order in report.unknown)),
            f"hydra: {len(report.unknown)} orders in an unknown state",
            f"Of the plan of {report.session} it is not known what became of: "
            + ", ".join(f"{o.side} {o.quantity} {o.symbol} ({o.order_ref})" for o in report.unknown)
            + ". Their symbols are frozen and nothing adds risk: look at the broker, then "
            "`hydra resolve`.",
        )
    rejected = [order for order in report.orders if order.state == State.REJECTED.value]
    if rejected:
        tell(
            AlertKind.ORDER_ERRORS,
            " ".join(sorted(order.order_ref for order in rejected)),
            f"hydra: the broker rejected {len(rejected)} orders",
            f"Of the plan of {report.session}: "
            + "; ".join(f"{o.side} {o.quantity} {o.symbol}: {o.reason}" for o in rejected),
        )


def tell_of_moves(moves: Sequence[Move], tell: Tell) -> None:
    """Promotions and rollbacks that were carried out, whoever made them.

    The first version of a strategy replaces nothing and is no news; a champion that was taken away
    fails the check of the champions.
    """
    from hydra_pipelines.models.history import Kind, Stage

    for move in moves:
        first = move.kind is Kind.FIRST_VERSION
        if move.stage is not Stage.DONE or move.to_version is None or first:
            continue
        back = move.went_back
        done = "rolled back" if back else "promoted"
        tell(
            AlertKind.ROLLBACK if back else AlertKind.PROMOTION,
            move.move_id,
            f"hydra: {move.strategy_id} was {done} to version {move.to_version}",
            f"Version {move.to_version} of {move.strategy_id} trades, in the place of "
            f"{move.from_version}. By {move.actor}: {move.reason}.",
        )


@contextmanager
def telling_of_a_lost_broker(tell: Tell) -> Iterator[None]:
    """Tell of a broker that can't be reached or trusted; the error goes on as it was."""
    try:
        yield
    except GuardRefused as error:
        tell(AlertKind.ORDER_ERRORS, "guard", "hydra: the live guard refused to trade", str(error))
        raise
    except BrokerError as error:
        tell(AlertKind.BROKER_DOWN, "broker", "hydra: no orders, trouble at the broker", str(error))
        raise

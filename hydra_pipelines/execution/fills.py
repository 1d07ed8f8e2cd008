"""From an execution and the intent behind it to a row of the fill journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, cast

from hydra_pipelines.execution.broker.messages import Execution
from hydra_pipelines.execution.slippage import (
    Side,
    actual_slippage,
    implementation_shortfall_bps,
)


def journal_row(
    execution: Execution,
    intent: Mapping[str, Any] | None,
    session: date,
    latency_ms: float | None,
) -> dict[str, Any]:
    """A row of `executed_trades`.

    intent: the order behind the execution; None for one that the desk did not place, whose
    slippage is unknown. session: the execution session. latency_ms: send to fill, None where the
    fill was learnt of later.
    """
    row: dict[str, Any] = {
        "exec_key": execution.key,
        "exec_id": execution.exec_id,
        "order_ref": None,
        "perm_id": execution.perm_id,
        "account": execution.account,
        "session": session,
        "executed_at": execution.executed_at,
        "symbol": execution.symbol,
        "side": execution.side,
        "quantity": execution.quantity,
        "price": execution.price,
        "commission": execution.commission,
        "order_price": None,
        "arrival_price": None,
        "predicted_slippage_bps": None,
        "actual_slippage": None,
        "actual_slippage_bps": None,
        "shortfall_bps": None,
        "latency_ms": latency_ms,
        "strategies": None,
        "recorded_at": datetime.now(UTC),
    }
    if intent is not None:
        side = cast(Side, execution.side)
        slippage = actual_slippage(side, intent["limit_price"], execution.price)
        row |= {
            "order_ref": intent["order_ref"],
            "session": intent["execution_session"],
            "order_price": intent["limit_price"],
            "arrival_price": intent["arrival_price"],
            "predicted_slippage_bps": intent["predicted_slippage_bps"],
            "actual_slippage": slippage.per_share,
            "actual_slippage_bps": slippage.bps,
            "shortfall_bps": implementation_shortfall_bps(
                side, intent["arrival_price"], execution.price
            ),
            "strategies": intent["strategies"],
        }
    return row

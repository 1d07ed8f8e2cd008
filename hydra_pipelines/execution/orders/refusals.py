"""Why a plan, or a row of it, was not worked before any order was judged: named, and in words.

What the risk gate denies has its own names, in `risk.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from hydra_pipelines.execution.orders.intents import order_ref


class Refusal(StrEnum):
    """`explanation` says it in a sentence."""

    WINDOW_PASSED = "window_passed"
    WINDOW_NOT_OPEN = "window_not_open"
    STATE_UNKNOWN = "state_unknown"
    SERVERS_LOST = "servers_lost"
    QUIET_HOURS = "quiet_hours"
    NO_CONTRACT = "no_contract"
    NO_QUOTE = "no_quote"
    NO_ROOM = "no_room"
    NO_SHARES = "no_shares"

    @property
    def explanation(self) -> str:
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Refusal.WINDOW_PASSED: "the execution session of the plan is over; it is not traded late",
    Refusal.WINDOW_NOT_OPEN: "the execution session has not come to the time of the first order",
    Refusal.STATE_UNKNOWN: "the broker's orders, executions or positions are not known for certain",
    Refusal.SERVERS_LOST: "the gateway has lost IB's servers (1100)",
    Refusal.QUIET_HOURS: "IB restarts its servers at this time",
    Refusal.NO_CONTRACT: "the broker does not know one contract for the symbol",
    Refusal.NO_QUOTE: "the broker has no price to work from",
    Refusal.NO_ROOM: "cash or the position limit leave no room for a share",
    Refusal.NO_SHARES: "the largest share of the expected volume is less than one share",
}


def refused(
    plan: Mapping[str, Any], row: Mapping[str, Any], refusal: Refusal, text: str, at: datetime
) -> dict[str, Any]:
    """The record of a refusal, beside the gate's decisions."""
    ref = order_ref(plan["session"], plan["account"], row["symbol"], row["side"], 0, 0)
    order = {
        "symbol": row["symbol"],
        "side": row["side"],
        "quantity": row["quantity"],
        "plan_row": plan_row(plan, row),
    }
    return {
        "order_ref": ref,
        "approved": False,
        "reasons": refusal.value,
        "inputs": {"order": order, "why": text},
        "occurred_at": at,
    }


def plan_row(plan: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The id of a row of a plan."""
    return f"{plan['plan_id']}-{row['sequence']:04d}"

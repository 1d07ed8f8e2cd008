"""Why a plan, or a row of it, was not worked before any order was judged: named, and in words.

What the risk gate denies has its own names, in `risk.checks`.
"""

from __future__ import annotations

from enum import StrEnum


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

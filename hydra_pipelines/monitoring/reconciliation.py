"""What fills cost against what was predicted of them: the fill journal's reconciliation.

Here belong the comparison and its groups; the law itself and the measures are `execution.slippage`,
and what follows from a bias is `calibration`. Pure: rows of the journal in, figures out.

Actual is the implementation shortfall against the arrival price, the mid when the order was
decided, for that is what the law predicts. The fill against the order price is stated beside it:
against a limit it is never a cost, only how much of the limit was not needed.

What is compared is the fill of an order: its executions averaged by quantity. They have one
prediction in common and one move of the price, so twenty executions of an order are no twenty
observations; and counted singly they mislead, since an order that rests is filled in many small
parts at its price, and one that had to chase the price in a few. On a year of patient orders the
mean over executions was half the mean over orders. The executions singly are stated beside it,
and money, where quantity and price weigh.

Left out, and said, are orders that rested over a night for the open: measured from the last close,
their shortfall is the night's move, of which the law knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from hydra_pipelines.execution.orders.resting import rested
from hydra_pipelines.execution.slippage import Reconciliation, SlippageModel, reconcile
from hydra_pipelines.sessions import NEW_YORK

NOT_OURS = "not ordered by the desk"
NO_PREDICTION = "no prediction"
NO_ARRIVAL = "no arrival price"
OVER_NIGHT = "rested for the open: holds the night's move"

GROUPS = ("symbol", "side", "algo", "hour")
_BPS = 10_000.0


@dataclass(frozen=True, eq=False)
class Fills:
    """Fills that can be compared; arrays of shape (n,), oldest first.

    session: datetime64[D] of the execution. symbol, side, algo, hour: str; hour is New York's.
    order: index of the plan's order that the fill belongs to, from 0 in the order of first fills;
    the slices of one order are one. quantity: shares. arrival: USD. predicted, shortfall,
    against_order: basis points, positive is a cost. half_spread, unit_impact: the terms of the
    prediction in basis points, NaN where not known.
    """

    session: np.ndarray
    symbol: np.ndarray
    side: np.ndarray
    algo: np.ndarray
    hour: np.ndarray
    order: np.ndarray
    quantity: np.ndarray
    arrival: np.ndarray
    predicted: np.ndarray
    shortfall: np.ndarray
    against_order: np.ndarray
    half_spread: np.ndarray
    unit_impact: np.ndarray

    def __len__(self) -> int:
        return len(self.session)

    def take(self, chosen: np.ndarray) -> Fills:
        """Some of the fills, by index or mask; orders are counted anew."""
        picked = {name: values[chosen] for name, values in vars(self).items()}
        picked["order"] = _in_order_of_appearance(picked["order"])
        return Fills(**picked)

    def by_order(self) -> Fills:
        """One entry an order: its fills averaged by quantity, names those of its first fill."""
        n = int(self.order.max()) + 1 if len(self) else 0
        first = np.unique(self.order, return_index=True)[1]
        shares = np.bincount(self.order, self.quantity, n)

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(self.order, values * self.quantity, n) / shares

        return Fills(
            session=self.session[first],
            symbol=self.symbol[first],
            side=self.side[first],
            algo=self.algo[first],
            hour=self.hour[first],
            order=np.arange(n),
            quantity=shares,
            arrival=mean(self.arrival),
            predicted=mean(self.predicted),
            shortfall=mean(self.shortfall),
            against_order=mean(self.against_order),
            half_spread=mean(self.half_spread),
            unit_impact=mean(self.unit_impact),
        )

    def repredicted(self, model: SlippageModel) -> np.ndarray:
        """What a model predicts of the same orders, in basis points; NaN without the terms."""
        beyond = np.array([model.beyond(algo) for algo in self.algo.tolist()])
        return model.cost_bps(self.unit_impact, self.half_spread, beyond)


def comparable(rows: Sequence[Mapping[str, Any]]) -> tuple[Fills, dict[str, int]]:
    """Rows of `ledger.calibrations.observations` as arrays, and how many are left out, and why."""
    kept: list[Mapping[str, Any]] = []
    left_out: dict[str, int] = {}
    for row in rows:
        why = _why_left_out(row)
        if why is None:
            kept.append(row)
        else:
            left_out[why] = left_out.get(why, 0) + 1

    def names(values: list[str]) -> np.ndarray:
        return np.array(values, dtype=np.str_)

    def numbers(column: str) -> np.ndarray:
        values = (row.get(column) for row in kept)
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)

    orders: dict[tuple[Any, ...], int] = {}
    index = [
        orders.setdefault(
            (row["plan_id"] or row["order_ref"], row["symbol"], row["side"]), len(orders)
        )
        for row in kept
    ]
    fills = Fills(
        session=np.array([row["session"] for row in kept], dtype="datetime64[D]"),
        symbol=names([row["symbol"] for row in kept]),
        side=names([row["side"] for row in kept]),
        algo=names([row["routing"] or "unknown" for row in kept]),
        hour=names([f"{row['executed_at'].astimezone(NEW_YORK):%H}" for row in kept]),
        order=np.array(index, dtype=np.int64),
        quantity=numbers("quantity"),
        arrival=numbers("arrival_price"),
        predicted=numbers("predicted_slippage_bps"),
        shortfall=numbers("shortfall_bps"),
        against_order=numbers("actual_slippage_bps"),
        half_spread=numbers("quoted_half_spread_bps"),
        unit_impact=numbers("unit_impact_bps"),
    )
    return fills, left_out


def _why_left_out(row: Mapping[str, Any]) -> str | None:
    if row["order_ref"] is None:
        return NOT_OURS
    if not _is_number(row["predicted_slippage_bps"]):
        return NO_PREDICTION
    if row["arrival_price"] is None or not _is_number(row["shortfall_bps"]):
        return NO_ARRIVAL
    return OVER_NIGHT if rested(row) else None


def _is_number(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


@dataclass(frozen=True)
class Line:
    """One line of the report.

    n: how many fills are behind it. against_order_bps: mean of the fills against their order price,
    None where none is known. predicted_usd, actual_usd: what was to be paid and was, in money.
    """

    name: str
    reconciliation: Reconciliation
    n: int
    against_order_bps: float | None
    predicted_usd: float
    actual_usd: float

    def row(self) -> dict[str, Any]:
        """The figures as one flat row, None where there are not enough fills for them."""
        found = self.reconciliation
        return {
            "name": self.name,
            "n": found.n,
            "mean_predicted": found.mean_predicted,
            "mean_actual": found.mean_actual,
            "bias": found.bias,
            "relative_bias": found.relative_bias,
            "rmse": found.rmse,
            "correlation": found.correlation,
            "pessimism_multiplier": found.pessimism_multiplier,
            "colour": found.colour,
            "is_model_calibrated": found.is_model_calibrated,
            "message": found.message,
            "against_order_bps": self.against_order_bps,
            "predicted_usd": round(self.predicted_usd, 2),
            "actual_usd": round(self.actual_usd, 2),
        }


@dataclass(frozen=True)
class SlippageReport:
    """The reconciliation of a stretch of the journal.

    journalled: executions of the stretch; left_out: those that can't be compared, by reason.
    overall: the fills of all orders, as predicted at the time; executions: each of these singly.
    in_force: orders whose prediction is the one that the model now in force makes, so those since
    the last calibration: whether the model is calibrated is read from these. as_now: all orders
    with the terms of their prediction known, predicted anew by the model in force; in hindsight,
    where it was calibrated on them. groups: orders by symbol, side, algo and New York hour of
    their first execution, as predicted at the time. fills: what is behind all that, singly.
    """

    first: date | None
    last: date | None
    journalled: int
    left_out: Mapping[str, int]
    model: SlippageModel
    overall: Line
    executions: Line
    in_force: Line
    as_now: Line
    groups: Mapping[str, tuple[Line, ...]]
    fills: Fills

    @property
    def summary(self) -> tuple[Line, ...]:
        return (self.overall, self.executions, self.in_force, self.as_now)


def reconcile_journal(rows: Sequence[Mapping[str, Any]], model: SlippageModel) -> SlippageReport:
    """The report over rows of `ledger.calibrations.observations`; model: the one in force."""
    fills, left_out = comparable(rows)
    orders, now = fills.by_order(), fills.repredicted(model)
    # The law is a sum of a few floats, stored as they were: only noise of the last digits.
    same = np.isclose(now, fills.predicted, rtol=1e-9, atol=1e-9)
    others = np.bincount(fills.order, ~same, len(orders))
    known = np.isfinite(orders.unit_impact)
    sessions = [row["session"] for row in rows]
    return SlippageReport(
        first=min(sessions, default=None),
        last=max(sessions, default=None),
        journalled=len(rows),
        left_out=left_out,
        model=model,
        overall=line("orders", orders),
        executions=line("executions singly", fills),
        in_force=line("orders predicted by the model in force", orders.take(others == 0)),
        as_now=line(
            "all orders, as the model in force predicts",
            orders.take(known),
            orders.repredicted(model)[known],
        ),
        groups={name: _group(orders, name) for name in GROUPS},
        fills=fills,
    )


def line(name: str, fills: Fills, predicted: np.ndarray | None = None) -> Line:
    """Fills reconciled; predicted: in the place of what was predicted at the time."""
    predicted = fills.predicted if predicted is None else predicted
    value = fills.quantity * fills.arrival / _BPS
    against = fills.against_order[np.isfinite(fills.against_order)]
    return Line(
        name=name,
        reconciliation=reconcile(predicted, fills.shortfall),
        n=len(fills),
        against_order_bps=float(against.mean()) if len(against) else None,
        predicted_usd=float((value * predicted).sum()),
        actual_usd=float((value * fills.shortfall).sum()),
    )


def _group(fills: Fills, by: str) -> tuple[Line, ...]:
    values = getattr(fills, by)
    return tuple(
        line(str(value), fills.take(values == value)) for value in np.unique(values).tolist()
    )


def _in_order_of_appearance(numbers: np.ndarray) -> np.ndarray:
    """Any labels as 0, 1, 2 … by where each comes first."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]

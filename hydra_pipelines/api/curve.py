"""The equity curve with what happened along it, and what has been made in all."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.accounts import PAID_IN_AND_OUT

if TYPE_CHECKING:
    import numpy as np

    from hydra_pipelines.market.bars import BarPanel

MARKED = ("model_promoted", "model_rolled_back", "breaker_tripped", "setting_changed")
"""Audit events that are marked on the curve."""


def money(desk: Desk) -> Row | None:
    """The account at its last synchronisation, with what was made in all; None before the first.

    Columns of account_snapshots, and: total_profit (equity less everything paid in and out,
    accepted shares included), total_return (of what was paid in), paid_in, cash_share,
    exposure (gross over equity), as_of (the instant it was recorded).
    """
    with desk.ledger.snapshot() as rows:
        last = rows.one(
            "SELECT * EXCLUDE (recorded_at), recorded_at AS as_of FROM account_snapshots "
            "ORDER BY session DESC, recorded_at DESC LIMIT 1"
        )
        if last is None:
            return None
        paid_in = rows.value(
            "SELECT coalesce(sum(amount), 0) FROM cash_movements WHERE account = $1 "
            "AND list_contains($2, coalesce(kind, 'opening'))",
            [last["account"], list(PAID_IN_AND_OUT)],
        )
        accepted = rows.value(
            "SELECT coalesce(sum(quantity * price), 0) FROM position_adjustments "
            "WHERE account = ? AND price IS NOT NULL",
            [last["account"]],
        )
    paid = Decimal(paid_in) + Decimal(accepted)
    equity = last["equity"]
    return {
        **last,
        "paid_in": paid,
        "total_profit": equity - paid,
        "total_return": float((equity - paid) / paid) if paid > 0 else None,
        "cash_share": float(last["cash"] / equity) if equity > 0 else None,
        "exposure": float(last["gross"] / equity) if equity > 0 else None,
    }


def curve_markers(desk: Desk) -> list[Row]:
    """Promotions, rollbacks, breaker trips and deploys, oldest first.

    Columns: session (the first of the curve that was recorded at or after it), kind, text. A deploy
    is a session whose predictions were made by another version of a strategy than the one before.
    """
    with desk.ledger.snapshot() as rows:
        curve = rows.query("SELECT session, recorded_at FROM account_snapshots ORDER BY session")
        events = rows.query(
            "SELECT occurred_at, event, strategy_id, details ->> '$.to' AS version, "
            "details ->> '$.breaker' AS breaker, details ->> '$.why' AS why, "
            "details ->> '$.session' AS session FROM audit_events "
            "WHERE event IN (SELECT unnest(?)) ORDER BY seq",
            [list(MARKED)],
        )
        deploys = rows.query(
            "SELECT session, strategy_id, version FROM ("
            "SELECT session, strategy_id, max(model_version) AS version, "
            "lag(max(model_version)) OVER (PARTITION BY strategy_id ORDER BY session) AS before "
            "FROM predictions GROUP BY session, strategy_id) "
            "WHERE before IS NOT NULL AND version <> before ORDER BY session"
        )
    out = [
        {
            "session": row["session"],
            "kind": "deploy",
            "text": f"{row['strategy_id']} trades with version {row['version']}",
        }
        for row in deploys
    ]
    for event in events:
        at = next((c["session"] for c in curve if c["recorded_at"] >= event["occurred_at"]), None)
        if at is None and curve:
            at = curve[-1]["session"]
        if at is None:
            continue
        out.append({"session": at, "kind": event["event"], "text": _marker(event)})
    return sorted(out, key=lambda marker: marker["session"])


def _marker(event: Row) -> str:
    if event["event"] == "breaker_tripped":
        return f"breaker {event['breaker']} tripped: {event['why'] or 'no reason kept'}"
    if event["event"] == "setting_changed":
        return "a setting was changed"
    done = "promoted" if event["event"] == "model_promoted" else "rolled back to"
    return f"{event['strategy_id']}: {done} version {event['version']}"


def signal_curve(desk: Desk) -> list[Row]:
    """What the stored signals would have made without any cost: the backtest beside the curve.

    Each strategy's signals share its capital weight equally, are held from the open of the
    execution session on (from the close before, where the source has no opens), and are valued at
    the lake's adjusted closes; no slippage, no commission, no cash limit. Columns: session
    (execution), growth (of 1, at its close). It ends with the lake; empty before the first signals.
    """
    import numpy as np

    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.market.lake import LakeMissing

    with desk.ledger.snapshot() as rows:
        signals = rows.query(
            "SELECT session, strategy_id, symbol, signal FROM signals WHERE signal <> 0 "
            "ORDER BY session"
        )
    if not signals:
        return []
    first = signals[0]["session"]
    try:
        panel = bar_panel(desk.bars.view(), first=first - timedelta(days=7))
    except LakeMissing:
        return []
    sessions = [session.item() for session in panel.sessions]
    column = {symbol: i for i, symbol in enumerate(panel.symbols)}
    overnight, intraday = _returns(panel)
    capital = {s.id: s.capital_weight for s in desk.settings.strategies}
    by_session: dict[object, dict[str, list[tuple[str, int]]]] = {}
    for row in signals:
        held = by_session.setdefault(row["session"], {}).setdefault(row["strategy_id"], [])
        held.append((row["symbol"], row["signal"]))
    weights = np.zeros(len(panel.symbols))
    growth, out = 1.0, []
    for i in range(1, len(sessions)):
        decided = by_session.get(sessions[i - 1])
        if decided is None and not weights.any():
            continue
        growth *= 1 + float(weights @ overnight[i])
        if decided is not None:
            weights = np.zeros(len(panel.symbols))
            for strategy, names in decided.items():
                for symbol, sign in names:
                    if symbol in column:
                        weights[column[symbol]] += sign * capital.get(strategy, 0.0) / len(names)
        growth *= 1 + float(weights @ intraday[i])
        out.append({"session": sessions[i], "growth": growth})
    return out


def _returns(panel: BarPanel) -> tuple[np.ndarray, np.ndarray]:
    """(overnight, intraday) returns, each float64 (S, N); 0 where they are not known.

    Where the source has no opens, the whole of a session counts as intraday.
    """
    import numpy as np

    closes, opens = panel.field("close"), panel.field("open")
    adjusted = panel.field("adj_close")
    assert closes is not None, "bars without closes are not taken into the lake"
    adjusted = closes if adjusted is None else adjusted
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.ones_like(closes)
        whole[1:] = adjusted[1:] / adjusted[:-1]
        within = whole if opens is None else np.where(opens > 0, closes / opens, whole)
        overnight, intraday = whole / within - 1, within - 1
    return np.nan_to_num(overnight, posinf=0, neginf=0), np.nan_to_num(intraday, posinf=0, neginf=0)

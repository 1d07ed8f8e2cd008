"""The tables of the pages, from rows of the read side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra_pipelines.dashboard import cells
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone, where

Row = Mapping[str, Any]
STATE_TONES: Mapping[str, Tone] = {
    "filled": "good",
    "done": "good",
    "submitted": "warn",
    "pending": "warn",
    "sending": "warn",
    "planned": "warn",
    "executing": "warn",
    "draft": "warn",
    "unknown": "bad",
    "denied": "bad",
    "rejected": "bad",
    "cancelled": "quiet",
    "never_sent": "quiet",
    "never_arrived": "quiet",
    "not_sent": "quiet",
    "expired": "quiet",
}


def symbol(name: str) -> Cell:
    return cells.text(name, where("/fills", symbol=name))


def session(at: Any) -> Cell:
    """A signal session, with the plan of it."""
    return cells.day(at, where("/orders", session=at) if at else "")


def order(ref: str | None) -> Cell:
    return cells.code(ref, where("/orders", ref) if ref else "")


def strategies(names: str | None) -> Cell:
    every = [one for one in (names or "").split(",") if one]
    href = where("/models", every[0]) if len(every) == 1 else "/models" if every else ""
    return cells.text(", ".join(every), href)


def state(value: str, why: str = "") -> Cell:
    return cells.badge(cells.words(value), STATE_TONES.get(value, ""), hint=why)


def positions(rows: Sequence[Row]) -> Table:
    total = sum((row["market_value"] for row in rows), start=0)
    gain = sum((row["unrealized_pnl"] for row in rows), start=0)
    cost = sum((row["cost_basis"] for row in rows), start=0)
    return Table(
        "positions",
        "Open positions",
        (
            Column("Symbol"),
            Column("Shares", num=True),
            Column("Entry", "USD", True),
            Column("Price", "USD", True),
            Column("Value", "USD", True),
            Column("P&L", "USD", True),
            Column("P&L", "%", True),
            Column("Strategies"),
        ),
        [
            (
                symbol(row["symbol"]),
                cells.number(row["quantity"], 0),
                cells.number(row["entry_price"]),
                cells.number(row["current_price"]),
                cells.usd(row["market_value"]),
                cells.usd(row["unrealized_pnl"], signed=True),
                cells.percent(row["unrealized_pnl_share"], signed=True),
                strategies(row["strategies"]),
            )
            for row in rows
        ],
        "No positions. They appear after the first cycle with fills: `hydra cycle`.",
        (
            cells.text("Total"),
            Cell(""),
            Cell(""),
            Cell(""),
            cells.usd(total),
            cells.usd(gain, signed=True),
            cells.percent(float(gain / cost) if cost else None, signed=True),
            cells.text(f"{len(rows)} positions"),
        )
        if rows
        else (),
    )


def fills(rows: Sequence[Row], empty: str) -> Table:
    return Table(
        "fills",
        "Fills, the latest first",
        (
            Column("Time"),
            Column("Symbol"),
            Column("Side"),
            Column("Shares", num=True),
            Column("Order price", "USD", True),
            Column("Fill price", "USD", True),
            Column("Predicted", "bps", True),
            Column("Actual", "bps", True),
            Column("Latency", num=True),
            Column("Commission", "USD", True),
            Column("Order ref"),
            Column("Trace"),
        ),
        [
            (
                cells.when(row["executed_at"]),
                symbol(row["symbol"]),
                cells.side(row["side"]),
                cells.number(row["quantity"], 0),
                cells.number(row["order_price"]),
                cells.number(row["price"]),
                cells.number(row["predicted_slippage_bps"], 1),
                cost(row["shortfall_bps"]),
                Cell(latency(row["latency_ms"]), "num"),
                cells.number(row["commission"]),
                Cell("order", "text", where("/orders", row["order_ref"]), hint=row["order_ref"])
                if row["order_ref"]
                else cells.text("not ours"),
                Cell("trace", "text", where("/audit/fills", row["exec_id"]), hint=row["exec_id"]),
            )
            for row in rows
        ],
        empty,
    )


def latency(ms: float | None) -> str:
    """Milliseconds, or what they are from a minute on: an order that had to wait for its price."""
    if ms is None or ms < 60_000:
        return cells.NOTHING if ms is None else f"{cells.figure(ms, 0)} ms"
    return cells.duration(ms / 1000)


def cost(bps: Any) -> Cell:
    """Slippage: above zero it is a cost."""
    plain = cells.figure(bps, 1, signed=True)
    tone: Tone = ""
    if bps is not None and plain not in (cells.NOTHING, "0.0"):
        tone = "bad" if float(bps) > 0 else "good"
    return Cell(plain, "num", tone=tone)


def orders(rows: Sequence[Row], empty: str) -> Table:
    return Table(
        "orders",
        "Orders and rows of plans",
        (
            Column("Session"),
            Column("Symbol"),
            Column("Side"),
            Column("State"),
            Column("Shares", num=True),
            Column("Filled", num=True),
            Column("Limit", "USD", True),
            Column("Routing"),
            Column("Strategies"),
            Column("Order ref"),
        ),
        [
            (
                session(row["session"]),
                symbol(row["symbol"]),
                cells.side(row["side"]),
                Cell(
                    cells.words(row["state"]),
                    "badge",
                    tone=STATE_TONES.get(row["state"], ""),
                    note=row["reason"] or "",
                ),
                cells.number(row["quantity"], 0),
                cells.number(row["filled"], 0),
                cells.number(row["limit_price"]),
                cells.text(cells.words(row["routing"]), hint=row["routing_reason"] or ""),
                strategies(row["strategies"]),
                Cell("order", "text", where("/orders", row["order_ref"]), hint=row["order_ref"])
                if row["order_ref"]
                else cells.text(None),
            )
            for row in rows
        ],
        empty,
    )


def plan_rows(rows: Sequence[Row]) -> Table:
    return Table(
        "plan",
        "Rows of the plan",
        (
            Column("Symbol"),
            Column("Side"),
            Column("Shares", num=True),
            Column("Held", num=True),
            Column("Target", num=True),
            Column("Weight now", "%", True),
            Column("Weight wanted", "%", True),
            Column("Notional", "USD", True),
            Column("Predicted", "bps", True),
            Column("Why"),
            Column("Strategies"),
        ),
        [
            (
                symbol(row["symbol"]),
                cells.side(row["side"]),
                cells.number(row["quantity"], 0),
                cells.number(row["current_quantity"], 0),
                cells.number(row["target_quantity"], 0),
                cells.percent(row["current_weight"]),
                cells.percent(row["target_weight"]),
                cells.usd(row["notional"]),
                cells.number(row["predicted_slippage_bps"], 1),
                cells.text(cells.words(row["reason"])),
                strategies(row["strategies"]),
            )
            for row in rows
        ],
        "The plan has no rows: every target was inside the turnover band.",
    )


def predictions(rows: Sequence[Row], empty: str) -> Table:
    return Table(
        "predictions",
        "Predictions of the session",
        (
            Column("Strategy"),
            Column("Symbol"),
            Column("Return", "bps", True),
            Column("Up", "%", True),
            Column("Version", num=True),
        ),
        [
            (
                cells.text(row["strategy_id"], where("/models", row["strategy_id"])),
                symbol(row["symbol"]),
                cells.number(row["prediction"] * 1e4, 1, signed=True, toned=True),
                cells.percent(row["probability_up"], 1),
                Cell(
                    str(row["model_version"]),
                    "num",
                    where("/models", row["strategy_id"], version=row["model_version"]),
                ),
            )
            for row in rows
        ],
        empty,
    )


def moves(rows: Sequence[Row]) -> Table:
    """The promotion history."""
    return Table(
        "history",
        "Promotion history, the latest first",
        (
            Column("Time"),
            Column("Strategy"),
            Column("What"),
            Column("From", num=True),
            Column("To", num=True),
            Column("By"),
            Column("Why"),
        ),
        [
            (
                cells.when(row["recorded_at"]),
                cells.text(row["strategy_id"], where("/models", row["strategy_id"])),
                cells.badge(cells.words(row["kind"])),
                cells.number(row["from_version"], 0),
                cells.number(row["to_version"], 0),
                cells.text(row["actor"]),
                cells.text(row["reason"]),
            )
            for row in rows
        ],
        "No version was ever promoted. The first cycle trains and promotes one: `hydra cycle`.",
    )


def activity(rows: Iterable[Row], name: str = "activity") -> Table:
    return Table(
        name,
        "Recent activity",
        (Column("Time"), Column("What"), Column("By")),
        [
            (
                cells.when(row["occurred_at"]),
                cells.text(row["text"], where("/audit", event=row["event"])),
                cells.text(row["actor"]),
            )
            for row in rows
        ],
        "Nothing has happened yet. The first cycle begins the trail: `hydra cycle`.",
    )


def audit(rows: Iterable[Row]) -> Table:
    out = []
    for row in rows:
        details = row["details"]
        link = ""
        if "exec_id" in details:
            link = where("/audit/fills", details["exec_id"])
        elif "order_ref" in details:
            link = where("/orders", details["order_ref"])
        elif row["strategy_id"]:
            link = where("/models", row["strategy_id"])
        elif details.get("session"):
            link = where("/orders", session=details["session"])
        rest = ", ".join(f"{key}: {value}" for key, value in details.items())
        run = row["run_id"]
        out.append(
            (
                cells.number(row["seq"], 0) if row["seq"] is not None else cells.badge("new"),
                cells.when(row["occurred_at"]),
                cells.badge(cells.words(row["event"])),
                cells.text(row["text"], link, note=rest),
                cells.text(row["actor"]),
                cells.code(run[:8], where("/workflows", run)) if run else cells.text(None),
            )
        )
    return Table(
        "events",
        "Events, the latest first",
        (
            Column("No.", num=True),
            Column("Time"),
            Column("Event"),
            Column("What"),
            Column("By"),
            Column("Run"),
        ),
        out,
        "No events fit. Take a filter away, or run a first cycle: `hydra cycle`.",
    )

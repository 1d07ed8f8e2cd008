"""Positions, fills and orders: what the desk holds, what it traded, what it meant to trade."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter, HTTPException, Request, Response
from markupsafe import Markup

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells, drawing, tables
from hydra_pipelines.dashboard.cells import Column, Table, where
from hydra_pipelines.dashboard.routes.common import Day, Number, Text, dash_of
from hydra_pipelines.desk import Desk

router = APIRouter(include_in_schema=False)
PAGE = 50
MONTHS = 3


@router.get("/positions")
def positions(request: Request, session: Day = None, months: Number = None) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    held = read(api.positions)
    breaks = read(api.position_breaks)
    days = dash.readings.figure(api.fill_days, 760)
    chosen = read(api.fill_page, api.FillFilter(session=session), 1, 200) if session else None
    shown = min(months or MONTHS, 36)
    return dash.page(
        request,
        "positions.html",
        title="Positions",
        held=held,
        held_table=tables.positions(held.value or ()),
        money=read(api.money, none="the account was never read: run `hydra cycle`"),
        breaks=breaks,
        breaks_table=_breaks(breaks.value or []),
        days=days,
        months=drawing.calendar(days.value or (), shown, session, "/positions"),
        days_table=_days(days.value or []),
        more=where("/positions", months=12) if shown < 12 else "",
        session=session,
        chosen=chosen,
        chosen_table=tables.fills(
            chosen.value["rows"] if chosen and chosen.value else (),
            f"No fills on {session}.",
        ),
    )


def _breaks(rows: list[api.Row]) -> Table:
    return Table(
        "breaks",
        "Differences between the journal and the broker",
        (
            Column("Session"),
            Column("Symbol"),
            Column("Ours", num=True),
            Column("Broker's", num=True),
            Column("Kind"),
            Column("Why"),
        ),
        [
            (
                cells.day(row["session"]),
                tables.symbol(row["symbol"]) if row["symbol"] else cells.text("cash"),
                cells.number(row["ours"]),
                cells.number(row["brokers"]),
                cells.badge(cells.words(row["kind"]), "" if row["explained"] else "bad"),
                cells.text(row["why"]),
            )
            for row in rows
        ],
        "None: the journal and the broker agree.",
    )


def _days(rows: list[api.Row]) -> Table:
    return Table(
        "days",
        "Profit by session, the latest first",
        (
            Column("Session"),
            Column("Profit", "USD", True),
            Column("Equity", "USD", True),
            Column("Fills", num=True),
        ),
        [
            (
                cells.day(row["session"], where("/positions", session=row["session"])),
                cells.usd(row["profit"], signed=True),
                cells.usd(row["equity"]),
                cells.number(row["fills"], 0),
            )
            for row in reversed(rows[-66:])
        ],
        "No session was closed yet.",
    )


@router.get("/fills")
def fills(
    request: Request,
    symbol: Text = None,
    side: Text = None,
    session: Day = None,
    first: Day = None,
    last: Day = None,
    strategy: Text = None,
    page: Number = None,
) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    wanted = api.FillFilter(
        symbol=symbol.upper() if symbol else None,
        side=side.upper() if side else None,
        session=session,
        first=first,
        last=last,
        strategy=strategy,
    )
    found = read(api.fill_page, wanted, page or 1, PAGE)
    filtered = wanted != api.FillFilter()
    points = dash.readings.figure(_points, dash.settings.dashboard.drawn_fills)
    bias = dash.readings.figure(_bias)
    empty = (
        "No fills fit. Take a filter away."
        if filtered
        else "No fills yet. A cycle sends the plan's orders: `hydra cycle`."
    )
    return dash.page(
        request,
        "fills.html",
        title="Fills",
        found=found,
        wanted=wanted,
        filtered=filtered,
        fills_table=tables.fills(found.value["rows"] if found.value else (), empty),
        report=dash.readings.figure(api.reconciliation),
        points=points,
        bias=bias,
        turn=_turn(wanted, found.value),
    )


def _turn(wanted: api.FillFilter, found: api.Row | None) -> dict[str, str]:
    """Links to the pages before and after."""
    if found is None:
        return {"before": "", "after": ""}
    asked = {
        "symbol": wanted.symbol,
        "side": wanted.side,
        "session": wanted.session,
        "first": wanted.first,
        "last": wanted.last,
        "strategy": wanted.strategy,
    }
    at = found["page"]
    return {
        "before": where("/fills", **asked, page=at - 1) if at > 1 else "",
        "after": where("/fills", **asked, page=at + 1) if at < found["pages"] else "",
    }


@dataclass(frozen=True)
class Drawn:
    """A picture with its table, made once for a state of the ledger. n: how many points it has."""

    picture: Markup
    table: Table
    n: int


def _points(desk: Desk, latest: int) -> Drawn:
    rows = api.slippage_points(desk, latest)
    picture = drawing.scatter(rows) if rows else Markup("")
    return Drawn(picture, _points_table(rows), len(rows))


def _bias(desk: Desk) -> Drawn:
    rows = api.slippage_bias(desk, 120)
    picture = drawing.bars(
        [(str(row["session"]), row["bias"]) for row in rows],
        "Bias by session: actual less predicted slippage, in basis points",
        "bps",
    )
    return Drawn(picture, _bias_table(rows), len(rows))


def _points_table(rows: list[api.Row]) -> Table:
    return Table(
        "points",
        "The latest fills that are drawn",
        (
            Column("Session"),
            Column("Symbol"),
            Column("Side"),
            Column("Predicted", "bps", True),
            Column("Actual", "bps", True),
            Column("Trace"),
        ),
        [
            (
                cells.day(row["session"]),
                tables.symbol(row["symbol"]),
                cells.side(row["side"]),
                cells.number(row["predicted"], 1),
                tables.cost(row["actual"]),
                cells.text("trace", where("/audit/fills", row["exec_id"])),
            )
            for row in reversed(rows[-30:])
        ],
        "No fill has a prediction yet.",
    )


def _bias_table(rows: list[api.Row]) -> Table:
    return Table(
        "bias",
        "Slippage by session, the latest first",
        (
            Column("Session"),
            Column("Predicted", "bps", True),
            Column("Actual", "bps", True),
            Column("Bias", "bps", True),
            Column("Fills", num=True),
        ),
        [
            (
                cells.day(row["session"], where("/fills", session=row["session"])),
                cells.number(row["predicted"], 1),
                tables.cost(row["actual"]),
                tables.cost(row["bias"]),
                cells.number(row["fills"], 0),
            )
            for row in reversed(rows[-30:])
        ],
        "No fill has a prediction yet.",
    )


STATES = (
    "working",
    "filled",
    "unknown",
    "denied",
    "rejected",
    "cancelled",
    "planned",
    "not_sent",
)
"""States that the orders page filters by."""


@router.get("/orders")
def orders(request: Request, session: Day = None, state: Text = None) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    if state is not None and state not in STATES:
        raise HTTPException(422, f"{state[:40]} is no state of an order: {', '.join(STATES)}")
    status = read(api.status)
    cycle = status.value["last_cycle"] if status.value else None
    shown = session or (cycle["session"] if cycle else None)
    plan = (
        read(api.order_plan, shown, none=f"there is no plan of {shown}")
        if isinstance(shown, date)
        else None
    )
    found = read(api.orders, session, state, 200)
    return dash.page(
        request,
        "orders.html",
        title="Orders",
        session=session,
        state=state,
        states=STATES,
        plan=plan,
        plan_table=tables.plan_rows(plan.value["rows"] if plan and plan.value else ()),
        notes_table=_notes(plan.value["notes"] if plan and plan.value else []),
        found=found,
        orders_table=tables.orders(
            found.value or (),
            f"No orders are {cells.words(state)}."
            if state
            else "No orders. The plan had nothing to trade, or none was made yet: `hydra cycle`.",
        ),
        unknown=cycle["unknown_orders"] if cycle else 0,
    )


def _notes(rows: list[api.Row]) -> Table:
    return Table(
        "notes",
        "What the plan left out or cut, and why",
        (
            Column("Symbol"),
            Column("Rule"),
            Column("Wanted", num=True),
            Column("Ordered", num=True),
            Column("Why"),
        ),
        [
            (
                tables.symbol(row["symbol"]) if row.get("symbol") else cells.text(None),
                cells.badge(cells.words(row.get("reason"))),
                cells.number(row.get("wanted"), 0),
                cells.number(row.get("ordered"), 0),
                cells.text(row.get("why")),
            )
            for row in rows
        ],
        "Nothing.",
    )


@router.get("/orders/{order_ref}")
def order(request: Request, order_ref: str) -> Response:
    dash = dash_of(request)
    found = dash.readings.read(api.order, order_ref[:200], none="there is no such order")
    if found.value is None and found.missing and not found.why.startswith("there is no ledger"):
        raise HTTPException(404, "There is no such order in the ledger")
    value = found.value
    return dash.page(
        request,
        "order.html",
        title="An order",
        found=found,
        events_table=_events(value["events"] if value else []),
        risk_table=_risk(value["risk"] if value else []),
        fills_table=tables.fills(value["fills"] if value else (), "Nothing of it filled."),
        tones=tables.STATE_TONES,
    )


def _events(rows: list[api.Row]) -> Table:
    return Table(
        "events",
        "Events of the order, the oldest first",
        (Column("Time"), Column("Event"), Column("Details")),
        [
            (
                cells.when(row["occurred_at"]),
                cells.badge(cells.words(row["event"]), tables.STATE_TONES.get(row["event"], "")),
                cells.text(", ".join(f"{k}: {v}" for k, v in row["details"].items())),
            )
            for row in rows
        ],
        "It has no events.",
    )


def _risk(rows: list[api.Row]) -> Table:
    return Table(
        "risk",
        "What the risk gate decided",
        (Column("Time"), Column("Decision"), Column("Reasons")),
        [
            (
                cells.when(row["occurred_at"]),
                cells.badge(
                    "approved" if row["approved"] else "denied",
                    "good" if row["approved"] else "bad",
                ),
                cells.text(cells.words(row["reasons"])),
            )
            for row in rows
        ],
        "It was not reviewed.",
    )

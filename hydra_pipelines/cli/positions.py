"""`hydra sync-positions`, `hydra pnl`: what is held by the broker's word, and what it made."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    USAGE,
    Json,
    confirm,
    fail,
    person,
    print_json,
    print_table,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.day.explaining import Correction
    from hydra_pipelines.desk import Desk

POSITIONS = {
    "symbol": "symbol",
    "quantity": "shares",
    "entry_price": "entry",
    "current_price": "price",
    "market_value": "value",
    "unrealized_pnl": "unrealised",
    "strategies": "strategies",
}
BREAKS = {
    "symbol": "what",
    "ours": "journal",
    "brokers": "broker",
    "kind": "reason",
    "session": "since",
    "why": "why",
}
PROFIT = {
    "realised": "realised",
    "unrealised": "unrealised",
    "commissions": "commissions",
    "income": "dividends, interest",
}
SESSIONS = {
    "session": "session",
    "equity": "equity",
    "change": "change",
    **PROFIT,
    "paid_in_and_out": "paid in/out",
    "unexplained": "unexplained",
    "profit": "profit",
    "drawdown_pct": "drawdown %",
    "gross": "exposure",
}


class CashKind(StrEnum):
    """What money that came or went without a trade was."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    DIVIDEND = "dividend"
    INTEREST = "interest"
    FEE = "fee"
    CORRECTION = "correction"


class By(StrEnum):
    """What a profit is told by."""

    STRATEGY = "strategy"
    SYMBOL = "symbol"
    SESSION = "session"


def sync_positions(
    cash: Annotated[
        str | None,
        typer.Option(
            metavar="USD", help="Record money that came (5000) or went (-5000) without a trade."
        ),
    ] = None,
    kind: Annotated[
        CashKind | None,
        typer.Option(help="What that money was; deposit or withdrawal where it isn't said."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(metavar="SYMBOL", help="Take the broker's number of shares as right."),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(metavar="USD", help="With --accept: what a share was worth; else its mark."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Read positions and account from the broker and compare them with the journal.

    What differs is explained where it can be (splits, dividends, changes of name, trades by hand).
    The rest needs a person: exit code 3, and shares that differ are not traded until then.
    """
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    correction = _correction(cash, kind, accept, price, reason)
    with readable_errors():
        desk = Desk.open()
        if correction is None:
            _run_job(desk)
        else:
            confirm(f"Record this in the books of the desk at {desk.settings.data_path}?", yes)
            _run_with(desk, correction)
        held, breaks = api.positions(desk), api.position_breaks(desk)
    if as_json:
        print_json({"positions": held, "breaks": breaks})
    elif held:
        print_table(held, POSITIONS, f"Positions as of {held[0]['as_of']}")
    else:
        say("No open positions.")
    if breaks:
        if not as_json:
            print_table([{**b, "symbol": b["symbol"] or "cash"} for b in breaks], BREAKS, "Breaks")
        fail(f"{len(breaks)} differences between the journal and the broker", REFUSED)


def pnl(
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="From this execution session on."),
    ] = None,
    by: Annotated[By, typer.Option(help="What to tell the profit by.")] = By.STRATEGY,
    as_json: Json = False,
) -> None:
    """Profit and loss: realised (first in, first out), unrealised, commissions, and the curve."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.monitoring.performance import BooksIncomplete

    with readable_errors():
        desk = Desk.open()
        try:
            found = api.profits(desk, since.date() if since else None)
        except BooksIncomplete as error:
            fail(str(error), REFUSED)
    if as_json:
        print_json(found)
    else:
        _print_profits(found, by)
    if found["unexplained"]:
        sessions = ", ".join(str(row["session"]) for row in found["unexplained"])
        fail(f"the books do not add up in {sessions}: see `hydra sync-positions`", REFUSED)


def _print_profits(found: dict[str, Any], by: By) -> None:
    if by is By.SESSION:
        rows = [{**r, "drawdown_pct": 100 * r["drawdown"]} for r in found["sessions"]]
        print_table(rows, SESSIONS)
    else:
        rows = [
            {"name": row["name"] or f"(no {by.value})", **row["parts"]}
            for row in found[f"by_{by.value}"]
        ]
        total = {"name": "total", **found["total"]}
        print_table([*rows, total], {"name": by.value, **PROFIT, "total": "total"})
    typer.echo()
    state, figures = found["state"], found["figures"]
    typer.echo(f"Equity       {state['equity']:,.2f} USD on {state['session']}")
    typer.echo(f"Paid in/out  {found['paid_in_and_out']:+,.2f} USD")
    typer.echo(
        f"Drawdown     {state['drawdown']:.2%} now, {figures['worst_drawdown']:.2%} at worst"
    )
    typer.echo(f"Exposure     {state['gross']:,.2f} gross, {state['net']:,.2f} net")
    if figures["sharpe"] is None:
        typer.echo(f"Sharpe       not enough sessions ({figures['sessions']})")
    else:
        typer.echo(f"Sharpe       {figures['sharpe']:.2f}, hit rate {figures['hit_rate']:.0%}")


def _run_job(desk: Desk) -> None:
    from hydra_pipelines.cli.running import run_job

    session = desk.last_session_worked() or desk.next_session_due()
    outcome = run_job(desk, "sync_positions", session)
    if outcome.failure:
        fail(f"the positions could not be synchronised: {outcome.failure}", FAILURE)


def _run_with(desk: Desk, correction: Correction) -> None:
    import uuid

    from hydra_pipelines import day
    from hydra_pipelines.day.explaining import CorrectionRefused
    from hydra_pipelines.execution.broker.messages import BrokerError

    session = desk.last_session_worked() or desk.next_session_due()
    try:
        day.sync_positions(desk, session, str(uuid.uuid4()), correction=correction)
    except CorrectionRefused as error:
        fail(str(error), REFUSED)
    except (BrokerError, day.BrokerStateUnknown) as error:
        fail(str(error), FAILURE)
    finally:
        desk.close()


def _correction(
    cash: str | None, kind: CashKind | None, accept: str | None, price: str | None, reason: str
) -> Correction | None:
    if cash is None and accept is None:
        if kind or price or reason:
            fail("--kind, --price and --reason go with --cash or --accept", USAGE)
        return None
    if cash is not None and accept is not None:
        fail("record one thing at a time: --cash or --accept", USAGE)
    if not reason.strip():
        fail("say with --reason why, for the audit trail", USAGE)
    from hydra_pipelines.day.explaining import CashCorrection, ShareCorrection

    if accept is not None:
        if kind:
            fail("--kind goes with --cash", USAGE)
        paid = None if price is None else _usd("--price", price)
        if paid is not None and paid <= 0:
            fail(f"--price {price}: a share is worth more than nothing", USAGE)
        return ShareCorrection(accept.upper(), paid, reason, person())
    if price is not None:
        fail("--price goes with --accept", USAGE)
    amount = _usd("--cash", cash or "")
    if amount == 0 or amount != round(amount, 2):
        fail(f"--cash {cash}: an amount in USD and cents, not 0", USAGE)
    if kind is None:
        kind = CashKind.DEPOSIT if amount > 0 else CashKind.WITHDRAWAL
    if (kind is CashKind.DEPOSIT and amount < 0) or (kind is CashKind.WITHDRAWAL and amount > 0):
        fail(f"--cash {cash}: a {kind.value} has the other sign", USAGE)
    return CashCorrection(amount, kind.value, reason, person())


def _usd(option: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        fail(f"{option} {text!r} is no amount", USAGE)
    if not amount.is_finite() or abs(amount) >= 10**12:
        fail(f"{option} {text!r} is no amount", USAGE)
    return amount

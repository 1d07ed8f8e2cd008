"""`hydra execute`, `hydra orders` and `hydra resolve`: the plan worked, what became of it, and an
order whose fate only a person can find out."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
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
    show,
)

if TYPE_CHECKING:
    from datetime import date

    from hydra_pipelines.day.resolving import Evidence, Outcome

Day = Annotated[
    datetime | None,
    typer.Option("--session", formats=["%Y-%m-%d"], help="Session whose close decided the plan."),
]

_COLUMNS = {
    "symbol": "symbol",
    "side": "side",
    "state": "state",
    "filled": "filled",
    "quantity": "of",
    "limit_price": "limit",
    "routing": "routing",
    "why": "why",
    "order_ref": "order",
}


def execute(
    session: Day = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be worked, send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Work the stored plan of the session due, as it is; then positions and account."""
    from hydra_pipelines import api, day
    from hydra_pipelines.cli.running import run_job
    from hydra_pipelines.desk import Desk

    with readable_errors():
        desk = Desk.open()
        chosen = session.date() if session else desk.next_session_due()
        desk.calendar.index(chosen)
        try:
            day.require_plan(desk, chosen)
            day.check_session(desk, chosen, dry_run=dry_run)
        except (day.NoPlan, day.SessionRefused) as error:
            fail(str(error), REFUSED)
        if desk.sends_nothing(dry_run):
            _show(api.orders(desk, chosen, limit=1000), chosen, as_json=as_json)
            say("A dry run: nothing was sent.")
            return
        say(f"Working the plan of {chosen} ({desk.settings.broker.venue} venue)")
        outcome = run_job(desk, "execute", chosen)
        rows = api.orders(desk, chosen, limit=1000)
    _show(rows, chosen, as_json=as_json)
    if outcome.failure:
        fail(f"the execution of {chosen} failed: {outcome.failure}", FAILURE)
    if outcome.findings:
        found = "; ".join(outcome.findings)
        fail(f"the plan was worked, and there is what needs a person: {found}", REFUSED)


def orders(
    session: Day = None,
    state: Annotated[
        str | None,
        typer.Option(help="Only these: unknown, working, filled, cancelled, rejected, denied …"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """Orders with their state, and rows of the plan that were denied, with the reason."""
    from hydra_pipelines import api
    from hydra_pipelines.day.listing import STATES
    from hydra_pipelines.desk import Desk

    if state is not None and state not in STATES:
        fail(f"there is no state {state!r}; there are {', '.join(STATES)}", USAGE)
    with readable_errors():
        desk = Desk.open()
        chosen = session.date() if session else None
        if chosen is not None:
            desk.calendar.index(chosen)
        rows = api.orders(desk, chosen, state, limit)
    _show(rows, chosen, as_json=as_json)


def _show(rows: list[dict[str, Any]], session: date | None, *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("No orders.")
        return
    for row in rows:
        row["why"] = ", ".join(row["reasons"]) or row["reason"] or row["routing_reason"] or ""
    if len({row["session"] for row in rows}) == 1:
        title = f"Plan of {rows[0]['session']}, worked in {rows[0]['execution_session']}"
        print_table(rows, _COLUMNS, title=title)
    else:
        print_table(rows, {"session": "session", **_COLUMNS})


def resolve(
    order: Annotated[str, typer.Argument(help="The order's reference, see `hydra orders`.")],
    never_arrived: Annotated[
        bool, typer.Option("--never-arrived", help="The broker never took it.")
    ] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="It ended without any fill beyond the journal's.")
    ] = False,
    filled: Annotated[
        int | None, typer.Option(min=1, help="It filled so many shares in all …")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="… those not in the journal at this price (USD).")
    ] = None,
    commission: Annotated[str | None, typer.Option(help="… and for so much (USD).")] = None,
    reason: Annotated[str, typer.Option(help="How do you know? Kept with who and when.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Settle an order that is unknown: what the broker knows of it, and your word on what came.

    Without an outcome it shows the evidence, and asks for one on a terminal.
    """
    from hydra_pipelines.day import resolving
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.execution.broker.messages import BrokerError

    said = [
        fate
        for fate, is_said in (
            (resolving.Fate.NEVER_ARRIVED, never_arrived),
            (resolving.Fate.ENDED, ended),
            (resolving.Fate.FILLED, filled is not None),
        )
        if is_said
    ]
    if len(said) > 1:
        fail("say one outcome: --never-arrived, --ended or --filled", USAGE)
    fate = said[0] if said else None
    if fate is not resolving.Fate.FILLED and (price is not None or commission is not None):
        fail("--price and --commission belong to --filled", USAGE)
    actor = person()
    with readable_errors():
        desk = Desk.open()
        try:
            evidence = resolving.look(desk, order, f"resolve by {actor}")
            for name, text in _in_words(evidence):
                say(f"{name:<16} {text}")
            outcome = None
            if not evidence.settled:
                outcome = _outcome(fate, filled, price, commission, reason)
            if outcome is None:
                if as_json:
                    print_json(_plain(evidence, None))
                if not evidence.settled:
                    fail("say what came of it: --never-arrived, --ended or --filled", REFUSED)
                say(f"{order} is {evidence.view.state}: there is nothing to resolve.")
                # A person who says otherwise has to hear it.
                raise typer.Exit(REFUSED if fate else 0)
            resolving.check(evidence, outcome)
            confirm(f"Record that {order} {_told(outcome)}?", yes)
            result = resolving.resolve(desk, evidence, outcome, actor, f"resolve by {actor}")
        except resolving.NotResolvable as error:
            fail(str(error), REFUSED)
        except BrokerError as error:
            fail(f"the broker can't be asked, so nothing is settled: {error}", REFUSED)
        finally:
            desk.close()
    if as_json:
        print_json(_plain(evidence, result.after.state.value))
    say(f"{order} is {result.after.state} with {show(result.after.filled)} shares.")
    if result.unexplained:
        symbol = evidence.intent["symbol"]
        say(
            f"The broker's position in {symbol} still differs by {result.unexplained} shares from "
            "the journal's: hydra sync-positions"
        )


def _outcome(
    fate: Any, filled: int | None, price: str | None, commission: str | None, reason: str
) -> Outcome | None:
    """What the person says, asked for on a terminal where it was not said; None without one."""
    import sys

    from hydra_pipelines.day.resolving import Fate, Outcome

    asked = sys.stdin.isatty()
    if fate is None:
        if not asked:
            return None
        text = "What came of it: never_arrived, ended or filled"
        answer = typer.prompt(text, err=True).strip().replace("-", "_")
        if answer not in list(Fate):
            fail(f"{answer!r} is none of never_arrived, ended, filled", USAGE)
        fate = Fate(answer)
        if fate is Fate.FILLED:
            filled = typer.prompt("Shares filled in all", type=int, err=True)
            price = typer.prompt("Price of those not in the journal (USD)", err=True)
    if not reason and asked:
        reason = typer.prompt("How do you know", err=True)
    return Outcome(fate, reason, filled, _usd(price, "price"), _usd(commission, "commission"))


def _usd(text: str | None, name: str) -> Decimal | None:
    if text is None:
        return None
    from decimal import InvalidOperation

    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        fail(f"--{name} {text}: not an amount in USD", USAGE)
    return value


def _told(outcome: Outcome) -> str:
    if outcome.filled is None:
        return outcome.fate.value.replace("_", " ")
    return f"filled {outcome.filled} shares in all, the new ones at {outcome.price}"


def _in_words(evidence: Evidence) -> list[tuple[str, str]]:
    intent, symbol = evidence.intent, evidence.intent["symbol"]
    found = evidence.completed_order or evidence.open_order
    return [
        (
            "order",
            f"{intent['side']} {show(intent['quantity'])} {symbol} at {show(intent['limit_price'])}"
            f", plan of {intent['session']}, for session {intent['execution_session']}",
        ),
        ("state", f"{evidence.view.state}: {evidence.view.reason or 'no word of the broker'}"),
        *(
            ("", f"{e.occurred_at:%Y-%m-%d %H:%M:%S} UTC  {e.kind}  {e.details.get('text', '')}")
            for e in evidence.events
        ),
        ("at the broker", f"{found.status}, {found.filled} filled" if found else "not shown"),
        (
            "executions",
            f"{len(evidence.executions)} told, {sum(e.quantity for e in evidence.executions)} "
            "shares" + ("" if evidence.same_day else " (those of its day are no longer told)"),
        ),
        (
            "position",
            f"{show(evidence.position_broker)} {symbol} at the broker, "
            f"{show(evidence.position_journal)} by the journal",
        ),
    ]


def _plain(evidence: Evidence, resolved: str | None) -> dict[str, Any]:
    def row(found: Any) -> dict[str, Any] | None:
        return vars(found) if found else None

    return {
        "order": dict(evidence.intent),
        "state": evidence.view.state.value,
        "resolved": resolved,
        "filled": evidence.view.filled,
        "reason": evidence.view.reason,
        "events": [vars(event) for event in evidence.events],
        "broker": {
            "open_order": row(evidence.open_order),
            "completed_order": row(evidence.completed_order),
            "executions": [vars(execution) for execution in evidence.executions],
            "executions_are_of_its_day": evidence.same_day,
            "position": evidence.position_broker,
        },
        "journal": {"position": evidence.position_journal},
    }

"""`hydra risk`, `reset-breaker` and `alert-test`: what the desk may do, and who is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hydra_pipelines.cli.output import (
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
    from hydra_pipelines.execution.risk.limits import RiskLimits

_INSTEAD = {
    "kill_switch": "it is turned off by `hydra resume-trading`",
    "agent_paused": "the agent goes on by `hydra resume-trading --agent`",
    "unknown_orders": "it ends with the last unknown order: `hydra resolve`",
    "data_age": "it ends with newer market data: `hydra data ingest`",
}
"""Breakers that follow a state of their own, and what ends it."""


def risk(as_json: Json = False) -> None:
    """Limits and their use, breakers, controls, the latest denials and alerts."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    with readable_errors():
        state = api.risk(Desk.open())
    if as_json:
        print_json(state)
        return
    account = state["account"]
    if account is None:
        say("Nothing was traded yet: what limits are used of is not known.")
    else:
        typer.echo(
            f"As of session {state['as_of']}: equity {show(account['equity'])} USD, "
            f"cash {show(account['cash'])}, day P&L {show(account['daily_pnl'])}, "
            f"drawdown {account['drawdown']:.2%} from {show(account['peak'])}"
        )
    typer.echo()
    print_table([_limit(row) for row in state["limits"]],
                {"name": "limit", "limit": "at most", "value": "now", "use": "used", "about": ""},
                title="Limits")  # fmt: skip
    typer.echo()
    print_table([_breaker(row) for row in state["breakers"]],
                {"name": "breaker", "state": "state", "value": "now", "limit": "trips at",
                 "after": "ends", "why": "why"},
                title="Breakers: one that has tripped blocks what adds risk")  # fmt: skip
    for name in ("kill_switch", "agent_paused"):
        row = state[name]
        if row["on"]:
            by = f" since {show(row['since'])} by {row['by']}: {row['why']}" if row["by"] else ""
            typer.echo(f"\n{name.replace('_', ' ').upper()}{by}")
    if state["denials"]:
        typer.echo()
        print_table(state["denials"],
                    {"occurred_at": "time", "side": "side", "quantity": "shares",
                     "symbol": "symbol", "reasons": "reasons"},
                    title="Denied lately, the latest first")  # fmt: skip
    typer.echo()
    if state["alerts"]:
        print_table(state["alerts"],
                    {"at": "time", "kind": "kind", "title": "alert", "repeats": "repeats",
                     "outcome": "outcome", "detail": "trouble"},
                    title="Alerts, the latest first")  # fmt: skip
    if not state["alert_channels"]:
        typer.echo("Alerts are kept here only: nobody is told while HYDRA_ALERTS__URLS is not set.")


def reset_breaker(
    name: Annotated[str, typer.Argument(help="Of the breaker, as `hydra risk` has it.")],
    why: Annotated[str, typer.Option("--why", help="Kept with who and when.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Reset a tripped breaker, once a person knows why it tripped.

    While its value stands, it trips again as soon as that gets worse by risk.reset_margin.
    """
    from hydra_pipelines.control import Control
    from hydra_pipelines.execution.risk import latch
    from hydra_pipelines.execution.risk.state import BreakerKind

    with readable_errors():
        from hydra_pipelines.desk import Desk

        desk = Desk.open()
        control: Control = desk.control
        tripped = {breaker.name: breaker for breaker in control.tripped()}
        if name not in tripped:
            _nothing_to_reset(name, [kind.value for kind in BreakerKind])
        breaker, level = tripped[name], control.levels().get(name)
        say(f"{name} tripped in session {breaker.session}: {breaker.reason}.")
        if level is not None and name in latch.LATCHED:
            say(_after(name, level.value, level.session, desk.risk_limits))
        if not why and sys.stdin.isatty() and not yes:
            why = typer.prompt("Why is it right to go on?", err=True)
        confirm(f"Reset {name}, so that risk may be added again?", yes)
        done = latch.release(control, name, why or "no reason given", person(), desk.alerts.send)
        if not done:
            fail(f"{name} was reset by somebody else meanwhile", REFUSED)
        from hydra_pipelines.day import halting

        halting.record(desk.settings, control)
    if as_json:
        print_json({"breaker": name, "reset": True})
    say(f"{name} is reset.")


def alert_test(as_json: Json = False) -> None:
    """Send a test alert over every channel; exit code 3 where one does not take it."""
    import logging

    from hydra_pipelines.desk import Desk

    # What a service answered; the library keeps secrets out of it.
    logging.getLogger("apprise").addHandler(logging.StreamHandler())
    with readable_errors():
        results = Desk.open().alerts.test()
    if as_json:
        print_json([vars(result) for result in results])
    for result in results if not as_json else ():
        typer.echo(f"{'ok   ' if result.ok else 'WRONG'}  {result.channel:<20} {result.detail}")
    if not results:
        fail(
            "there is no channel: set HYDRA_ALERTS__URLS in the environment or in .env to a JSON "
            'list of apprise URLs, such as ["mailtos://user:password@example.com"]',
            REFUSED,
        )
    if not all(result.ok for result in results):
        fail("not every channel took the alert", REFUSED)


def _nothing_to_reset(name: str, names: list[str]) -> NoReturn:
    if name in _INSTEAD:
        fail(f"{name} is not reset by hand: {_INSTEAD[name]}", REFUSED)
    if name not in names:
        fail(f"there is no breaker {name}; there are {', '.join(names)}", USAGE)
    fail(f"{name} is not tripped: nothing to reset", REFUSED)


def _after(name: str, value: float, session: str, limits: RiskLimits) -> str:
    """What the breaker was last seen at, and when it will trip again."""
    from hydra_pipelines.execution.risk.breakers import trips_again_at
    from hydra_pipelines.execution.risk.state import BreakerKind

    kind = BreakerKind(name)
    seen = f"It was last seen at {_value(name, value)} in session {session}"
    level = trips_again_at(kind, value, limits)
    if level is None:
        return f"{seen}, which is within its limit."
    return f"{seen}; after the reset it trips again at {_value(name, level)}."


def _value(name: str, value: float | None) -> str | None:
    from hydra_pipelines.execution.risk.breakers import FRACTIONS

    if value is None:
        return None
    return f"{value:.2%}" if name in FRACTIONS else f"{value:g}"


def _limit(row: dict[str, Any]) -> dict[str, Any]:
    fraction = row["about"].startswith(("of ", "beyond"))

    def plain(value: Any) -> Any:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return f"{value:.2%}" if number and fraction else value

    use = None if row["use"] is None else f"{row['use']:.0%}"
    return {
        **row, "limit": plain(row["limit"]), "value": plain(row["value"]), "use": use,
    }  # fmt: skip


def _breaker(row: dict[str, Any]) -> dict[str, Any]:
    name = row["name"]
    after = "by hand" if row["latched"] else "by itself"
    if row["auto_reset"]:
        after = "next session"
    why = row["why"] if row["state"] != "ok" else ""
    state = row["state"].upper() if row["state"] in ("tripped", "due") else row["state"]
    return {
        **row, "value": _value(name, row["value"]), "limit": _value(name, row["limit"]),
        "after": after, "state": state, "why": why,
    }  # fmt: skip

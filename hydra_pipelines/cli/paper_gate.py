"""`hydra paper-gate`: whether the weeks of paper trading that live trading needs are passed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

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
)


class At(StrEnum):
    EMBEDDED = "embedded"
    IBKR = "ibkr"


_WHERE = {"embedded": "the embedded venue", "ibkr": "IBKR paper"}


def paper_gate(
    venue: Annotated[
        At | None, typer.Option(help="Whose evidence; without it, where the desk trades on paper.")
    ] = None,
    sign_off: Annotated[
        bool, typer.Option("--sign-off", help="Record that you have reviewed this evidence.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help="With --sign-off: what you looked at, and what you found.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Each condition of the paper gate with its value and what to do next; exit code 3: not passed.

    Only evidence of IBKR paper opens live trading; at the embedded venue it is a rehearsal.
    """
    from hydra_pipelines import api, day
    from hydra_pipelines.desk import Desk

    if sign_off and not reason.strip():
        fail('--sign-off needs --reason "what you looked at, and what you found"', USAGE)
    if reason and not sign_off:
        fail("--reason belongs to --sign-off", USAGE)
    with readable_errors():
        desk = Desk.open()
        if sign_off:
            shown = api.paper_gate(desk, venue)
            if not as_json:
                _print(shown)
            confirm("Sign off this evidence?", yes)
            try:
                day.sign_off(desk, person(), reason, None if venue is None else venue.value)
            except day.NothingToSign as error:
                fail(str(error), REFUSED)
            say("Signed off.")
        gate = api.paper_gate(desk, venue)
    if as_json:
        print_json(gate)
    elif sign_off:
        typer.echo(_verdict(gate))
    else:
        _print(gate)
    if not gate["passed"]:
        raise typer.Exit(REFUSED)


def _print(gate: dict[str, Any]) -> None:
    where, account = _WHERE[gate["venue"]], gate["account"]
    title = f"Paper gate, evidence of {where}" + (f", account {account}" if account else "")
    rows = [{**c, "state": "ok" if c["holds"] else "OPEN"} for c in gate["conditions"]]
    print_table(rows, {"state": "", "title": "condition", "value": "value"}, title=title)
    typer.echo()
    for row in rows:
        typer.echo(f"{row['state']:<4}  {row['name']}: {row['why']}")
        typer.echo(f"        asked: {row['threshold']}")
        if row["next_step"]:
            typer.echo(f"        next: {row['next_step']}")
    if gate["slippage"]:
        typer.echo()
        for line in _slippage(gate["slippage"]):
            typer.echo(line)
    for text in gate["escalations"]:
        typer.echo(f"\nESCALATE  {text}")
    typer.echo(f"\n{_verdict(gate)}")


def _verdict(gate: dict[str, Any]) -> str:
    where = _WHERE[gate["venue"]]
    if gate["opens_live"]:
        return f"Passed at {where}: this condition of live trading is met."
    if gate["passed"]:
        return (
            f"Passed at {where}, as a rehearsal: it does not open live trading, which needs the "
            "same at IBKR paper."
        )
    return "Not passed: live trading stays closed."


def _slippage(found: dict[str, Any]) -> list[str]:
    """The journal's figure and the gate's, side by side."""
    level, differences = found["level"], found["differences"]
    lines = [
        f"Slippage, {found['orders']} orders of {found['sessions']} sessions as the predictor in "
        "force predicts them",
        "  the journal's figure (|relative bias| < 0.5, correlation > 0.3): "
        f"{'calibrated' if found['is_model_calibrated'] else 'not calibrated'}, relative bias "
        f"{found['relative_bias']:+.2f}, correlation {_number(found['correlation'])}; a right "
        f"predictor would show about {_number(found['attainable_correlation'])} in fills that "
        "scatter like these",
        f"  cost over prediction {_ratio(level)}: "
        f"{'within' if found['level_holds'] else 'not certain to be within'} 50% to 150%",
    ]
    if differences is None:
        lines.append("  the predictor claims no difference between orders")
    else:
        lines.append(
            f"  dearest less cheapest third: {found['claimed_bps']:.1f} bps are claimed, paid were "
            f"{_ratio(differences)} of that: "
            f"{'contradicted' if found['contradicted'] else 'not contradicted'}"
        )
    return lines


def _ratio(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['value']:.0%} (no interval)"
    return f"{found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

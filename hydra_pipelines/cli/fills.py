"""`hydra fill-report`, `hydra calibrate-slippage`: what trading cost, and what it should have."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    REFUSED,
    USAGE,
    Json,
    fail,
    person,
    print_json,
    print_table,
    readable_errors,
    say,
)

FILLS = {
    "executed_at": "time",
    "symbol": "symbol",
    "side": "side",
    "quantity": "shares",
    "order_price": "order",
    "price": "fill",
    "arrival_price": "arrival",
    "predicted_slippage_bps": "predicted bps",
    "actual_slippage_bps": "vs order bps",
    "shortfall_bps": "vs arrival bps",
    "latency_ms": "latency ms",
    "commission": "commission",
    "routing": "worked as",
}
LINES = {
    "name": "",
    "n": "n",
    "mean_predicted": "predicted",
    "mean_actual": "actual",
    "bias": "bias",
    "relative": "relative bias",
    "rmse": "RMSE",
    "correlation": "correlation",
    "pessimism_multiplier": "multiplier",
    "against_order_bps": "vs order",
    "predicted_usd": "predicted USD",
    "actual_usd": "actual USD",
    "message": "says",
}


def fill_report(
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="ISO", help="From this execution session on, or from an instant (UTC)."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many fills, latest first.")] = 20,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Compare all of them with the predictions.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The last fills with their slippage (positive is a cost) and, if asked, its reconciliation."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    start = _instant(since)
    with readable_errors():
        desk = Desk.open()
        rows = api.fills(desk, symbol, start, limit)
        found = api.reconciliation(desk, symbol, start) if reconcile else None
    if as_json:
        print_json({"fills": rows, "reconciliation": found})
        return
    if rows:
        print_table(rows, FILLS, title="Fills, the latest first; slippage is positive for a cost")
    else:
        say("No fills.")
    if found:
        _print_reconciliation(found)


def calibrate_slippage(
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this session's fills on.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Up to this session's fills.")
    ] = None,
    why: Annotated[str, typer.Option(help="Noted with it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would be.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Undo the one in force.")] = False,
    as_json: Json = False,
) -> None:
    """Re-estimate the slippage predictor from the fills; changes predictions, never an order."""
    from hydra_pipelines import day
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.monitoring.calibration import NotEnoughFills

    if revert and (since or until or dry_run):
        fail("--revert undoes the calibration in force and takes no other option but --why", USAGE)
    with readable_errors():
        desk = Desk.open()
        if revert:
            _revert(desk, why, as_json)
            return
        try:
            done = day.calibrate_slippage(
                desk,
                actor=person(),
                reason=why or "asked for on the command line",
                since=since.date() if since else None,
                until=until.date() if until else None,
                dry_run=dry_run,
            )
        except NotEnoughFills as error:
            fail(str(error), REFUSED)
    proposal = done.proposal
    if as_json:
        print_json(
            {
                "calibration": done.number,
                "fills": proposal.fills,
                "orders": proposal.orders,
                "first_session": proposal.first,
                "last_session": proposal.last,
                "before": {**proposal.before.parameters(), "reconciliation": vars(proposal.was)},
                "after": {**proposal.after.parameters(), "reconciliation": vars(proposal.is_now)},
                "notes": proposal.notes,
            }
        )
        return
    old, new = proposal.before.parameters(), proposal.after.parameters()
    changes = [
        {"name": _name(name), "before": old[name], "after": new[name]}
        for name in ("half_spread_bps", "y", "beyond_spread_bps")
    ] + [
        {
            "name": f"beyond the spread, {algo}",
            "before": proposal.before.beyond(algo),
            "after": term,
        }
        for algo, term in new["by_algo"].items()
    ]
    changes += [
        {
            "name": label,
            "before": getattr(proposal.was, key),
            "after": getattr(proposal.is_now, key),
        }
        for key, label in (
            ("mean_predicted", "mean predicted bps"),
            ("mean_actual", "mean actual bps"),
            ("relative_bias", "relative bias"),
            ("rmse", "RMSE bps"),
            ("correlation", "correlation"),
        )
    ]
    typer.echo(
        f"{proposal.fills} fills of {proposal.orders} orders, {proposal.first} to "
        f"{proposal.last}; after: the same fills in hindsight"
    )
    print_table(changes, {"name": "", "before": "before", "after": "after"})
    for note in proposal.notes:
        say(note)
    if done.number is None:
        say("Nothing was changed.")
    else:
        say(
            f"Calibration {done.number} is in force; undo it with `hydra calibrate-slippage "
            "--revert`. The next orders show whether it holds: `hydra fill-report --reconcile`."
        )


def _revert(desk: Any, why: str, as_json: bool) -> None:
    from hydra_pipelines import day

    undone = day.revert_calibration(
        desk, actor=person(), reason=why or "asked for on the command line"
    )
    if undone is None:
        fail("no calibration is in force: the settings' own values are", REFUSED)
    if as_json:
        print_json({"undone": undone["id"], "model": desk.slippage.parameters()})
    else:
        say(f"Calibration {undone['id']} of {undone['recorded_at']:%Y-%m-%d %H:%M} UTC is undone.")


def _print_reconciliation(found: dict[str, Any]) -> None:
    typer.echo()
    calibration = found["calibration"]
    typer.echo(
        f"{found['fills']} fills, sessions {found['first_session']} to {found['last_session']}; "
        + (
            f"calibration {calibration['id']} is in force"
            if calibration
            else "the predictor is the settings' own"
        )
    )
    for reason, count in found["left_out"].items():
        typer.echo(f"{count} left out: {reason}")
    sections = [
        ("Predicted against actual (shortfall against the arrival price), bps", found["summary"])
    ]
    sections += [(f"By {name}", lines) for name, lines in found["by"].items()]
    for title, lines in sections:
        if not lines:
            continue
        typer.echo()
        shown = [
            {**line, "relative": _relative(line["relative_bias"], line["colour"])} for line in lines
        ]
        print_table(shown, LINES, title=title)


def _relative(value: float | None, colour: str | None) -> str | None:
    """A relative bias with its colour in words."""
    return None if value is None else f"{value:+.1%} {colour}"


def _name(parameter: str) -> str:
    return {
        "half_spread_bps": "half spread without a quote, bps",
        "y": "y, coefficient of the impact",
        "beyond_spread_bps": "beyond the spread, all orders, bps",
    }[parameter]


def _instant(text: str | None) -> date | datetime | None:
    """A session for a date, an instant (UTC unless it says otherwise) for a date and time."""
    if text is None:
        return None
    try:
        if len(text) == len("2019-01-02"):
            return date.fromisoformat(text)
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since {text}: give a date or an instant, such as 2019-01-02T14:35", USAGE)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

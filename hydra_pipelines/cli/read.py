"""Commands that only read: status, positions, trades. All from the published snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from hydra_pipelines.cli.output import Json, print_json, print_table, readable_errors, say, show


def status(as_json: Json = False) -> None:
    """The desk at a glance: last cycle, money, controls, and what is due next."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    with readable_errors():
        state = api.status(Desk.open())
    if as_json:
        print_json(state)
    else:
        print_status(state)


def print_status(state: dict[str, Any]) -> None:
    """The status in words; the end of a cycle prints the same."""
    cycle, account = state["last_cycle"], state["account"]
    lines: list[tuple[str, str]] = [("desk", f"{state['mode']}, {state['venue']} venue")]
    if cycle is None:
        lines.append(("last cycle", "none yet: run `hydra cycle`"))
    else:
        lines += [
            ("session", f"{cycle['session']}, executed in {cycle['execution_session']}"),
            ("predictions", f"{cycle['predictions']} by {cycle['strategies']} strategies"),
            (
                "orders",
                f"{cycle['orders']} sent of {cycle['planned_orders']} planned"
                + (f", {cycle['denied']} denied by the risk gate" if cycle["denied"] else "")
                + (f", {cycle['unknown_orders']} UNKNOWN" if cycle["unknown_orders"] else "")
                + (" (dry run)" if cycle["dry_run"] else ""),
            ),
            ("fills", show(cycle["fills"])),
        ]
    if account is not None:
        lines += [
            ("positions", f"{account['positions']}, worth {show(account['gross'])} USD"),
            (
                "equity",
                f"{show(account['equity'])} USD, cash {show(account['cash'])} "
                f"(as of session {account['session']})",
            ),
            (
                "day P&L",
                f"{show(account['daily_pnl'])} USD, drawdown {account['drawdown']:.2%} "
                f"from {show(account['peak'])}",
            ),
        ]
    lines.append(("drift", state["drift"].replace("_", " ")))
    lines.append(("agent", state["agent"]))
    if state["kill_switch"]:
        lines.append(("KILL SWITCH", "on: nothing is sent"))
    for breaker in state["breakers"]:
        lines.append(("BREAKER", f"{breaker['name']}: {breaker['reason']}"))
    lines.append(("next due", str(state["next_session_due"])))
    for name, text in lines:
        typer.echo(f"{name:<12} {text}")


def positions(as_json: Json = False) -> None:
    """Live positions as of the last synchronisation with the broker."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    with readable_errors():
        rows = api.positions(Desk.open())
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("No positions.")
        return
    for row in rows:
        row["share"] = f"{row['unrealized_pnl_share']:+.2%}"
    print_table(
        rows,
        {
            "symbol": "symbol",
            "quantity": "shares",
            "entry_price": "entry",
            "current_price": "price",
            "market_value": "value USD",
            "unrealized_pnl": "P&L USD",
            "share": "P&L",
            "strategies": "strategies",
        },
        title=f"Positions as of session {rows[0]['as_of']}",
    )


def trades(
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this session on.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest first.")] = 20,
    as_json: Json = False,
) -> None:
    """Fills with their slippage in basis points (positive is a cost)."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk

    with readable_errors():
        rows = api.trades(Desk.open(), symbol, since.date() if since else None, limit=limit)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("No fills.")
        return
    print_table(
        rows,
        {
            "executed_at": "time",
            "symbol": "symbol",
            "side": "side",
            "quantity": "shares",
            "order_price": "limit",
            "price": "fill",
            "predicted_slippage_bps": "predicted bps",
            "shortfall_bps": "actual bps",
            "latency_ms": "latency ms",
            "commission": "commission",
        },
        title="Fills, the latest first; actual is against the arrival price",
    )

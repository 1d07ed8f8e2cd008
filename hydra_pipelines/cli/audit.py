"""`hydra audit`: from a fill back to all that led to it, or what happened last."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    USAGE,
    Json,
    fail,
    print_json,
    print_table,
    readable_errors,
    say,
    show,
)

TRACE = "trace"


def audit(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[trace] [FILL]", help="A fill, by its exec_id in `hydra trades --json`."
        ),
    ] = None,
    event: Annotated[str | None, typer.Option(help="Only events of this kind.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only of `system`, `agent`, a user …")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day (UTC) on.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many events at most.")] = 20,
    as_json: Json = False,
) -> None:
    """From a fill to its order, plan, prediction, model and data; without one, what happened."""
    from hydra_pipelines import api
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.ledger.audit import AuditEvent

    fill_id = _fill(words or [])
    if fill_id is not None and (event or actor or since):
        fail("--event, --actor and --since pick events, and a fill has its own story", USAGE)
    if event is not None and event not in set(AuditEvent):
        fail(f"{event} is no event; these are: {', '.join(sorted(AuditEvent))}", USAGE)
    with readable_errors():
        desk = Desk.open()
        if fill_id is None:
            first = since.date() if since else None
            wanted = api.AuditFilter(event=event, actor=actor, first=first)
            events = api.audit_events(desk, wanted, limit)
            if as_json:
                print_json(events)
            elif not events:
                say("No such events.")
            else:
                print_table(
                    events,
                    {"occurred_at": "when", "actor": "who", "event": "event", "text": "what"},
                )
            return
        found = api.trace_fill(desk, fill_id)
    if found is None:
        fail(f"there is no fill {fill_id}; `hydra trades --json` names them (exec_id)", FAILURE)
    if as_json:
        print_json(found)
        return
    for title, text in _story(found):
        typer.echo(f"{title:<12} {text}")


def _fill(words: list[str]) -> str | None:
    """`FILL` and `trace FILL` are the same."""
    if words[:1] == [TRACE] and len(words) != 2:
        fail("hydra audit trace FILL: name one fill, as `hydra trades --json` does", USAGE)
    if len(words) > 1 and words[0] != TRACE:
        fail(f"hydra audit takes one fill, not {len(words)}", USAGE)
    return words[-1] if words else None


def _story(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The way back, a line for each station."""
    fill, order = found["fill"], found["intent"]
    lines = [
        (
            "fill",
            f"{fill['exec_id']}: {fill['side']} {show(fill['quantity'])} {fill['symbol']} at "
            f"{show(fill['price'])}, {show(fill['executed_at'])}",
        )
    ]
    if order is None:
        return [*lines, ("order", "none of this desk's: placed by hand, or by another program")]
    lines.append(
        (
            "order",
            f"{order['order_ref']}: {show(order['quantity'])} at a limit of "
            f"{show(order['limit_price'])}, {order['routing']} ({order['routing_reason']})",
        )
    )
    lines += [("", f"{show(e['occurred_at'])}  {e['event']}") for e in found["events"]]
    lines += [
        ("risk gate", "approved" if d["approved"] else f"denied: {d['reasons']}")
        for d in found["risk"]
    ]
    if (plan := found["plan"]) is not None:
        row = found["plan_row"] or {}
        lines.append(
            (
                "plan",
                f"{plan['plan_id']} of session {plan['session']}, row {row.get('sequence')}: "
                f"{row.get('reason')}, target weight {row.get('target_weight')}",
            )
        )
    lines += [
        (
            "prediction",
            f"{p['strategy_id']}: {p['prediction']:+.6f}, by version {p['model_version']} "
            f"(trained through {p['trained_through']}, MLflow run {p['mlflow_run_id']}, "
            f"{p['mlflow']}, arrays {str(p['artifact_sha256'])[:12]})",
        )
        for p in found["predictions"]
    ]
    lines += [
        (
            "features",
            f"{p['strategy_id']}: "
            + (
                "unknown: the registry can't be read"
                if p["features"] is None
                else ", ".join(p["features"])
            ),
        )
        for p in found["predictions"]
    ]
    if (data := found["data"]) is not None:
        lines.append(
            ("data", f"session {data['session']}, {data['source']}, snapshot {data['snapshot_id']}")
        )
    return lines

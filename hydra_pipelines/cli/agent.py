"""The agent's commands: `agent run|pause|resume|status`, the short forms, and the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    Json,
    fail,
    person,
    print_json,
    print_table,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

app = typer.Typer(
    help="The self-healing agent: finds out why a model stopped being right, and tries cures.",
    no_args_is_help=True,
)
Why = Annotated[str, typer.Option("--why", help="Kept with who and when.")]


@app.command("run")
def run(
    session: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="As of the close of this session; else the last there is."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """One healing cycle now, or what is left of one that was cut short. Sends no orders.

    Exit code 3 where the agent is paused, or refuses because the data is damaged.
    """
    from hydra_pipelines import api
    from hydra_pipelines.cli.running import run_job

    with readable_errors():
        desk = _open()
        if desk.control.agent_paused:
            fail("the agent is paused, so it tries nothing: hydra run", REFUSED)
        chosen = _session(desk, session)
        say(f"Healing cycle as of {chosen} (autonomy: {desk.settings.agent.autonomy})")
        outcome = run_job(desk, "self_heal", chosen)
        if outcome.failure:
            fail(f"the healing cycle of {chosen} failed: {outcome.failure}", FAILURE)
        cycle = api.agent(desk)["last_cycle"]
        if cycle is None:
            fail("no healing cycle was begun", FAILURE)
        rows = [r for r in api.experiments(desk, 200) if r["cycle_id"] == cycle["cycle_id"]]
    if as_json:
        print_json({**cycle, "experiments": rows})
    else:
        _show_cycle(cycle)
        if rows:
            _show_experiments(rows, "Experiments")
    if any(d["cause"] == "data_quality" for d in cycle["diagnoses"]):
        fail(cycle["outcome"], REFUSED)


@app.command("pause")
def pause(why: Why = "paused by hand", as_json: Json = False) -> None:
    """No experiments, no promotions, no orders that add risk, until a person says `hydra run`."""
    _switch(True, why, as_json)


@app.command("resume")
def resume(why: Why = "resumed by hand", as_json: Json = False) -> None:
    """Let the agent go on. The kill switch and tripped breakers stay as they are."""
    _switch(False, why, as_json)


@app.command("status")
def status(as_json: Json = False) -> None:
    """Whether the agent runs, its last cycle, what waits for a person, what it watches."""
    from hydra_pipelines import api

    with readable_errors():
        state = api.agent(_open())
    if as_json:
        print_json(state)
        return
    said = f"The agent is {state['state']} (autonomy: {state['autonomy']})."
    if state["state"] == "paused":
        said += f" By {state['by']} on {state['since']:%Y-%m-%d %H:%M} UTC: {state['why']}"
    typer.echo(said)
    counted = ", ".join(f"{n} {decision}" for decision, n in state["counts"].items())
    typer.echo(f"Experiments: {counted or 'none yet'}")
    if state["last_cycle"]:
        _show_cycle(state["last_cycle"])
    for row in state["waiting"]:
        typer.echo(f"Waits for you: {row['hypothesis']}: {row['reason']}")
    if state["watches"]:
        print_table(
            state["watches"],
            {
                "strategy_id": "strategy",
                "version": "version",
                "replaced_version": "instead of",
                "first_session": "from",
                "last_session": "seen until",
                "state": "state",
                "reason": "why",
            },
            title="Promoted versions, held against those that they replaced",
        )


def journal(
    limit: Annotated[int, typer.Option(min=1, help="So many experiments.")] = 20,
    as_json: Json = False,
) -> None:
    """The journal of experiments, the latest first: what was tried, why, and what came of it."""
    from hydra_pipelines import api

    with readable_errors():
        rows = api.experiments(_open(), limit)
    if as_json:
        print_json(rows)
    elif rows:
        _show_experiments(rows, "Experiments, the latest first")
    else:
        typer.echo("No experiment was made yet: hydra agent run")


def _switch(paused: bool, why: str, as_json: bool) -> None:
    """One meaning, whichever command: see `hydra resume-trading --agent`."""
    from hydra_pipelines.control import Control
    from hydra_pipelines.day import halting
    from hydra_pipelines.settings import load_settings

    with readable_errors():
        settings = load_settings()
        control = Control(settings.control_path)
        changed = control.agent_paused != paused
        if changed:
            control.set_agent_paused(paused, why, person())
            halting.record(settings, control)
        halted = control.kill_switch
    state = "paused" if paused else "running"
    if as_json:
        print_json({"state": state, "changed": changed, "kill_switch": halted})
    say(f"The agent is {state}." if changed else f"The agent is {state} already.")
    if paused:
        say("Nothing that adds risk is sent. To go on: hydra run")
    elif halted:
        say("Trading stays halted: hydra resume-trading")


def _open() -> Desk:
    from hydra_pipelines.desk import Desk

    return Desk.open()


def _session(desk: Desk, session: datetime | None) -> date:
    """The session named, or the last one that there are features of."""
    from hydra_pipelines.market.lake import LakeMissing

    if session is not None:
        chosen = session.date()
        desk.calendar.index(chosen)
        return chosen
    try:
        last: date = desk.features.view().sessions[-1].item()
    except (LakeMissing, IndexError):
        fail("there are no features yet: run a first cycle: hydra cycle", REFUSED)
    return last


def _show_cycle(cycle: Mapping[str, Any]) -> None:
    typer.echo(f"Healing cycle {cycle['cycle_id']} as of {cycle['session']}: {cycle['stage']}")
    for diagnosis in cycle["diagnoses"]:
        whose = diagnosis["strategy_id"] or "the desk"
        typer.echo(f"  {whose}: {diagnosis['cause']}")
        for evidence in diagnosis["evidence"][:3]:
            typer.echo(f"    {evidence}")
    if cycle["outcome"]:
        typer.echo(f"  {cycle['outcome']}")


def _show_experiments(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    shown = []
    for row in rows:
        figures = (row["results"] or {}).get("figures", {})
        shown.append(
            {
                **row,
                "strategy_id": row["strategy_id"] or "the desk",
                "sharpe": _figure(figures, "sharpe"),
                "difference": _figure(figures, "difference_lower"),
            }
        )
    print_table(
        shown,
        {
            "experiment_id": "experiment",
            "strategy_id": "strategy",
            "mutation_type": "mutation",
            "decision": "decision",
            "candidate_version": "version",
            "sharpe": "net Sharpe",
            "difference": "at least better by",
            "hypothesis": "hypothesis",
        },
        title=title,
    )


def _figure(figures: Mapping[str, float], name: str) -> str | None:
    return f"{figures[name]:+.3f}" if name in figures else None

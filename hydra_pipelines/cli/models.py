"""The models' commands: `train`, `predict`, `plan`, `models`, `promote` and `rollback`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
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
    from hydra_pipelines.cli.running import JobOutcome
    from hydra_pipelines.day.promotion import Moved
    from hydra_pipelines.desk import Desk

Day = Annotated[
    datetime | None,
    typer.Option(
        "--session",
        formats=["%Y-%m-%d"],
        help="Session whose close decides; without it, the next one due.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the promotion history.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]

_PLAN_COLUMNS = {
    "symbol": "symbol",
    "side": "side",
    "quantity": "shares",
    "reason": "reason",
    "current": "weight now",
    "target": "target",
    "reference_price": "price",
    "notional": "value USD",
    "predicted_slippage_bps": "slippage bps",
    "routing": "routing",
    "strategies": "strategies",
}
_FIGURES = {
    "rank_ic": "rank IC",
    "sharpe": "net Sharpe",
    "max_drawdown": "drawdown",
    "turnover": "turnover a year",
}


def train(
    strategies: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STRATEGY]...", help="Their ids; without any, those deployed."),
    ] = None,
    session: Day = None,
    as_json: Json = False,
) -> None:
    """Train strategies as of a session. A new version waits as challenger until it is promoted."""
    from hydra_pipelines import api, day
    from hydra_pipelines.defs.jobs import STRATEGIES_TAG

    with _errors():
        desk, chosen = _desk_and_session(session)
        names = [spec.id for spec in day.strategies_named(desk, strategies or [])]
        say(f"Training {', '.join(names)} as of {chosen}")
        outcome = _run(desk, "train", chosen, {STRATEGIES_TAG: ",".join(names)})
        _end_if_failed(outcome, f"the training as of {chosen}")
        found = api.models(desk)
    trained = [row for row in found["strategies"] if row["strategy_id"] in names]
    if as_json:
        print_json(trained)
        return
    print_table(
        [
            {"strategy": row["strategy_id"], "alias": alias, **_flat(row[alias])}
            for row in trained
            for alias in ("champion", "challenger")
            if row[alias]
        ],
        {"strategy": "strategy", "alias": "alias", "version": "version", **_shown()},
        title=f"After the training as of {chosen}",
    )
    say("Look next:   hydra models, hydra promote STRATEGY")


def predict(session: Day = None, as_json: Json = False) -> None:
    """Predict the session's universe with each strategy's champion. Sends nothing."""
    from hydra_pipelines import api

    with _errors():
        desk, chosen = _desk_and_session(session)
        outcome = _run(desk, "predict", chosen)
        rows = [] if outcome.failure else api.predictions(desk, chosen)
    if as_json and not outcome.failure:
        print_json(rows)
    _end_if_failed(outcome, f"the prediction of {chosen}", told=True)
    if not as_json:
        print_table(
            _by_strategy(rows),
            {
                "strategy_id": "strategy",
                "model_version": "version",
                "symbols": "symbols",
                "highest": "highest",
                "lowest": "lowest",
            },
            title=f"Predictions of session {chosen}",
        )


def plan(session: Day = None, as_json: Json = False) -> None:
    """Make the order plan of a session and show it; one that was sent is shown as it is.

    Sends nothing: `hydra execute` works the plan.
    """
    from hydra_pipelines import api, day

    with _errors():
        desk, chosen = _desk_and_session(session)
        outcome = None
        if desk.ledger.path.exists() and day.is_frozen(desk, chosen):
            say(f"The plan of {chosen} is not made anew: its orders may have been sent.")
        else:
            if desk.embedded:
                say("Starting the paper venue …")
            try:
                day.check_session(desk, chosen)
            except day.SessionRefused as error:
                fail(str(error), REFUSED)
            outcome = _run(desk, "plan", chosen)
        if outcome and outcome.failure:
            fail(f"the plan of {chosen} failed: {outcome.failure}", FAILURE)
        stored = api.order_plan(desk, chosen)
    if stored is None:
        fail(f"there is no plan of session {chosen}", FAILURE)
    if as_json:
        print_json(stored)
    else:
        _show_plan(stored)
    if outcome:
        _end_if_failed(outcome, f"the plan of {chosen}", told=True)


def models(
    history: Annotated[int, typer.Option(min=0, help="So many moves of the history.")] = 10,
    as_json: Json = False,
) -> None:
    """Strategies with their champion, challenger and previous versions, and who moved them.

    Exit code 3 where a deployed strategy has no model to trade with.
    """
    from hydra_pipelines import api

    with _errors():
        found = api.models(_open(), history)
    if as_json:
        print_json(found)
    else:
        _show_models(found)
    stopped = [
        f"{row['strategy_id']} is {row['state']}: {row['why']}"
        for row in found["strategies"]
        if row["status"] == "deployed" and row["state"] not in ("ready", "untrained")
    ]
    if stopped:
        fail("; ".join(stopped), REFUSED)


def promote(
    model: Annotated[str, typer.Argument(help="The strategy's id.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version; without it, the challenger.")
    ] = None,
    reason: Reason = "promoted by hand",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Let a version trade. Shows the gate's verdict on it and asks; a person decides."""
    from hydra_pipelines import day

    with _errors():
        desk = _open()
        now, number = _before(desk, model, to, "challenger")
        evidence = _warn(desk, model, now, number)
        if number is not None and number != now:
            confirm(f"Let version {number} of {model} trade, in the place of {now}?", yes)
        moved = day.promote(desk, model, number, actor=person(), reason=reason, evidence=evidence)
    _show_move(desk, moved, "promoted", as_json=as_json)


def rollback(
    model: Annotated[str, typer.Option("--model", help="The strategy's id.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version; without it, the previous champion.")
    ] = None,
    reason: Reason = "rolled back by hand",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Go back to the champion before, and verify that it is the one that predicts."""
    from hydra_pipelines import day

    with _errors():
        desk = _open()
        now, number = _before(desk, model, to, "previous")
        if number is not None and number != now:
            confirm(f"Go back from version {now} of {model} to {number}?", yes)
        moved = day.rollback(desk, model, number, actor=person(), reason=reason)
    _show_move(desk, moved, "rolled back and verified", as_json=as_json)


@contextmanager
def _errors() -> Iterator[None]:
    """What models can be refused for, beside the errors of every command."""
    from hydra_pipelines.day.promotion import PromotionError, UnknownStrategy
    from hydra_pipelines.models.registry import RegistryError, RegistryUnavailable

    with readable_errors():
        try:
            yield
        except UnknownStrategy as error:
            fail(str(error), USAGE)
        except RegistryUnavailable as error:
            fail(str(error), FAILURE)
        except (PromotionError, RegistryError) as error:
            fail(str(error), REFUSED)


def _open() -> Desk:
    from hydra_pipelines.desk import Desk

    return Desk.open()


def _desk_and_session(session: datetime | None) -> tuple[Desk, date]:
    """The desk, and the session named or else the next one due."""
    desk = _open()
    chosen = session.date() if session else desk.next_session_due()
    desk.calendar.index(chosen)
    return desk, chosen


def _run(desk: Desk, job: str, session: date, tags: Mapping[str, str] = {}) -> JobOutcome:
    from hydra_pipelines.cli.running import run_job

    return run_job(desk, job, session, tags=tags)


def _end_if_failed(outcome: JobOutcome, what: str, told: bool = False) -> None:
    """Exit where the run failed, or where a check found what needs a person.

    told: the command has printed its result already.
    """
    if outcome.failure:
        fail(f"{what} failed: {outcome.failure}", FAILURE)
    if outcome.findings and told:
        fail(f"{what} ran, and found what needs a person: {'; '.join(outcome.findings)}", REFUSED)


def _before(desk: Desk, model: str, to: int | None, alias: str) -> tuple[int | None, int | None]:
    """The champion now, and the version asked for: `to`, or the one that carries the alias."""
    from hydra_pipelines import day

    day.strategies_named(desk, [model])
    now = desk.registry.aliases(model) if desk.registry.exists() else {}
    return now.get("champion"), now.get(alias) if to is None else to


def _warn(desk: Desk, model: str, now: int | None, number: int | None) -> dict[str, Any]:
    """Say what speaks for and against a version; returns that as evidence for the history."""
    from hydra_pipelines import api

    if number is None:
        return {}
    version = api.model_version(desk, model, number)
    for name, text in _FIGURES.items():
        if name in version["figures"]:
            say(f"{text:<16} {version['figures'][name]:.3f}")
    gate = version["gate"]
    if gate is None:
        say(f"The gate has not judged version {number}: nothing says that it is better.")
        return {"figures": version["figures"], "gate": "not judged"}
    say(f"Version {number} {gate['sentence']}")
    if gate["warnings"]:
        say(f"Mind: {gate['warnings']}")
    if gate["against"] != now:
        say(f"It was compared with version {gate['against']}, and champion is {now}.")
    told = {"gate": gate["sentence"], "gate_figures": gate["figures"]}
    return {"figures": version["figures"], **told}


def _show_move(desk: Desk, moved: Moved, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**vars(moved), "predictions": vars(moved.predictions)})
    name, version = moved.strategy_id, moved.to_version
    if not moved.changed:
        say(f"Version {version} of {name} is champion already.")
    else:
        before = "" if moved.from_version is None else f", in the place of {moved.from_version}"
        say(f"Version {version} of {name} is {done}{before}.")
    say(f"Predictions: {moved.predictions.note}.")
    for strategy, why in moved.predictions.failures.items():
        say(f"{strategy} does not predict: {why}")
    if moved.previous is not None:
        say(f"To go back: hydra rollback --model {name} (to version {moved.previous})")
    say(f"In MLflow:  {desk.registry.link(name, version)}")


def _show_models(found: Mapping[str, Any]) -> None:
    rows = []
    for row in found["strategies"]:
        carried = [(a, row[a]) for a in ("champion", "challenger", "previous") if row[a]]
        for alias, version in carried or [("–", None)]:
            first = alias in (carried[0][0] if carried else "–")
            rows.append(
                {
                    "strategy": row["strategy_id"] if first else "",
                    "state": f"{row['status']}, {row['state']}" if first else "",
                    "alias": alias,
                    **_flat(version),
                }
            )
    columns = {"strategy": "strategy", "state": "state", "alias": "alias", "version": "version"}
    print_table(
        rows,
        {**columns, "trained_through": "trained through", **_shown(), "gate": "gate"},
        title="Models: champion trades, challenger waits, previous is where a rollback goes",
    )
    for row in found["strategies"]:
        if row["why"]:
            say(f"{row['strategy_id']}: {row['why']}")
    if found["other_models"]:
        say(f"Registered, but no strategy's, so never traded: {', '.join(found['other_models'])}")
    if found["history"]:
        typer.echo()
        print_table(
            found["history"],
            {
                "recorded_at": "when",
                "strategy_id": "strategy",
                "kind": "what",
                "from_version": "from",
                "to_version": "to",
                "actor": "who",
                "reason": "why",
            },
            title="Promotion history, the latest first",
        )
    typer.echo("In MLflow:  #/models")


def _flat(version: Mapping[str, Any] | None) -> dict[str, Any]:
    """A version as cells of a table."""
    if version is None:
        return {}
    figures, gate = version.get("figures", {}), version.get("gate")
    cells = {name: f"{figures[name]:.3f}" for name in _FIGURES if name in figures}
    if gate is not None:
        cells["gate"] = "passed" if gate["passed"] else "failed"
    return {**cells, "version": version["version"], "trained_through": version["trained_through"]}


def _shown() -> dict[str, str]:
    return dict(_FIGURES)


def _by_strategy(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a strategy: how many symbols, and the ends of their order."""
    out = []
    for strategy in dict.fromkeys(row["strategy_id"] for row in rows):
        mine = [row for row in rows if row["strategy_id"] == strategy]
        mine.sort(key=lambda row: -row["prediction"])
        out.append(
            {
                "strategy_id": strategy,
                "model_version": mine[0]["model_version"],
                "symbols": len(mine),
                "highest": ", ".join(f"{r['symbol']} {r['prediction']:+.3%}" for r in mine[:3]),
                "lowest": ", ".join(f"{r['symbol']} {r['prediction']:+.3%}" for r in mine[-3:]),
            }
        )
    return out


def _show_plan(stored: Mapping[str, Any]) -> None:
    title = (
        f"Plan of session {stored['session']} for {stored['execution_session']}, "
        f"{stored['status']}; equity {show(stored['equity'])} USD, cash {show(stored['cash'])} USD"
    )
    for row in stored["rows"]:
        row["current"] = f"{row['current_weight']:.2%}"
        row["target"] = "–" if row["target_weight"] is None else f"{row['target_weight']:.2%}"
    if stored["rows"]:
        print_table(stored["rows"], _PLAN_COLUMNS, title=title)
    else:
        typer.echo(f"{title}\nNothing to do: no order.")
    for note in stored["notes"]:
        typer.echo(f"{note['symbol'] or 'all':<6} {note['why']}")

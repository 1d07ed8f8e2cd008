"""Commands on market data and features: what is held, bring it up to date, check it, look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    USAGE,
    Json,
    fail,
    print_json,
    print_table,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

app = typer.Typer(help="Bars in the lake: what is held, ingest, quality.", no_args_is_help=True)
features_app = typer.Typer(help="The feature catalogue and its values.", no_args_is_help=True)

Session = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A session; default: the last held.")
]
_SHOWN = 20


@app.command("status")
def status(as_json: Json = False) -> None:
    """What the lake holds of bars and features, and which features the bars can't give."""
    with _desk() as desk:
        view = desk.bars.view()
        log = desk.bars.log()
        state: dict[str, Any] = {
            "source": desk.settings.market.source,
            "calendar": desk.calendar.name,
            "sessions": len(view.sessions),
            "first": view.sessions[0].item(),
            "last": view.sessions[-1].item(),
            "symbols": len(view.symbols),
            "fields": list(view.fields),
            "corrections": sum("field" in line for line in log),
            "data_snapshot": view.snapshot(view.sessions[-1].item()),
            "features": _feature_state(desk),
        }
    if as_json:
        print_json(state)
        return
    made = state.pop("features")
    for name, value in state.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        typer.echo(f"{name.replace('_', ' '):<14} {text}")
    if made is None:
        typer.echo(f"{'features':<14} none yet")
        return
    typer.echo(f"{'features':<14} {made['features']} up to {made['last']}")
    for name, why in made["unavailable"].items():
        typer.echo(f"{'':<14} no {name}: {why}")


def _feature_state(desk: Desk) -> dict[str, Any] | None:
    from hydra_pipelines.features.panel import read_features
    from hydra_pipelines.market.lake import LakeMissing

    try:
        panel = read_features(desk.features)
    except LakeMissing:
        return None
    return {
        "features": len(panel.names),
        "last": panel.sessions[-1].item() if len(panel.sessions) else None,
        "unavailable": dict(panel.unavailable),
    }


@app.command("ingest")
def ingest(
    through: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last session; default: the last complete one."),
    ] = None,
    verify_all: Annotated[
        bool, typer.Option(help="Compare all of history with the source, not the last sessions.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring bars and features up to date. A session that is there already costs nothing."""
    from dataclasses import asdict

    from hydra_pipelines.features.panel import update_features
    from hydra_pipelines.market.ingest import ingest as bring

    with _desk() as desk:
        now = datetime.now(UTC)
        last = through.date() if through else desk.calendar.latest_complete(now)
        report = bring(desk.source, desk.bars, last, desk.calendar, now, verify_all=verify_all)
        made = update_features(desk.bars, desk.features, last)
    if as_json:
        print_json({"bars": asdict(report), "features": asdict(made)})
        return
    typer.echo(
        f"{report.appended} sessions added, {report.corrected} values corrected; the lake holds "
        f"{report.symbols} symbols from {report.first} to {report.last}"
    )
    typer.echo(f"{made.features} features, {made.added} sessions made, up to {made.last}")
    for problem in report.problems[:_SHOWN]:
        say(f"{problem.where}: {problem.detail}")
    if len(report.problems) > _SHOWN:
        say(f"and {len(report.problems) - _SHOWN} more; --json lists all of them")


@app.command("check")
def check(
    session: Session = None,
    history: Annotated[
        bool, typer.Option("--history", help="All of history, not the last quarter.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Quality of the bars. Exit code 3 where something would stop trading on the session."""
    from hydra_pipelines.day.research import CHECKED_SESSIONS
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.market.quality import check_bars
    from hydra_pipelines.market.universe import members

    with _desk() as desk:
        view = desk.bars.view()
        last = session.date() if session else view.sessions[-1].item()
        start = None if history else desk.calendar.next(last, -CHECKED_SESSIONS)
        panel = bar_panel(view, first=start, last=last)
        before = [day for day in panel.sessions.tolist() if day < last]
        expected = members(panel, before[-1]) if before else panel.symbols
        accepted = {(move.symbol, move.session) for move in desk.settings.market.accepted_moves}
        findings = check_bars(panel, last, desk.calendar, expected, accepted)
    rows = [vars(finding) for finding in findings]
    blocking = sum(finding.severity == "error" for finding in findings)
    if as_json:
        print_json({"session": last, "blocking": blocking, "findings": rows})
    elif rows:
        rows.sort(key=lambda row: (row["severity"], row["session"]))
        print_table(
            rows[:_SHOWN],
            {
                "severity": "severity",
                "check": "check",
                "symbol": "symbol",
                "session": "session",
                "detail": "detail",
            },
            title=f"{len(rows)} findings up to {last}, {blocking} of them blocking",
        )
    else:
        typer.echo(f"{last}: nothing found in {len(panel.sessions)} sessions")
    if blocking:
        raise typer.Exit(REFUSED)


@features_app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="Only this feature.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Values of this symbol.")] = None,
    session: Session = None,
    as_json: Json = False,
) -> None:
    """The catalogue with formulas and sources, or the values of a session."""
    if symbol or session:
        rows, columns = _values(name, symbol, session.date() if session else None)
    else:
        rows, columns = _entries(name)
    if as_json:
        print_json(rows)
    else:
        from rich.markup import escape

        # `P[t]` would be taken for a style.
        print_table(
            [{k: escape(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows],
            columns,
        )


def _entries(name: str | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    from hydra_pipelines.features.catalogue import CATALOGUE

    rows = [
        {
            "name": entry.name,
            "inputs": ", ".join(entry.inputs),
            "lookback": entry.lookback,
            "formula": entry.formula,
            "source": entry.source,
        }
        for entry in CATALOGUE
        if name in (None, entry.name)
    ]
    if not rows:
        names = ", ".join(entry.name for entry in CATALOGUE)
        fail(f"there is no feature {name!r}; the catalogue has {names}", USAGE)
    columns = {"name": "feature", "lookback": "look-back", "formula": "formula"}
    return rows, {**columns, "source": "source"} if name else columns


def _values(
    name: str | None, symbol: str | None, session: date | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    from hydra_pipelines.features.catalogue import CATALOGUE
    from hydra_pipelines.features.panel import read_features

    with _desk() as desk:
        panel = read_features(desk.features)
        day = session or panel.sessions[-1].item()
        if symbol is not None and symbol not in panel.symbols:
            fail(f"{symbol} is not in the lake, which has {', '.join(panel.symbols[:50])}", USAGE)
        symbols = panel.symbols if symbol is None else (symbol,)
        names = [name] if name else [e.name for e in CATALOGUE if e.name in panel.names]
        columns = panel.columns([f"{n}{end}" for n in names for end in ("", "_rank", "_z")])
        values = panel.values[panel.index(day)]
    rows = []
    for one in symbols:
        at = panel.symbols.index(one)
        for i, feature in enumerate(names):
            raw, rank, z = (float(values[c, at]) for c in columns[3 * i : 3 * i + 3])
            known = raw == raw
            rows.append(
                {
                    "session": day,
                    "symbol": one,
                    "feature": feature,
                    "value": raw if known else None,
                    "rank": rank if known else None,
                    "z": z if known else None,
                    "shown": f"{raw:.6g}" if known else "–",
                }
            )
    return rows, {
        "symbol": "symbol", "feature": "feature", "shown": f"value on {day}", "rank": "rank",
        "z": "z-score",
    }  # fmt: skip


@contextmanager
def _desk() -> Iterator[Desk]:
    """The desk, and what can go wrong with its data as one line and an exit code."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.features.panel import FeatureError
    from hydra_pipelines.market.bars import MarketDataError
    from hydra_pipelines.market.lake import LakeError, LakeMissing

    with readable_errors():
        try:
            yield Desk.open()
        except LakeMissing as error:
            fail(f"{error}: run `hydra data ingest`", REFUSED)
        except (MarketDataError, FeatureError, LakeError) as error:
            fail(str(error), FAILURE)

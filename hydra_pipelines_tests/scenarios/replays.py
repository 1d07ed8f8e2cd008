"""Replays and daily runs on desks that begin alike, and what to compare of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from hydra_pipelines.day import replaying
from hydra_pipelines.day.replaying import Published, Replayed
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.instance import desk_instance
from hydra_pipelines.defs.replayed import Reporter
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import shut_down

OF_THE_RUN = frozenset({"recorded_at", "run_id", "updated_at", "latency_ms", "ended_at"})
"""Columns that tell of the run and the wall's clock, not of the desk."""


def begin(folder: Path) -> Path:
    """A desk whose first session is traded, with its models trained; its venue is at rest."""
    desk = Desk(load_settings(data_dir=folder))
    try:
        replay(desk, 1)
    finally:
        desk.close()
        shut_down(folder)
    return folder


def copy_of(begun: Path, folder: Path, **settings: Any) -> Desk:
    """A desk of its own that goes on from there; bars, features and the models' files are shared
    where they are only read."""
    shutil.copytree(begun, folder, ignore=shutil.ignore_patterns("gateway.json", "*.wanted"))
    return Desk(load_settings(data_dir=folder, **settings))


def replay(desk: Desk, sessions: int, **options: Any) -> list[Replayed]:
    """So many sessions, reported to the desk's Dagster instance."""
    done: list[Replayed] = []
    with desk_instance(desk) as instance:
        reporter = Reporter(instance, desk)
        way = replaying.plan_replay(desk, sessions=sessions)
        for one in replaying.replay(desk, way, "replay", judge=reporter.judge, **options):
            reporter.report(one)
            if isinstance(one, Replayed):
                done.append(one)
            else:
                assert isinstance(one, Published)
    return done


def run_daily(desk: Desk, sessions: int) -> list[date]:
    """So many sessions, each as a run of the job `daily_cycle`."""
    done = []
    with desk_instance(desk) as instance:
        job = build_defs(desk.settings).resolve_job_def("daily_cycle")
        for _ in range(sessions):
            session = desk.next_session_due()
            result = job.execute_in_process(
                instance=instance, partition_key=session.isoformat(), raise_on_error=True
            )
            assert result.success
            done.append(session)
    return done


def materialised(desk: Desk, asset: str) -> set[str]:
    """Partitions of an asset that the desk's Dagster instance shows as materialised."""
    with desk_instance(desk) as instance:
        return instance.event_log_storage.get_materialized_partitions(dg.AssetKey(asset))


def history(desk: Desk) -> dict[str, list[str]]:
    """Every table of the ledger, without what belongs to the run: its rows as text, sorted."""
    with desk.ledger.session(), desk.ledger.transaction() as tx:
        tables = [row["name"] for row in tx.query("SELECT table_name AS name FROM duckdb_tables()")]
        return {table: sorted(map(_text, tx.query(f"SELECT * FROM {table}"))) for table in tables}


def _text(row: dict[str, Any]) -> str:
    kept = {name: value for name, value in row.items() if name not in OF_THE_RUN}
    if "control_seq" in kept:
        # An audit event is written when the run comes to it.
        del kept["occurred_at"]
    if "inputs" in kept:
        kept["inputs"] = _of_the_desk(json.loads(kept["inputs"]))
    return repr(sorted(kept.items()))


def _of_the_desk(inputs: dict[str, Any]) -> dict[str, Any]:
    """The gate is shown how old a quote is by the wall's clock, and how many orders there were
    since the connection was made."""
    state = inputs.get("state", {})
    state.pop("known_refs", None)
    if state.get("quote"):
        del state["quote"]["age_seconds"]
    return inputs


def differences(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> list[str]:
    """What two histories do not have in common, table by table."""
    out = [f"only one has {table}" for table in ours.keys() ^ theirs.keys()]
    for table in sorted(ours.keys() & theirs.keys()):
        for one, other, whose in ((ours, theirs, "ours"), (theirs, ours, "theirs")):
            extra = sorted(set(one[table]) - set(other[table]))
            out += [f"{table}, {whose} alone: {row}" for row in extra[:3]]
        if len(ours[table]) != len(theirs[table]):
            out.append(f"{table}: {len(ours[table])} and {len(theirs[table])} rows")
    return out


CopyDesk = Callable[..., Desk]

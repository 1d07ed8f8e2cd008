"""What the Dagster project is made of: every asset, check, job and partition, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import pytest

from hydra_pipelines import definitions
from hydra_pipelines.defs.partitions import session_partitions
from hydra_pipelines.sessions import NEW_YORK, Calendar, NotASession
from hydra_pipelines.settings import Settings, SettingsError, load_settings
from hydra_pipelines_tests.desks import PROGRAM

# Dagster's own, of its own parts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings("ignore:Asset job .* with varying BackfillPolicies"),
]

# asset -> group, what it waits for
STORY: Mapping[str, tuple[str, set[str]]] = {
    "bars": ("market", set()),
    "universe": ("market", {"bars"}),
    "features": ("features", {"bars"}),
    "champion_models": ("models", {"features"}),
    "trained_models": ("models", {"features"}),
    "predictions": ("decision", {"features", "champion_models", "universe"}),
    "signals": ("decision", {"predictions"}),
    "order_plan": ("decision", {"signals", "bars"}),
    "executions": ("execution", {"order_plan"}),
    "positions": ("execution", {"executions"}),
    "account": ("execution", {"positions"}),
    "slippage_reconciliation": ("monitoring", {"executions"}),
    "performance": ("monitoring", {"account"}),
    "drift_report": ("monitoring", {"features", "champion_models", "predictions"}),
    "model_watches": ("agent", {"features", "champion_models"}),
    "diagnosis": ("agent", {"drift_report", "model_watches"}),
    "experiments": ("agent", {"diagnosis"}),
    "healing_cycle": ("agent", {"experiments"}),
}
AGENT = {"model_watches", "diagnosis", "experiments", "healing_cycle"}


def after(asset: str) -> set[str]:
    """The asset and all that waits for it."""
    found = {asset}
    for name, (_, parents) in STORY.items():
        if parents & found:
            found.add(name)
    return found


# (asset, check) -> blocking
CHECKS = {
    ("bars", "quality"): True,
    ("bars", "enough_and_fresh"): True,
    ("universe", "has_members"): True,
    ("features", "enough_and_fresh"): True,
    ("predictions", "every_strategy_predicts"): False,
    ("predictions", "enough_and_fresh"): True,
    ("signals", "every_strategy_decides"): False,
    ("order_plan", "limits"): True,
    ("executions", "no_unknown_orders"): False,
    ("positions", "journal_equals_broker"): False,
    ("account", "no_breaker_is_tripped"): False,
    ("champion_models", "every_strategy_has_a_champion"): False,
    ("trained_models", "no_leak_suspected"): False,
    ("slippage_reconciliation", "model_calibrated"): False,
    ("slippage_reconciliation", "fills_as_predicted"): False,
    ("performance", "pnl_identity"): False,
    ("drift_report", "every_model_checked"): False,
    ("drift_report", "models_as_trained"): False,
}
RESEARCH = {"bars", "universe", "features", "champion_models", "predictions"}
DECIDED = RESEARCH | {"signals", "order_plan"}
WORKED = set(STORY) - DECIDED - AGENT - {"trained_models", "drift_report"}
JOBS = {
    "daily_cycle": DECIDED | WORKED,
    "predict": RESEARCH,
    "plan": DECIDED,
    "execute": WORKED,
    "reconcile": WORKED,
    "sync_positions": after("positions"),
    "train": {"bars", "features", "trained_models"},
    "drift_check": {"drift_report", "model_watches"},
    "self_heal": AGENT,
}
AT_THE_BROKER = {"daily_cycle", "plan", "execute", "reconcile", "sync_positions"}
HEAVY = {
    "pandas",
    "mlflow",
    "sklearn",
    "vectorbt",
    "exchange_calendars",
    "matplotlib",
    "ib_insync",
    "pyarrow",
    "plotly",
    "scipy",
    "evidently",
    "numba",
    "celery",
    "redis",
    "psycopg2",
    "kubernetes",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("defs") / "my desk"


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return load_settings(data_dir=folder)


@pytest.fixture(scope="module")
def calendar(settings: Settings) -> Calendar:
    return Calendar.load("XNYS", settings.cache_path)


@pytest.fixture(scope="module")
def defs(settings: Settings) -> dg.Definitions:
    return definitions.build_defs(settings)


@pytest.fixture(scope="module")
def graph(defs: dg.Definitions) -> dg.AssetGraph:
    return defs.resolve_asset_graph()


# assets, checks, jobs


def test_the_assets_are_those_of_the_story(graph: dg.AssetGraph) -> None:
    found = {
        key.to_user_string(): (node.group_name, {p.to_user_string() for p in node.parent_keys})
        for key in graph.get_all_asset_keys()
        if (node := graph.get(key))
    }
    assert found == STORY


def test_every_asset_says_what_it_is_and_whose(graph: dg.AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.description.endswith("."), key
        assert node.owners == ["team:desk"], key
        assert node.kinds, key


def test_checks_stand_where_trading_on_a_bad_input_would_hurt(graph: dg.AssetGraph) -> None:
    assert {(k.asset_key.to_user_string(), k.name) for k in graph.asset_check_keys} == set(CHECKS)
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.blocking is CHECKS[key.asset_key.to_user_string(), key.name], key
        assert spec.description, key


def test_jobs_run_what_they_say_in_one_process(defs: dg.Definitions) -> None:
    jobs = {
        job.name: job
        for job in defs.get_repository_def().get_all_jobs()
        if not job.name.startswith("__")
    }
    assert set(jobs) == set(JOBS)
    for name, assets in JOBS.items():
        keys = jobs[name].asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in keys} == assets
        assert jobs[name].executor_def.name == "in_process"
        assert jobs[name].description
    tagged = {name for name, job in jobs.items() if job.tags.get("hydra/venue") == "broker"}
    assert tagged == AT_THE_BROKER, "one run at a time at the broker"


def test_only_steps_before_the_first_order_are_retried(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("daily_cycle")
    assert not any(node.definition.retry_policy for node in job.nodes), "a cancel is retried by it"
    retried = {
        node.name
        for node in job.nodes
        if "step_tried_again" in node.definition.compute_fn.decorated_fn.__code__.co_qualname
    }
    assert retried and retried.isdisjoint({"executions", "positions", "account"})


# partitions


def test_partitions_are_the_sessions_from_the_first_on(
    graph: dg.AssetGraph, calendar: Calendar, settings: Settings
) -> None:
    first = settings.embedded.first_session
    partitions = {graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    (partition,) = partitions
    assert partition is not None
    known = [date.fromisoformat(key) for key in partition.get_partition_keys()]
    assert known[0] == first == date(2019, 1, 2)
    # What comes last depends on the day on which this runs.
    assert known[:-1] == list(calendar.between(first, known[-1]))[:-1]
    assert calendar.is_session(known[-1])


def test_a_session_counts_from_its_own_morning_on(calendar: Calendar) -> None:
    partitions = session_partitions(calendar, date(2019, 1, 2))

    def last(*now: int) -> str:
        return partitions.get_partition_keys(current_time=datetime(*now, tzinfo=NEW_YORK))[-1]

    assert last(2019, 1, 2, 9) == "2019-01-02"
    assert last(2019, 1, 4, 18) == "2019-01-04"
    assert last(2019, 1, 7, 1) == "2019-01-07"
    friday = partitions.time_window_for_partition_key("2019-01-04")
    assert (friday.start.day, friday.end.day) == (4, 7), "Friday's window ends on Monday"


@pytest.mark.parametrize("day", ["2019-04-19", "2019-04-20", "2018-12-31", "2022-06-20"])
def test_other_days_are_no_partitions(calendar: Calendar, day: str) -> None:
    partitions = session_partitions(calendar, date(2019, 1, 2))
    assert not partitions.has_partition_key(day)
    assert partitions.has_partition_key("2019-04-18")


def test_a_first_session_that_is_none_is_refused(settings: Settings) -> None:
    embedded = settings.embedded.model_copy(update={"first_session": date(2019, 1, 1)})
    with pytest.raises(NotASession, match=r"2019-01-01 \(Tuesday\) is not a XNYS session"):
        definitions.build_defs(settings.model_copy(update={"embedded": embedded}))


# how it is found


def test_the_package_hands_its_definitions_on(
    folder: Path, calendar: Calendar, tmp_path: Path
) -> None:
    """By the function behind `dagster ... -m hydra_pipelines`, without its servers."""
    program = (
        "from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module\n"
        "(target,) = loadable_targets_from_python_module('hydra_pipelines', None)\n"
        "repository = target.target_definition.get_repository_def()\n"
        "print(*(job.name for job in repository.get_all_jobs()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HYDRA_DATA_DIR": str(folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(JOBS) <= set(done.stdout.split())


def test_settings_that_cant_be_right_are_said_by_the_code_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HYDRA_MODE", "life")
    with pytest.raises(SettingsError, match=r"mode .in the environment.: .*'live'"):
        definitions.build_defs()


def test_other_parts_take_the_place_of_the_defaults(settings: Settings) -> None:
    mine = dg.ResourceDefinition.hardcoded_resource("mine")
    logger = dg.LoggerDefinition(lambda _: None)  # type: ignore[arg-type, return-value]
    defs = definitions.build_defs(
        settings,
        resources={"desk": mine},
        loggers={"quiet": logger},
        executor=dg.multiprocess_executor,
    )
    job = defs.resolve_job_def("daily_cycle")
    assert job.executor_def.name == "multiprocess"
    assert job.resource_defs["desk"] is mine and set(job.loggers) == {"quiet"}


def imported(code: str, folder: Path, *arguments: str) -> set[str]:
    """The top-level packages in memory after some code."""
    program = (
        f"import json, sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "HYDRA_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_loading_the_definitions_imports_nothing_heavy(folder: Path, calendar: Calendar) -> None:
    """With the calendar in its cache, as it is from the first command on."""
    packages = imported("from hydra_pipelines import dagster_definitions", folder)
    assert "dagster" in packages and packages.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["status"], ["status", "--json"], ["halt"], ["resume-trading", "--yes"]],
)
def test_quick_commands_import_neither_that_nor_the_framework(
    folder: Path, calendar: Calendar, arguments: list[str]
) -> None:
    packages = imported(PROGRAM, folder, *arguments)
    assert "hydra_pipelines" in packages
    assert packages.isdisjoint(HEAVY | {"dagster", "fastapi", "numpy"})


def test_importing_the_package_imports_none_of_its_rooms(folder: Path) -> None:
    packages = imported("import hydra_pipelines", folder)
    assert packages.isdisjoint(HEAVY | {"dagster", "duckdb", "pydantic", "numpy"})
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = definitions.nonsense

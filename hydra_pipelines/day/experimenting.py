"""One experiment of the agent: its candidate trained, validated and judged by the promotion gate.

`python -m hydra_pipelines.day.experimenting FOLDER` runs the one whose specification is in the
folder, with the settings of the file beside it, and leaves its result there. Choosing what to try
and acting on the results are not here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra_pipelines.agent.experiment import (
    LOCK_FILE,
    RESULT_FILE,
    SPEC_FILE,
    ExperimentResult,
    ExperimentSpec,
    Processes,
    read_result,
    write_whole,
)
from hydra_pipelines.day.gating import judge_version
from hydra_pipelines.day.models import train_version
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerError, exclusive
from hydra_pipelines.settings import Settings

SETTINGS_FILE = "settings.json"


def experiments_path(desk: Desk) -> Path:
    """Where each experiment has its folder."""
    return desk.settings.data_path / "agent"


def local_runner(desk: Desk) -> Processes:
    """The default: processes of this machine, with the settings of this desk."""
    s = desk.settings.agent
    return Processes(
        lambda folder: program(desk, folder),
        experiments_path(desk),
        workers=s.workers,
        timeout_s=s.experiment_timeout_s,
    )


def program(desk: Desk, folder: Path) -> Sequence[str]:
    """The program that runs the experiment in a folder; the desk's settings are put there.

    Where alerts go, and where runs are recorded, is left out: these are secrets, and an experiment
    tells nobody.
    """
    settings = desk.settings.model_dump(mode="json", exclude={"alerts", "dagster"})
    write_whole(folder / SETTINGS_FILE, json.dumps(settings))
    return (sys.executable, "-m", "hydra_pipelines.day.experimenting", str(folder))


def run_experiment(desk: Desk, spec: ExperimentSpec) -> ExperimentResult:
    """Train the candidate as of the session, and ask the gate. Never raises for what it may meet.

    Run again after a crash, it takes the version that it had registered. No alias is moved.
    """
    from hydra_pipelines.models.evaluation import TrainingError
    from hydra_pipelines.models.registry import RegistryError
    from hydra_pipelines.models.strategies import StrategyError

    begun = time.monotonic()
    try:
        made = _measured(desk, spec)
    except (RegistryError, TrainingError, StrategyError, LedgerError) as error:
        made = ExperimentResult(spec.experiment_id, error=str(error))
    return replace(made, seconds=time.monotonic() - begun)


def _measured(desk: Desk, spec: ExperimentSpec) -> ExperimentResult:
    declared = next((s for s in desk.candidates if s.id == spec.strategy_id), None)
    if declared is None:
        raise LedgerError(f"there is no strategy {spec.strategy_id!r} in the settings any more")
    candidate = declared.as_configured(spec.configuration)
    now = desk.registry.aliases(spec.strategy_id).get("champion")
    if now != spec.champion_version:
        return ExperimentResult(
            spec.experiment_id,
            error=f"the champion is version {now} now, and it was to be held against "
            f"{spec.champion_version}",
        )
    # Versions get their numbers one after the other, whoever trains them.
    lock = experiments_path(desk) / "registering.lock"
    with exclusive(lock, desk.settings.agent.experiment_timeout_s, "the registry"):
        number, run_id = _registered_before(desk, spec) or (None, None)
        if number is None:
            made = train_version(desk, candidate, spec.session, tags=spec.tags)
            number, run_id = made.version, made.mlflow_run_id
    verdict = judge_version(
        desk, spec.strategy_id, number, earlier_trials=list(spec.earlier_trials)
    )
    assert verdict is not None
    assert run_id is not None
    desk.registry.tag_run(run_id, {"verdict": "passed" if verdict.passed else "not passed"})
    return ExperimentResult(
        spec.experiment_id,
        candidate_version=number,
        mlflow_run_id=run_id,
        passed=verdict.passed,
        reasons=tuple(str(reason) for reason in verdict.reasons),
        warnings=verdict.warnings,
        message=verdict.message,
        figures=verdict.figures,
    )


def _registered_before(desk: Desk, spec: ExperimentSpec) -> tuple[int, str] | None:
    """The version that an attempt before this one registered, complete and in the ledger."""
    from hydra_pipelines.ledger import decisions

    with desk.ledger.transaction() as tx:
        hashes = decisions.artifact_hashes(tx).get(spec.strategy_id, {})
    for number in reversed(desk.registry.versions(spec.strategy_id)):
        ref = desk.registry.version(spec.strategy_id, number)
        if ref.tags.get("experiment") == spec.experiment_id and number in hashes:
            return number, ref.run_id
    return None


def main(folder: Path) -> None:
    """Run the experiment in a folder, unless another process has; its result is left there."""
    settings = Settings(**json.loads((folder / SETTINGS_FILE).read_text()))
    desk = Desk(settings)
    spec = ExperimentSpec.from_json((folder / SPEC_FILE).read_text())
    with exclusive(folder / LOCK_FILE, settings.agent.experiment_timeout_s, "this experiment"):
        if read_result(folder) is None:
            write_whole(folder / RESULT_FILE, run_experiment(desk, spec).to_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The agent's healing cycle: observe, diagnose, hypothesise, experiment, evaluate, and act on it.

Here belongs the order of the steps, and that whatever ends a cycle in the middle costs nothing: all
that a step decides is in the ledger before it is done, and the next cycle goes on from there. What
is wrong, what to try and how to run it are `agent`'s; moving a champion is `promotion`'s.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from hydra_pipelines.agent.diagnosis import Cause, Diagnosis
from hydra_pipelines.agent.experiment import ExperimentResult, Runner
from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.acting import act, tag_decision
from hydra_pipelines.day.experimenting import local_runner
from hydra_pipelines.day.gathering import observe
from hydra_pipelines.day.hypothesising import declared, plan, rows_of, spec_of
from hydra_pipelines.day.model_watch import watch_models
from hydra_pipelines.day.recalibrating import try_calibration
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import experiments
from hydra_pipelines.ledger.store import Transaction, exclusive

Say = Callable[[str], None]
Row = Mapping[str, Any]
PLANNED, MEASURED, DECIDING, DONE = "planned", "measured", "deciding", experiments.DONE
MAX_ATTEMPTS = 3
"""An experiment that was begun so often and never came to an end has failed."""
_LOCK_S = 1.0
PAUSED = "the agent is paused: hydra run"


@dataclass(frozen=True)
class Healed:
    """What came of a cycle.

    cycle_id: None where none was begun, since the agent is paused. done: it came to its end.
    experiments: rows of the journal.
    """

    cycle_id: str | None
    session: date
    outcome: str
    done: bool = False
    resumed: bool = False
    diagnoses: tuple[Row, ...] = ()
    experiments: tuple[Row, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether nothing was tried because the data is damaged."""
        return any(d["cause"] == Cause.DATA_QUALITY for d in self.diagnoses)


def heal(
    desk: Desk,
    session: date,
    run_id: str | None = None,
    *,
    runner: Runner | None = None,
    say: Say = lambda _: None,
) -> Healed:
    """One whole cycle as of the close of a session, or what is left of one that was cut short.

    runner: where experiments run; processes of this machine where not given. Raises LedgerBusy
    where another cycle is at work, and RegistryError or LedgerError where a step can't be done: the
    next cycle goes on with it.
    """
    with _alone(desk):
        watch_models(desk, session, say)
        begun = _begin(desk, session, run_id, say)
        if begun.cycle_id is None or begun.done:
            return begun
        _experiment(desk, begun.cycle_id, runner or local_runner(desk), say)
        return _end(desk, begun.cycle_id, say, resumed=begun.resumed)


def begin_cycle(
    desk: Desk, session: date, run_id: str | None = None, say: Say = lambda _: None
) -> Healed:
    """The first step: find out what is wrong and write down what is to be tried.

    A cycle that was cut short is taken up instead.
    """
    with _alone(desk):
        return _begin(desk, session, run_id, say)


def run_experiments(
    desk: Desk, cycle_id: str, runner: Runner | None = None, say: Say = lambda _: None
) -> Healed:
    """The second step: measure what is not measured yet."""
    with _alone(desk):
        _experiment(desk, cycle_id, runner or local_runner(desk), say)
        return told(desk, cycle_id)


def end_cycle(desk: Desk, cycle_id: str, say: Say = lambda _: None) -> Healed:
    """The last step: decide on each experiment, and act on the best."""
    with _alone(desk):
        return _end(desk, cycle_id, say)


def told(desk: Desk, cycle_id: str, *, resumed: bool = False) -> Healed:
    """A cycle as the ledger has it."""
    with desk.ledger.transaction() as tx:
        cycle = experiments.cycle(tx, cycle_id)
        rows = tuple(experiments.of_cycle(tx, cycle_id))
    return Healed(
        cycle_id=cycle_id,
        session=cycle["session"],
        outcome=cycle["outcome"] or f"{cycle['stage']}, to be gone on with",
        done=cycle["stage"] == DONE,
        resumed=resumed,
        diagnoses=tuple(cycle["diagnoses"]),
        experiments=rows,
    )


@contextmanager
def _alone(desk: Desk) -> Iterator[None]:
    """One cycle at a time."""
    with exclusive(desk.settings.data_path / "agent.lock", _LOCK_S, "the agent's healing cycle"):
        yield


# observe, diagnose, hypothesise


def _begin(desk: Desk, session: date, run_id: str | None, say: Say) -> Healed:
    if desk.control.agent_paused:
        return Healed(None, session, PAUSED)
    with desk.ledger.transaction() as tx:
        left = experiments.unfinished_cycle(tx)
    if left is not None:
        say(f"going on with {left['cycle_id']}, which was cut short when {left['stage']}")
        return told(desk, left["cycle_id"], resumed=True)
    observed = observe(desk, session, run_id or "agent")
    for diagnosis in observed.diagnoses:
        say(diagnosis.sentence)
    planned = () if observed.data_is_bad else plan(desk, session, observed.diagnoses)
    cycle_id = f"{session:%Y%m%d}-{uuid.uuid4().hex[:8]}"
    rows = rows_of(desk, cycle_id, session, planned)
    outcome = None if rows else _without_experiments(observed.diagnoses)
    with desk.ledger.transaction() as tx:
        experiments.open_cycle(
            tx,
            {
                "cycle_id": cycle_id,
                "session": session,
                "autonomy": desk.settings.agent.autonomy,
                "stage": PLANNED,
                "drift_run_no": observed.drift_run_no,
                "diagnoses": [asdict(d) for d in observed.diagnoses],
                "choices": [],
                "run_id": run_id,
            },
            rows,
        )
        if outcome is not None:
            experiments.set_stage(tx, cycle_id, DONE, outcome=outcome)
    desk.ledger.publish()
    if observed.data_is_bad:
        desk.alerts.send(
            AlertKind.DRIFT,
            f"data {session}",
            "hydra: the data is damaged, and no model is trained on it",
            f"As of {session}: {'; '.join(observed.diagnoses[0].evidence[:5])}. Mend the bars: "
            "hydra data check",
        )
    return told(desk, cycle_id)


def _without_experiments(diagnoses: Sequence[Diagnosis]) -> str:
    causes = {d.cause for d in diagnoses}
    if Cause.DATA_QUALITY in causes:
        return f"refused to retrain: {diagnoses[0].sentence}; {diagnoses[0].evidence[0]}"
    if any(cause.has_cure for cause in causes):
        return "nothing left to try: what may help was rejected lately, or waits for a person"
    if Cause.NOT_KNOWN in causes:
        return "nothing to do, as far as is known: " + "; ".join(
            d.sentence for d in diagnoses if d.cause is Cause.NOT_KNOWN
        )
    return "nothing to do: no drift is detected"


# experiment


def _experiment(desk: Desk, cycle_id: str, runner: Runner, say: Say) -> None:
    """Measure each experiment of the cycle that is not measured yet."""
    with desk.ledger.transaction() as tx:
        cycle = experiments.cycle(tx, cycle_id)
        rows: list[Row] = [
            r for r in experiments.of_cycle(tx, cycle_id) if r["measured_at"] is None
        ]
    if cycle["stage"] != PLANNED or desk.control.agent_paused:
        return
    todo: dict[str, Row] = {}
    for row in rows:
        if row["attempts"] >= MAX_ATTEMPTS:
            why = f"begun {row['attempts']} times, and never came to an end"
            _record(desk, row, ExperimentResult(row["experiment_id"], error=why), say)
        else:
            todo[row["experiment_id"]] = row
    with desk.ledger.transaction() as tx:
        for experiment_id in todo:
            experiments.count_attempt(tx, experiment_id)
    for row in [r for r in todo.values() if r["configuration"] is None]:
        _record(desk, row, try_calibration(desk, row["experiment_id"]), say)
    specs = [spec_of(row) for row in todo.values() if row["configuration"] is not None]
    if specs:
        say(f"{len(specs)} experiments: {', '.join(spec.mutation_type for spec in specs)}")
        unheard = {spec.experiment_id for spec in specs}
        for result in runner.run(specs):
            _record(desk, todo[result.experiment_id], result, say)
            unheard.discard(result.experiment_id)
        for experiment_id in sorted(unheard):
            lost = ExperimentResult(experiment_id, error="whoever ran it gave no result")
            _record(desk, todo[experiment_id], lost, say)
    with desk.ledger.transaction() as tx:
        experiments.set_stage(tx, cycle_id, MEASURED)


def _record(desk: Desk, row: Row, result: ExperimentResult, say: Say) -> None:
    """What was measured, into the journal; one that failed is decided on with that."""
    with desk.ledger.transaction() as tx:
        experiments.record_result(
            tx,
            row["experiment_id"],
            candidate_version=result.candidate_version,
            mlflow_run_id=result.mlflow_run_id,
            passed=None if result.error else result.passed,
            results={
                "figures": dict(result.figures),
                "reasons": list(result.reasons),
                "warnings": list(result.warnings),
                "message": result.message,
                "seconds": result.seconds,
            },
        )
        _keep_signal_rule(tx, desk, row, result)
        if result.error:
            experiments.decide(tx, row, experiments.FAILED, result.error)
    said = result.error or result.message
    say(f"{row['mutation_type']} of {row['strategy_id'] or 'the desk'}: {said}")


def _keep_signal_rule(tx: Transaction, desk: Desk, row: Row, result: ExperimentResult) -> None:
    """A candidate that trades by another rule of signals keeps it, whoever promotes it."""
    if row["configuration"] is None or result.candidate_version is None:
        return
    settings = vars(declared(desk, row["strategy_id"]).signal)
    signal = row["configuration"]["signal"]
    if signal != settings:
        experiments.record_signal_rule(
            tx, row["strategy_id"], result.candidate_version, settings, signal,
            row["experiment_id"],
        )  # fmt: skip


# evaluate, promote or reject


def _end(desk: Desk, cycle_id: str, say: Say, *, resumed: bool = False) -> Healed:
    """Decide on what was measured, act on it, and close the cycle."""
    with desk.ledger.transaction() as tx:
        stage = experiments.cycle(tx, cycle_id)["stage"]
        rows = experiments.of_cycle(tx, cycle_id)
    if stage == MEASURED:
        _choose(desk, cycle_id, rows)
        stage = DECIDING
    if stage == DECIDING:
        if desk.control.agent_paused:
            return told(desk, cycle_id, resumed=resumed)
        _carry_out(desk, cycle_id, say)
        desk.ledger.publish()
    return told(desk, cycle_id, resumed=resumed)


def _choose(desk: Desk, cycle_id: str, rows: Sequence[Row]) -> None:
    """Reject what is not the best of its strategy, and write down what is, before it is done."""
    best: dict[str | None, Row] = {}
    for row in rows:
        name = row["strategy_id"]
        if row["passed"] and (name not in best or _merit(row) > _merit(best[name])):
            best[name] = row
    chosen = {row["experiment_id"] for row in best.values()}
    with desk.ledger.transaction() as tx:
        for row in rows:
            if row["experiment_id"] in chosen or row["decision"] != experiments.PENDING:
                continue
            reason = row["results"]["message"]
            if row["passed"]:
                winner = best[row["strategy_id"]]
                reason = (
                    f"passed, and {winner['mutation_type']} ({winner['experiment_id']}) was better"
                )
            experiments.decide(tx, row, experiments.REJECTED, reason)
        experiments.set_stage(tx, cycle_id, DECIDING, choices=sorted(chosen))


def _merit(row: Row) -> float:
    """The lower bound of the net difference: what one may count on, not what one may hope for."""
    return float(row["results"]["figures"].get("difference_lower", float("-inf")))


def _carry_out(desk: Desk, cycle_id: str, say: Say) -> None:
    """Act on each choice; what was done before a crash is found and not done again."""
    with desk.ledger.transaction() as tx:
        cycle = experiments.cycle(tx, cycle_id)
        rows = {row["experiment_id"]: row for row in experiments.of_cycle(tx, cycle_id)}
    done = [act(desk, rows[choice], cycle["autonomy"]) for choice in cycle["choices"]]
    with desk.ledger.transaction() as tx:
        now = experiments.of_cycle(tx, cycle_id)
    for row in now:
        tag_decision(desk, row, say)
    for sentence in done:
        say(sentence)
    with desk.ledger.transaction() as tx:
        experiments.set_stage(tx, cycle_id, DONE, outcome="; ".join(done) or _all_rejected(now))


def _all_rejected(rows: Sequence[Row]) -> str:
    failed = sum(row["decision"] == experiments.FAILED for row in rows)
    rejected = len(rows) - failed
    parts = []
    if rejected:
        parts.append(f"{rejected} experiments rejected: the champions stay")
    if failed:
        parts.append(
            f"{failed} failed: {rows[0]['reason']}" if not rejected else f"{failed} failed"
        )
    return "; ".join(parts)

"""The drift check: every deployed strategy's champion against what it was trained on.

Nothing here trades. What is found is stored, told, and where the settings say so followed by a
rollback. The arithmetic is `monitoring`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.champions import ModelState, StrategyModel, look_at_registry
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, calibrations, drift
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import LedgerMissing

if TYPE_CHECKING:
    import numpy as np

    from hydra_pipelines.day.drift_inputs import Market
    from hydra_pipelines.ledger.store import Transaction
    from hydra_pipelines.monitoring.checks import Check
    from hydra_pipelines.monitoring.drift import ModelDrift

Say = Callable[[str], None]
ACTOR = "system"


class DriftError(RuntimeError):
    """The check can't be made for the session; the message says what is missing."""


@dataclass(frozen=True)
class DriftRun:
    """One run as stored.

    status: `drift_detected`, `ok`, or `no_models` where no model could be judged, for want of one
    or of data. models, checks: rows of `drift_models` and `drift_checks`. failures: strategy -> why
    it was not checked, or not rolled back. rollbacks: strategy -> the version it was set back to.
    repeated: the same was found for the session before, and stands.
    """

    run_no: int
    session: date
    status: str
    models: tuple[Mapping[str, Any], ...]
    checks: tuple[Mapping[str, Any], ...]
    failures: Mapping[str, str]
    rollbacks: Mapping[str, int]
    repeated: bool

    @property
    def models_checked(self) -> int:
        """Those that there was enough data to judge."""
        return sum(row["state"] != "not_enough_data" for row in self.models)

    @property
    def drifted(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(row for row in self.models if row["state"] == "drift_detected")


def check_drift(
    desk: Desk, session: date, run_id: str | None, say: Say = lambda _: None
) -> DriftRun:
    """Check every deployed champion as of the close of a session, store and tell what was found.

    Only what was known by then is used. A model that can't be checked leaves the others alone.
    Raises DriftError where the features of the session are missing, NotASession, and LedgerMissing
    before the first cycle.
    """
    from hydra_pipelines.day.drift_inputs import Market, observe

    desk.calendar.index(session)
    if not desk.ledger.path.exists():
        raise LedgerMissing(
            f"no ledger at {desk.ledger.path} yet: run a first cycle: `hydra cycle`"
        )
    looked = [model for model in look_at_registry(desk, verify=False) if model.deployed]
    champions = [model for model in looked if model.ready]
    failures = {
        model.strategy_id: f"{model.state}: {model.why}"
        for model in looked
        if not model.ready and model.state is not ModelState.UNTRAINED
    }
    found: dict[str, tuple[StrategyModel, ModelDrift]] = {}
    desk_checks: Sequence[Check] = ()
    if champions:
        market = Market.read(desk, session)
        # For each of the two joint statistics. Models of one desk see the same market and alarm
        # together, so their number is not corrected for.
        share = desk.settings.monitoring.false_alarms / 2
        for model in champions:
            try:
                found[model.strategy_id] = model, observe(desk, market, model, share)
            except Exception as error:
                failures[model.strategy_id] = f"{type(error).__name__}: {error}"
                say(f"{model.strategy_id}: not checked: {failures[model.strategy_id]}")
        try:
            desk_checks = _desk_checks(desk, market, champions)
        except Exception as error:
            failures["desk"] = f"{type(error).__name__}: {error}"
            say(f"the desk as a whole: not checked: {failures['desk']}")
    for name, (_, one) in found.items():
        say(f"{name}: {one.state.replace('_', ' ')}: {one.why}")
    run = _store(desk, session, run_id, found, desk_checks, failures)
    if not run.repeated:
        _tell(desk, run)
        if desk.settings.monitoring.auto_rollback:
            run = _roll_back(desk, run, say)
    desk.ledger.publish()
    return run


def _desk_checks(desk: Desk, market: Market, champions: Sequence[StrategyModel]) -> list[Check]:
    """The desk as a whole: what its orders cost, and what became of its equity.

    Up to the execution session of the session checked. The returns are held against what the
    champions' simulated portfolios returned out of sample, by capital weight.
    """
    import numpy as np

    from hydra_pipelines.day.profits import session_profits
    from hydra_pipelines.monitoring.checks import Window
    from hydra_pipelines.monitoring.outcomes import return_checks, slippage_check
    from hydra_pipelines.monitoring.performance import BooksIncomplete, session_returns
    from hydra_pipelines.monitoring.reconciliation import comparable

    until = desk.calendar.next(market.session)
    with desk.ledger.transaction() as tx:
        fills, _ = comparable(
            calibrations.observations(
                tx, until=until, sessions=desk.settings.slippage.window_sessions
            )
        )
        model = desk.slippage_by(tx)
        try:
            told = [one for one in session_profits(tx).sessions if one.session <= until]
        except BooksIncomplete:
            told = []
    orders = fills.by_order()
    now = orders.repredicted(model)
    predicted = np.where(np.isnan(now), orders.predicted, now)
    days = orders.session
    window = Window(len(orders), *((days[0].item(), days[-1].item()) if len(days) else ()))
    returns = np.array(session_returns(told), dtype=np.float64)
    sessions = np.array([one.session for one in told], dtype="datetime64[D]")
    known = np.isfinite(returns)
    return [
        slippage_check(predicted, orders.shortfall, window),
        *return_checks(
            returns[known],
            sessions[known],
            _expected_returns(desk, champions),
            desk.settings.monitoring.window_sessions,
        ),
    ]


def _expected_returns(desk: Desk, champions: Sequence[StrategyModel]) -> np.ndarray:
    """What the desk's strategies returned out of sample together, over their common sessions."""
    import numpy as np

    from hydra_pipelines.models.registry import RegistryError

    weights = {spec.id: spec.capital_weight for spec in desk.strategies}
    histories = []
    for model in champions:
        assert model.ref is not None
        try:
            history = desk.registry.load_reference(model.ref).history
        except RegistryError:
            return np.empty(0)
        if history is None:
            return np.empty(0)
        histories.append((weights[model.strategy_id], history))
    first = max(history.return_sessions[0] for _, history in histories)
    last = min(history.return_sessions[-1] for _, history in histories)
    total = 0.0
    for weight, history in histories:
        days = history.return_sessions
        total = total + weight * history.returns[(days >= first) & (days <= last)]
    return np.asarray(total)


def _store(
    desk: Desk,
    session: date,
    run_id: str | None,
    found: Mapping[str, tuple[StrategyModel, ModelDrift]],
    desk_checks: Sequence[Check],
    failures: Mapping[str, str],
) -> DriftRun:
    models, checks = [], []
    for name, (model, one) in found.items():
        who = {"strategy_id": name, "model_version": model.champion}
        models.append(
            {
                **who,
                "state": one.state,
                "inputs": one.inputs.value,
                "inputs_level": one.inputs.level,
                "outcomes": one.outcomes.value,
                "outcomes_level": one.outcomes.level,
                "why": one.why,
                "rolled_back_to": None,
                "details": {
                    "inputs_months": one.inputs.months,
                    "outcomes_months": one.outcomes.months,
                },
            }
        )
        checks += [{**who, **check.record()} for check in one.checks]
    of_the_desk = {"strategy_id": None, "model_version": None}
    checks += [{**of_the_desk, **check.record()} for check in desk_checks]
    drifted = [row for row in models if row["state"] == "drift_detected"]
    judged = [row for row in models if row["state"] != "not_enough_data"]
    status = "ok" if judged else "no_models"
    if drifted or any(check.decisive for check in desk_checks):
        status = "drift_detected"
    with desk.ledger.transaction() as tx:
        number, new = drift.record_run(
            tx,
            {
                "session": session,
                "status": status,
                "models_checked": len(judged),
                "models_drifted": len(drifted),
                "failures": failures,
                "run_id": run_id,
            },
            models,
            checks,
        )
        if new and status == "drift_detected":
            _log(tx, session, number, drifted, checks, run_id)
    return DriftRun(
        number, session, status, tuple(models), tuple(checks), dict(failures), {}, not new
    )


def _log(
    tx: Transaction,
    session: date,
    number: int,
    drifted: Sequence[Mapping[str, Any]],
    checks: Sequence[Mapping[str, Any]],
    run_id: str | None,
) -> None:
    """One event of the audit trail per model that drifted, or for the desk as a whole."""
    for row in drifted or [{"strategy_id": None, "model_version": None, "why": "execution"}]:
        name = row["strategy_id"]
        audit.log(
            tx,
            AuditEvent.DRIFT_DETECTED,
            {
                "session": session,
                "drift_run": number,
                "model_version": row["model_version"],
                "why": row["why"],
                "checks": [
                    {key: check[key] for key in ("family", "detector", "subject", "value")}
                    for check in checks
                    if check["decisive"] and check["strategy_id"] == name
                ],
            },
            strategy_id=name,
            run_id=run_id,
        )


def _tell(desk: Desk, run: DriftRun) -> None:
    """Tell a person of drift, and of models that could not be checked."""
    if run.status == "drift_detected":
        lines = [
            f"{row['strategy_id']}, version {row['model_version']}: {row['why']}."
            for row in run.drifted
        ]
        lines += [
            f"The desk: {check['detector']} {check['value']:.3g}, alarm at {check['alarm_at']:.3g}."
            for check in run.checks
            if check["decisive"] and check["strategy_id"] is None
        ]
        title = f"hydra: drift in {len(run.drifted)} of {len(run.models)} models"
        if not run.drifted:
            title = "hydra: drift in execution"
        names = " ".join(f"{r['strategy_id']}:{r['model_version']}" for r in run.drifted)
        text = "\n".join([f"Session {run.session}.", *lines, "Look: hydra diagnose"])
        desk.alerts.send(AlertKind.DRIFT, f"{run.session} {names}", title, text)
    elif run.failures:
        desk.alerts.send(
            AlertKind.DRIFT,
            f"{run.session} unchecked {' '.join(sorted(run.failures))}",
            f"hydra: {len(run.failures)} drift checks could not be made",
            "\n".join(f"{name}: {why}" for name, why in run.failures.items()),
        )


def _roll_back(desk: Desk, run: DriftRun, say: Say) -> DriftRun:
    """Set each model that drifted back to `previous`, once; the reason goes with the move.

    A model that was set back stays until something is promoted: going back and forth would not
    bring it nearer to the market.
    """
    from hydra_pipelines.day.promotion import PromotionError, rollback
    from hydra_pipelines.ledger import promotions
    from hydra_pipelines.models.registry import RegistryError

    done, failures = {}, dict(run.failures)
    for row in run.drifted:
        name = row["strategy_id"]
        with desk.ledger.transaction() as tx:
            last = promotions.latest(tx).get(name, promotions.Last()).done
        if last is not None and last["kind"] == "rolled_back":
            say(f"{name}: was set back before; it waits for a promotion")
            continue
        try:
            moved = rollback(
                desk,
                name,
                actor=ACTOR,
                reason=f"drift in session {run.session}: {row['why']}",
                evidence={"drift_run": run.run_no},
            )
        except (PromotionError, RegistryError) as error:
            failures[name] = f"not rolled back: {error}"
            say(f"{name}: {failures[name]}")
            desk.alerts.send(
                AlertKind.ROLLBACK,
                f"{run.session} {name}",
                f"hydra: {name} drifted and could not be set back",
                str(error),
            )
            continue
        done[name] = moved.to_version
        say(f"{name}: set back from version {moved.from_version} to {moved.to_version}")
        with desk.ledger.transaction() as tx:
            drift.record_rollback(tx, run.run_no, name, moved.to_version)
    models = tuple({**row, "rolled_back_to": done.get(row["strategy_id"])} for row in run.models)
    return replace(run, models=models, rollbacks=done, failures=failures)

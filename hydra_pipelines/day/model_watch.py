"""After a promotion: the new version and the one before predict the same sessions, in the shadow.

Here belong what follows for proposals from a person's promotions, and the watch over what was
promoted on the agent's word, with its rollback. How two versions are compared is `agent.watch`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.champions import look_at_registry
from hydra_pipelines.day.gating import configured
from hydra_pipelines.day.promotion import PromotionError, rollback
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions, experiments, promotions

if TYPE_CHECKING:
    import numpy as np

    from hydra_pipelines.agent.watch import Comparison
    from hydra_pipelines.ledger.store import Rows, Transaction

Say = Callable[[str], None]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """What became of one watch. state: as in the table `model_watches`."""

    watch_id: str
    strategy_id: str
    version: int
    replaced_version: int
    state: str
    sentence: str
    comparison: Comparison | None = None


def watch_models(desk: Desk, session: date, say: Say = lambda _: None) -> tuple[Watched, ...]:
    """Look after what the agent proposed and what was promoted, as of a session.

    A proposal that a person has promoted is one from here on, and is watched. A version that does
    worse than the one before it is rolled back. A paused agent moves nothing and looks at nothing.
    Raises LedgerError.
    """
    if desk.control.agent_paused or not desk.ledger.path.exists():
        return ()
    with desk.ledger.transaction() as tx:
        anything = experiments.waiting(tx) or experiments.open_watches(tx)
    if not anything:
        return ()
    look_at_registry(desk, verify=False)
    settle_proposals(desk)
    with desk.ledger.transaction() as tx:
        watches = experiments.open_watches(tx)
    out = []
    for watch in watches:
        watched = _watch(desk, watch, session)
        say(f"{watch['strategy_id']}, version {watch['version']}: {watched.sentence}")
        out.append(watched)
    desk.ledger.publish()
    return tuple(out)


def settle_proposals(desk: Desk) -> None:
    """Take over into the journal what people made of the agent's proposals.

    One that was measured against a champion that is none any more says nothing of the one now.
    """
    with desk.ledger.transaction() as tx:
        for row in experiments.waiting(tx):
            move = move_to(tx, row)
            if move is not None:
                journal_promotion(tx, desk, row, move)
                continue
            moves = promotions.history(tx, row["strategy_id"], 1)
            if moves and moves[0]["to_version"] != row["champion_version"]:
                why = (
                    f"version {moves[0]['to_version']} trades now, and it was measured against "
                    f"{row['champion_version']}"
                )
                experiments.decide(tx, row, experiments.REJECTED, why)


def move_to(rows: Rows, row: Row) -> dict[str, Any] | None:
    """The promotion of an experiment's candidate, the first one; None where there was none."""
    if row["candidate_version"] is None:
        return None
    found = [
        move
        for move in promotions.history(rows, row["strategy_id"])
        if move["to_version"] == row["candidate_version"]
        and move["recorded_at"] >= row["created_at"]
    ]
    return found[-1] if found else None


def journal_promotion(tx: Transaction, desk: Desk, row: Row, move: Row) -> None:
    """Write that an experiment's candidate trades, and begin to watch it."""
    actor = move["actor"]
    experiments.decide(
        tx, row, experiments.PROMOTED, f"promoted by {actor}: {move['reason']}", actor=actor
    )
    if move["from_version"] is None:
        return
    s = desk.settings.agent
    experiments.open_watch(
        tx,
        {
            "watch_id": f"watch-{row['experiment_id']}",
            "experiment_id": row["experiment_id"],
            "strategy_id": row["strategy_id"],
            "version": row["candidate_version"],
            "replaced_version": move["from_version"],
            "promoted_by": actor,
            "first_session": max(desk.calendar.next(row["session"]), desk.next_session_due()),
            "sessions": s.watch_sessions,
            "margin": s.watch_margin,
        },
    )


def _watch(desk: Desk, watch: Row, session: date) -> Watched:
    """One watch, brought up to the session and acted on."""
    from hydra_pipelines.agent.watch import Outlook, judge
    from hydra_pipelines.features.panel import FeatureError
    from hydra_pipelines.models.evaluation import TrainingError
    from hydra_pipelines.models.registry import RegistryError, RegistryUnavailable
    from hydra_pipelines.models.strategies import StrategyError

    over = _over(desk, watch)
    if over is not None:
        return over
    try:
        comparison = shadow(desk, watch, session)
    except RegistryUnavailable as error:
        return _seen(watch, f"it can't be looked at: {error}")
    except (RegistryError, TrainingError, FeatureError, StrategyError) as error:
        return _close(desk, watch, "ended", f"the two versions can't be compared: {error}")
    if comparison is None:
        return _seen(watch, "no outcome of its predictions is known yet")
    outlook = judge(comparison, sessions=watch["sessions"], margin=watch["margin"])
    with desk.ledger.transaction() as tx:
        experiments.update_watch(
            tx, watch["watch_id"], last_session=session, figures=comparison.figures
        )
    if outlook is Outlook.KEPT:
        return _close(desk, watch, "kept", f"kept: {comparison.sentence}", comparison)
    if outlook is Outlook.TOO_EARLY:
        return _seen(watch, comparison.sentence, comparison)
    return _go_back(desk, watch, comparison)


def shadow(desk: Desk, watch: Row, session: date) -> Comparison | None:
    """Both versions over the sessions since the promotion; None where no outcome is known.

    Raises RegistryError, TrainingError, FeatureError and StrategyError.
    """
    import numpy as np

    from hydra_pipelines.agent.watch import compare
    from hydra_pipelines.models.evaluation import held

    horizon = int(_declared(desk, watch["strategy_id"]).label_horizon)
    first = watch["first_session"]
    if desk.calendar.next(first, 1 + horizon) > session:
        return None
    made = []
    for number in (watch["version"], watch["replaced_version"]):
        spec, data, scores = _predicted(desk, watch["strategy_id"], number, first, session)
        made.append((held(spec, len(data.symbols)), data, scores))
    (top, data, scores), (replaced_top, other, replaced) = made
    rows = min(len(data.sessions), len(other.sessions))
    if not rows or np.isnan(data.y[-rows:]).all():
        return None
    return compare(
        scores[-rows:],
        replaced[-rows:],
        data.y[-rows:],
        data.prices[-rows:],
        horizon=horizon,
        top=top,
        replaced_top=replaced_top,
    )


def _predicted(
    desk: Desk, strategy_id: str, number: int, first: date, last: date
) -> tuple[Any, Any, np.ndarray]:
    """Spec, data and predictions (S, N) of a version over the sessions."""
    import numpy as np

    from hydra_pipelines.features.panel import read_features
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.models.evaluation import training_data

    ref = desk.registry.version(strategy_id, number)
    with desk.ledger.transaction() as tx:
        recorded = decisions.artifact_hashes(tx).get(strategy_id, {}).get(number)
    model = desk.registry.load_inference(ref, recorded)
    spec = configured(_declared(desk, strategy_id), ref)
    data = training_data(
        spec,
        read_features(desk.features, first=first, last=last),
        bar_panel(desk.bars.view(), first=first, last=last),
        last,
    )
    complete = data.complete
    scores = np.full(data.y.shape, np.nan)
    scores[complete], _ = model.predict(data.x[complete])
    return spec, data, scores


def _declared(desk: Desk, strategy_id: str) -> Any:
    from hydra_pipelines.models.strategies import StrategyError

    for spec in desk.candidates:
        if spec.id == strategy_id:
            return spec
    raise StrategyError(strategy_id, ("id",), "is no strategy of the settings any more")


def _over(desk: Desk, watch: Row) -> Watched | None:
    """A watch whose version is champion no more, closed; None for one that goes on."""
    with desk.ledger.transaction() as tx:
        moves = promotions.history(tx, watch["strategy_id"], 1)
    last = moves[0] if moves else None
    if last is None or last["to_version"] == watch["version"]:
        return None
    back = last["kind"] == "rolled_back" or last["to_version"] == watch["replaced_version"]
    state = "rolled_back" if back else "ended"
    why = f"version {last['to_version']} trades now, by {last['actor']}: {last['reason']}"
    return _close(desk, watch, state, why, actor=last["actor"])


def _go_back(desk: Desk, watch: Row, comparison: Comparison) -> Watched:
    why = f"worse than the version before: {comparison.sentence}"
    if desk.settings.agent.autonomy == "observe":
        desk.alerts.send(
            AlertKind.DRIFT,
            watch["watch_id"],
            f"hydra: version {watch['version']} of {watch['strategy_id']} does worse",
            f"{why}. The agent only observes: hydra rollback --model {watch['strategy_id']}",
        )
        return _close(desk, watch, "ended", why, comparison)
    evidence = {
        "watch": watch["watch_id"],
        "experiment": watch["experiment_id"],
        **comparison.figures,
    }
    try:
        rollback(
            desk,
            watch["strategy_id"],
            watch["replaced_version"],
            actor="agent",
            reason=why,
            evidence=evidence,
        )
    except PromotionError as error:
        refused = _seen(watch, f"{why}; it could not be rolled back: {error}", comparison)
        return _over(desk, watch) or refused
    return _close(desk, watch, "rolled_back", why, comparison)


def _close(
    desk: Desk,
    watch: Row,
    state: str,
    why: str,
    comparison: Comparison | None = None,
    actor: str = "agent",
) -> Watched:
    with desk.ledger.transaction() as tx:
        experiments.update_watch(tx, watch["watch_id"], state=state, reason=why)
        if state == "rolled_back":
            (row,) = [
                r
                for r in experiments.of_cycle(tx, watch["experiment_id"].rpartition("-")[0])
                if r["experiment_id"] == watch["experiment_id"]
            ]
            experiments.decide(tx, row, experiments.ROLLED_BACK, why, actor=actor)
    return _seen({**watch, "state": state}, why, comparison)


def _seen(watch: Row, sentence: str, comparison: Comparison | None = None) -> Watched:
    return Watched(
        watch_id=watch["watch_id"],
        strategy_id=watch["strategy_id"],
        version=watch["version"],
        replaced_version=watch["replaced_version"],
        state=watch["state"],
        sentence=sentence,
        comparison=comparison,
    )

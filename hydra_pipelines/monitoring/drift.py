"""Whether one model has drifted, from arrays: all checks of it, and the verdict. Pure.

Here belong the checks of its inputs (features, predictions) and how inputs and outcomes come to a
verdict. Where the arrays come from, and what follows from a verdict, is the day's business.

Features are judged as the model sees them and, where it sees ranks or z-scores, as what they were
made from: a rank among the session's names lies the same whatever the market does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from hydra_pipelines.models.reference import BINS, Reference, make_reference
from hydra_pipelines.models.scores import SessionScores
from hydra_pipelines.monitoring.checks import (
    Check,
    Joint,
    State,
    Window,
    decided,
    joint,
    judge,
    not_enough,
)
from hydra_pipelines.monitoring.distributions import (
    KS_P,
    PSI_ALERT,
    PSI_WARN,
    benjamini_hochberg,
    distances,
    ks_critical,
    past_windows,
    psi_floor,
    spread,
)
from hydra_pipelines.monitoring.outcomes import concept_checks, performance_checks

PREDICTION = "prediction"
MATERIAL_D = 0.1
"""A tenth of the probability lies elsewhere: a smaller KS distance is no alarm."""
MAX_REFERENCE = 200_000
"""Values of a reference that KS takes, evenly spaced over the training sessions."""
INPUTS = ("feature", "prediction")
OUTCOMES = ("concept", "performance")


@dataclass(frozen=True)
class Observed:
    """What a model was trained on and what it is fed with now.

    sessions: datetime64[D] (S,). trained: how many of them, from the first, it learnt from.
    columns: name -> (S, N), NaN where unknown or not to be counted; may be made when asked for.
    model_features: name of a column -> the model's features made from it, itself included.
    reference: as stored with it. training_predictions: (trained, N), by the model itself.
    predictions: (L, N), as stored when they were made, of `prediction_sessions` (L,).
    """

    sessions: np.ndarray
    trained: int
    columns: Mapping[str, np.ndarray]
    model_features: Mapping[str, tuple[str, ...]]
    reference: Reference
    training_predictions: np.ndarray
    predictions: np.ndarray
    prediction_sessions: np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """What came of a model's predictions. scores: with known labels; returns, return_sessions: of
    the simulated portfolio on them; horizon: of its label, in sessions."""

    scores: SessionScores
    returns: np.ndarray
    return_sessions: np.ndarray
    horizon: int


@dataclass(frozen=True)
class Rules:
    """window: sessions that are now. share: of the months in which one joint statistic may say
    drift with nothing changed."""

    window: int
    share: float


@dataclass(frozen=True)
class ModelDrift:
    """state: `ok`, `drift_detected` or `not_enough_data`; why: in one sentence."""

    state: str
    why: str
    inputs: Joint
    outcomes: Joint
    checks: tuple[Check, ...]

    @property
    def drifted(self) -> bool:
        return self.state == "drift_detected"


NOTHING = Joint(None, None, 0)


def model_drift(seen: Observed, came: Outcomes, rules: Rules) -> ModelDrift:
    """Every check of a model, and whether it has drifted.

    It has where one of its two joint statistics is beyond its level. A group whose history is too
    short for a level decides nothing, and is named.
    """
    inputs = input_checks(seen, rules.window)
    history = seen.reference.history
    outcomes = [
        *concept_checks(came.scores, history, came.horizon),
        *performance_checks(came.scores, came.returns, came.return_sessions, history, rules.window),
    ]
    verdicts = joint(inputs, rules.share), joint(outcomes, rules.share)
    groups = [decided(checks, verdict) for checks, verdict in zip(
        (inputs, outcomes), verdicts, strict=True)]  # fmt: skip
    beyond = any(verdict.beyond for verdict in verdicts)
    state = "drift_detected" if beyond else "ok"
    if all(verdict.value is None or verdict.level is None for verdict in verdicts):
        state = "not_enough_data"
    words = [
        _words(name, verdict, checks)
        for name, verdict, checks in zip(("inputs", "outcomes"), verdicts, groups, strict=True)
        if verdict.beyond or not beyond
    ]
    return ModelDrift(state, "; ".join(words), *verdicts, (*groups[0], *groups[1]))


def not_judged(features: Sequence[str], why: str) -> ModelDrift:
    """The verdict on a model with too few predictions to be judged by."""
    subjects = [("feature", detector, name) for name in features for detector in ("psi", "ks")]
    subjects += [("prediction", detector, PREDICTION) for detector in ("psi", "ks")]
    subjects += [
        ("concept", detector, subject)
        for subject in ("residual", "rank_ic")
        for detector in ("adwin", "cusum")
    ]
    subjects += [
        ("performance", "hit_rate", "prediction"),
        ("performance", "brier", "probability_up"),
        ("performance", "rank_ic", "prediction"),
        ("performance", "rolling_sharpe", "returns"),
        ("performance", "drawdown", "returns"),
    ]
    checks = tuple(not_enough(*subject, why) for subject in subjects)
    return ModelDrift("not_enough_data", why, NOTHING, NOTHING, checks)


def _words(name: str, verdict: Joint, checks: Sequence[Check]) -> str:
    if verdict.value is None:
        return f"{name}: nothing to compare yet"
    if verdict.level is None:
        return f"{name}: {verdict.months} months of history are too few to judge by"
    if not verdict.beyond:
        return f"{name} as usual ({verdict.value:.2f} of {verdict.level:.2f})"
    worst = sorted((c for c in checks if c.decisive), key=lambda c: -(c.score or 0.0))
    named = ", ".join(f"{c.detector} of {c.subject} {c.value:.3g}" for c in worst[:3])
    more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
    return (
        f"{name} beyond what {verdict.months} months of history allow "
        f"({verdict.value:.2f} > {verdict.level:.2f}): {named}{more}"
    )


@dataclass(frozen=True)
class _Column:
    """Of a column, or of the predictions: its distances, the same of past windows, and what they
    are of. size: values of the reference that KS took; binned: those in the stored bins."""

    n: int
    size: int
    binned: int
    psi: float
    d: float
    p: float
    past_psi: np.ndarray
    past_d: np.ndarray
    days: np.ndarray


def input_checks(seen: Observed, window: int) -> list[Check]:
    """PSI and KS of every column and of the predictions, with the p-values corrected over all."""
    names = [*seen.columns, PREDICTION]
    found: dict[str, _Column] = {}

    def work(k: int) -> None:
        found[names[k]] = _column(seen, names[k], window)

    spread(work, len(names))
    p = np.array([found[name].p for name in names])
    adjusted = benjamini_hochberg(p)
    rejected = p[adjusted < KS_P]
    cut = float(rejected.max()) if len(rejected) else KS_P / max(int((~np.isnan(p)).sum()), 1)
    out: list[Check] = []
    for k, name in enumerate(names):
        one = found[name]
        family = PREDICTION if name == PREDICTION else "feature"
        ends = (one.days[0].item(), one.days[-1].item()) if len(one.days) else ()
        where = Window(one.n, *ends)
        about = {} if name == PREDICTION else {"features": list(seen.model_features[name])}
        if not one.n:
            why = "there are no values in the window"
            out += [not_enough(family, detector, name, why, where) for detector in ("psi", "ks")]
            continue
        out.append(
            judge(family, "psi", name, one.psi, one.past_psi, where, warn_at=PSI_WARN,
                  floor=psi_floor(one.n, one.binned, BINS),
                  details={**about, "alert_at": PSI_ALERT})
        )  # fmt: skip
        out.append(
            judge(family, "ks", name, one.d, one.past_d, where,
                  warn_at=ks_critical(cut, one.size, one.n), warned=bool(adjusted[k] < KS_P),
                  floor=MATERIAL_D,
                  details={**about, "p": float(p[k]), "p_adjusted": float(adjusted[k])})
        )  # fmt: skip
    return out


def _column(seen: Observed, name: str, window: int) -> _Column:
    if name == PREDICTION:
        now, days = seen.predictions[-window:], seen.prediction_sessions[-window:]
        then = seen.training_predictions
    else:
        column = seen.columns[name]
        now, days = column[-window:], seen.sessions[-window:]
        then = column[: seen.trained]
    values = then[~np.isnan(then)]
    if name in seen.reference.names:
        k = seen.reference.names.index(name)
        edges, counts = seen.reference.edges[k], seen.reference.counts[k]
    else:
        made = make_reference([name], [values])
        edges, counts = made.edges[0], made.counts[0]
    taken = values[:: -(-len(values) // MAX_REFERENCE) or 1]
    distance = distances(edges[None], counts[None], taken[:, None], now.reshape(-1, 1))
    past_psi, past_d = past_windows(then, max(len(now), 1), edges)
    return _Column(
        n=int((~np.isnan(now)).sum()),
        size=len(taken),
        binned=int(counts.sum()),
        psi=float(distance.psi[0]),
        d=float(distance.d[0]),
        p=float(distance.p[0]),
        past_psi=past_psi,
        past_d=past_d,
        days=days,
    )


def enough_predictions(
    sessions: Sequence[date] | np.ndarray, recent: Sequence[date], minimum: int
) -> str | None:
    """Why predictions made in `sessions`, one entry each, are too few to judge by; or None.

    recent: the last sessions that count.
    """
    chosen = set(recent)
    count = sum(session in chosen for session in sessions)
    if count >= minimum:
        return None
    return (
        f"{count} predictions in the {len(recent)} sessions to {recent[-1]}; "
        f"a model is judged from {minimum} on"
    )


def states(checks: Sequence[Check]) -> dict[str, int]:
    """How many checks are in each state."""
    return {state.value: sum(check.state is state for check in checks) for state in State}

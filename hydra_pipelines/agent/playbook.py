"""The playbook: which change of a strategy is worth an experiment, given what is wrong with it.

A mutation is one entry in `PLAYBOOK`: its name, the causes that it may cure with the order in which
it is tried, and a function that makes changes out of the champion's configuration. Everything is a
pure function; training and judging what comes out is not done here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hydra_pipelines.agent.diagnosis import Cause, Diagnosis
from hydra_pipelines.models.strategies import ONE_SCORE, StrategyError, StrategySpec

T = TypeVar("T")

RECENT_WINDOW = 756
"""Three years: short enough to have forgotten the regime before, long enough to learn from."""
WINDOWS = (None, 2520, 1260)
HALF_LIVES = (504.0, 1260.0)
MIN_FEATURES = 3
RULE_OF_THUMB = "momentum_12_1_z"
SHRINK_MORE = 10.0
MAX_ALPHA = 1e6
MIN_TOP, MAX_TOP = 0.05, 0.50


@dataclass(frozen=True)
class Change:
    """hypothesis: why it may help, a sentence. spec: the candidate; None where it is no model.
    difference: setting -> (before, after); made from the two configurations where not given."""

    hypothesis: str
    spec: StrategySpec | None = None
    difference: Mapping[str, tuple[Any, Any]] | None = None


Make = Callable[[StrategySpec, Diagnosis], Iterator[Change]]


@dataclass(frozen=True)
class Mutation:
    """causes: which it may cure -> when it is tried, lower first. make: changes of a strategy, the
    most promising first; make_for_desk: changes of the desk as a whole."""

    name: str
    causes: Mapping[Cause, int]
    make: Make | None = None
    make_for_desk: Callable[[Diagnosis], Iterator[Change]] | None = None


@dataclass(frozen=True)
class Proposal:
    """An experiment to be made. configuration: the candidate's, JSON; None where it is no model."""

    strategy_id: str | None
    cause: Cause
    mutation_type: str
    hypothesis: str
    difference: Mapping[str, tuple[Any, Any]]
    configuration: str | None

    @property
    def key(self) -> str:
        """The same for the same change of the same strategy."""
        return key_of(self.strategy_id, self.mutation_type, self.difference)


def key_of(
    strategy_id: str | None, mutation_type: str, difference: Mapping[str, Sequence[Any]]
) -> str:
    plain = {name: list(values) for name, values in difference.items()}
    return json.dumps([strategy_id, mutation_type, plain], sort_keys=True, default=str)


def proposals(
    diagnosis: Diagnosis, champion: StrategySpec | None, tried: Collection[str]
) -> tuple[Proposal, ...]:
    """What the playbook has for a diagnosis, the most promising first: one change of each mutation
    before the second of any.

    champion: the strategy as its champion was made; None for the desk as a whole. tried: keys of
    changes that are in their cool-down or still wait for a decision. A change that comes out as the
    champion itself, as one before it, or as a configuration that can't be is left out.
    """
    fitting = sorted(
        (m for m in PLAYBOOK if diagnosis.cause in m.causes),
        key=lambda m: m.causes[diagnosis.cause],
    )
    made = [[(m.name, c) for c in _changes(m, champion, diagnosis)] for m in fitting]
    out: dict[str, Proposal] = {}
    seen = {champion.configuration} if champion else set()
    for name, change in _in_turn(made):
        configuration = change.spec.configuration if change.spec else None
        if configuration in seen:
            continue
        difference = change.difference
        if difference is None:
            assert champion is not None and configuration is not None
            difference = differences(champion.configuration, configuration)
        proposal = Proposal(
            strategy_id=diagnosis.strategy_id,
            cause=diagnosis.cause,
            mutation_type=name,
            hypothesis=change.hypothesis,
            difference=difference,
            configuration=configuration,
        )
        if proposal.key in tried:
            continue
        if configuration is not None:
            seen.add(configuration)
        out[proposal.key] = proposal
    return tuple(out.values())


def shared(wishes: Sequence[Sequence[Proposal]], budget: int) -> tuple[Proposal, ...]:
    """At most `budget` proposals, the first of each strategy before the second of any."""
    return tuple(_in_turn(wishes))[:budget]


def _in_turn(lists: Sequence[Sequence[T]]) -> Iterator[T]:
    """The first of each list, then the second of each, and so on."""
    for i in range(max((len(one) for one in lists), default=0)):
        yield from (one[i] for one in lists if i < len(one))


def differences(before: str, after: str) -> dict[str, tuple[Any, Any]]:
    """Setting -> (before, after) of two configurations; settings of a section by their path."""
    old, new = _flat(json.loads(before)), _flat(json.loads(after))
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    }


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for name, value in configuration.items():
        if isinstance(value, Mapping):
            out.update({f"{name}.{inner}": one for inner, one in value.items()})
        else:
            out[name] = value
    return out


def _changes(
    mutation: Mutation, champion: StrategySpec | None, diagnosis: Diagnosis
) -> Iterator[Change]:
    if diagnosis.strategy_id is None:
        if mutation.make_for_desk is not None:
            yield from mutation.make_for_desk(diagnosis)
    elif champion is not None and mutation.make is not None:
        # A configuration that this strategy can't have is no candidate.
        with suppress(StrategyError):
            yield from mutation.make(champion, diagnosis)


def _learns(spec: StrategySpec) -> bool:
    return spec.family not in ONE_SCORE


def _with(spec: StrategySpec, **parameters: Any) -> StrategySpec:
    """The spec with parameters changed; None takes one away."""
    mine = {**spec.model_parameters, **parameters}
    return replace(spec, parameters={n: v for n, v in mine.items() if v is not None})


def _recent_window(spec: StrategySpec, _: Diagnosis) -> Iterator[Change]:
    if _learns(spec):
        yield Change(
            f"What held before the last {RECENT_WINDOW} sessions holds no more: learn from these "
            "only",
            _with(spec, window_sessions=RECENT_WINDOW, half_life_sessions=None),
        )


def _other_window(spec: StrategySpec, _: Diagnosis) -> Iterator[Change]:
    if not _learns(spec):
        return
    for window in WINDOWS:
        now = spec.model_parameters.get("window_sessions")
        if window != now:
            what = "all of the history" if window is None else f"the last {window} sessions"
            longer = window is None or (now is not None and window > now)
            why = "So short a past has too few regimes in it" if longer else "The past is too long"
            hypothesis = f"{why}: learn from {what}"
            yield Change(hypothesis, _with(spec, window_sessions=window))


def _sample_weights(spec: StrategySpec, _: Diagnosis) -> Iterator[Change]:
    if _learns(spec):
        for half_life in HALF_LIVES:
            yield Change(
                f"The relation moves slowly: a session {half_life:g} sessions older weighs half as "
                "much",
                _with(spec, half_life_sessions=half_life),
            )


def _drop_features(spec: StrategySpec, diagnosis: Diagnosis) -> Iterator[Change]:
    gone = [name for name in spec.features if name in diagnosis.drifting]
    left = tuple(name for name in spec.features if name not in gone)
    if _learns(spec) and gone and len(left) >= MIN_FEATURES:
        yield Change(
            f"{', '.join(gone)} lie where nothing was learnt: do without",
            replace(spec, features=left),
        )


def _regularise(spec: StrategySpec, _: Diagnosis) -> Iterator[Change]:
    parameters = spec.model_parameters
    why = "The model fits the noise of the past"
    if spec.family == "ridge" and parameters["alpha"] < MAX_ALPHA:
        alpha = min(parameters["alpha"] * SHRINK_MORE, MAX_ALPHA)
        yield Change(f"{why}: shrink its coefficients more", _with(spec, alpha=alpha))
    elif spec.family == "hist_gradient_boosting":
        yield Change(
            f"{why}: smaller steps and larger leaves",
            _with(
                spec,
                learning_rate=parameters["learning_rate"] / 2,
                min_samples_leaf=parameters["min_samples_leaf"] * 2,
                l2_regularization=max(parameters["l2_regularization"], 1.0) * SHRINK_MORE,
            ),
        )


def _other_family(spec: StrategySpec, _: Diagnosis) -> Iterator[Change]:
    if not _learns(spec):
        return
    yield Change(
        "What is learnt is worse than a rule of thumb in such a market: twelve-minus-one-month "
        "momentum",
        replace(spec, family="momentum", features=(RULE_OF_THUMB,), parameters={}),
    )
    if spec.family == "ridge":
        why, family = "The relation is not linear any more: boosted trees", "hist_gradient_boosting"
    else:
        why, family = "Trees fit what does not come back: a linear model", "ridge"
    yield Change(why, replace(spec, family=family, parameters={}))


def _other_threshold(spec: StrategySpec, diagnosis: Diagnosis) -> Iterator[Change]:
    if spec.signal.method != "rank" or not 0 < spec.signal.top_fraction <= 1:
        return
    now = spec.signal.top_fraction
    wider, narrower = min(now * 2, MAX_TOP), max(now / 2, MIN_TOP)
    if wider > now:
        yield Change(
            f"The order at the top is noise: hold the best {wider:.0%} of the names",
            replace(spec, signal=replace(spec.signal, top_fraction=wider)),
        )
    if narrower < now and diagnosis.cause is not Cause.REGIME_CHANGE:
        yield Change(
            f"Only the extremes are right still: hold the best {narrower:.0%} of the names",
            replace(spec, signal=replace(spec.signal, top_fraction=narrower)),
        )


def _slippage_pessimism(_: Diagnosis) -> Iterator[Change]:
    yield Change(
        "Orders cost other than predicted: re-estimate the slippage model from the fills",
        difference={"slippage": ("as in force", "calibrated on the fills")},
    )


PLAYBOOK: tuple[Mutation, ...] = (
    Mutation(
        "recent_window",
        {Cause.REGIME_CHANGE: 40, Cause.CONCEPT_DRIFT: 10, Cause.COVARIATE_SHIFT: 40},
        _recent_window,
    ),
    Mutation(
        "other_window",
        {Cause.REGIME_CHANGE: 10, Cause.CONCEPT_DRIFT: 20, Cause.COVARIATE_SHIFT: 20},
        _other_window,
    ),
    Mutation(
        "sample_weights",
        {Cause.REGIME_CHANGE: 50, Cause.CONCEPT_DRIFT: 30, Cause.COVARIATE_SHIFT: 50},
        _sample_weights,
    ),
    Mutation(
        "drop_drifting_features",
        {Cause.COVARIATE_SHIFT: 10, Cause.REGIME_CHANGE: 15, Cause.CONCEPT_DRIFT: 50},
        _drop_features,
    ),
    Mutation(
        "more_regularisation",
        {Cause.REGIME_CHANGE: 20, Cause.CONCEPT_DRIFT: 40, Cause.COVARIATE_SHIFT: 30},
        _regularise,
    ),
    Mutation(
        "other_family",
        {Cause.REGIME_CHANGE: 30, Cause.CONCEPT_DRIFT: 35, Cause.COVARIATE_SHIFT: 60},
        _other_family,
    ),
    Mutation(
        "other_threshold",
        {Cause.REGIME_CHANGE: 60, Cause.CONCEPT_DRIFT: 60},
        _other_threshold,
    ),
    Mutation("slippage_pessimism", {Cause.EXECUTION: 10}, make_for_desk=_slippage_pessimism),
)

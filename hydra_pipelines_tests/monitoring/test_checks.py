"""Alarm levels of their own history: what they promise, and what a check says by them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import detectors
from hydra_pipelines.monitoring.checks import (
    MIN_MONTHS,
    MONTH,
    Joint,
    State,
    Window,
    decided,
    joint,
    judge,
    month_level,
    not_enough,
)

HISTORY = np.random.default_rng(0).normal(size=40 * MONTH)
WINDOW = Window(100)


def of(value: float, past: np.ndarray = HISTORY, **options: object) -> State:
    options = {"warn_at": 1.0, **options}
    return judge("feature", "psi", "x", value, past, WINDOW, **options).state  # type: ignore[arg-type]


def test_beyond_the_textbook_it_warns_and_beyond_its_own_history_it_alarms() -> None:
    level = float(np.quantile(HISTORY, 0.975))
    assert of(0.9) is State.OK
    assert of(1.1) is State.WARNING and of(level - 0.01) is State.WARNING
    assert of(level + 0.01) is State.ALARM
    # An alarm is beyond both, however rare the value is.
    assert of(2.5, warn_at=3.0) is State.OK and of(3.1, warn_at=3.0) is State.ALARM
    assert of(2.5, floor=2.6) is State.WARNING
    assert of(1.5, warned=False) is State.OK


def test_where_low_is_bad_everything_is_turned() -> None:
    check = judge("performance", "rank_ic", "x", -2.5, HISTORY, WINDOW, warn_at=0, low_is_bad=True)
    assert check.breached and check.alarm_at == pytest.approx(np.quantile(HISTORY, 0.025))
    assert check.score is not None and check.score > 1
    assert of(0.5, warn_at=0.0, low_is_bad=True) is State.OK
    assert of(-0.5, warn_at=0.0, low_is_bad=True) is State.WARNING


def test_without_enough_history_it_warns_and_never_alarms() -> None:
    short = HISTORY[: MIN_MONTHS * MONTH - 1]
    check = judge("feature", "psi", "x", 99.0, short, WINDOW, warn_at=1.0)
    assert check.state is State.WARNING and check.alarm_at is None and check.score is None
    assert not check.breached


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_not_enough_data(value: float) -> None:
    assert of(value) is State.NOT_ENOUGH_DATA
    assert not_enough("feature", "ks", "x", "why").record()["details"]["why"] == "why"


def test_a_level_is_passed_in_its_share_of_months() -> None:
    rng = np.random.default_rng(5)
    beyond = []
    for _ in range(400):
        path = rng.normal(size=61 * MONTH) + 3.0
        level, months = month_level(path[:-MONTH], 0.05)
        assert months == 60 and level is not None
        beyond.append(path[-MONTH:].max() > level)
    assert 0.02 < np.mean(beyond) <= 0.07
    # Never below a single check's alarm level, and none without a history.
    assert month_level(np.zeros(60 * MONTH), 0.05)[0] == 1.0
    assert month_level(np.zeros(MIN_MONTHS * MONTH - 1), 0.05) == (None, MIN_MONTHS - 1)


def test_the_largest_score_decides_and_is_named() -> None:
    rng = np.random.default_rng(6)
    checks = [
        judge("feature", "psi", f"x{k}", value, rng.normal(size=80 * MONTH), WINDOW, warn_at=1.0)
        for k, value in enumerate([0.0, 9.0, -1.0])
    ]
    verdict = joint([*checks, not_enough("feature", "psi", "y", "empty")], 0.05)
    assert verdict.beyond and verdict.months == 80
    assert [check.subject for check in decided(checks, verdict) if check.decisive] == ["x1"]
    quiet = joint([checks[0], checks[2]], 0.05)
    assert not quiet.beyond and not any(c.decisive for c in decided(checks[::2], quiet))
    assert joint([], 0.05) == Joint(None, None, 0)


def test_on_stationary_streams_alarms_are_below_five_percent_of_months() -> None:
    """AR(0.97), watched every session for ten years, four times over."""
    repeats = 4
    months = {
        name: detectors.false_alarms(name, "AR(0.97)", repeats)[1]
        for name in ("PSI, own level", "KS, own level", "KS, p below 0.05", "PSI above 0.25")
    }
    assert months["PSI, own level"] < 0.05 and months["KS, own level"] < 0.05
    assert months["KS, p below 0.05"] > 0.8 and months["PSI above 0.25"] > 0.5


def test_a_run_over_many_features_alarms_in_less_than_five_percent_of_months() -> None:
    """Ten features, PSI and KS of each, every session: one by one they would alarm all the time."""
    joined = detectors.false_alarms("ten features, joint level", "AR(0.97)", 2)[1]
    singly = detectors.false_alarms("ten features, any own level", "AR(0.97)", 2)[1]
    assert joined < 0.05 < 0.2 < singly
    assert detectors.delay("ten features, joint level", "mean", 1) <= 40

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hydra_pipelines.models.validation import ic_figures, rank_ic, walk_forward

SESSIONS = np.array(
    [day for i in range(6000) if (day := date(2001, 3, 5) + timedelta(days=i)).weekday() < 5],
    "datetime64[D]",
)


@given(
    count=st.integers(300, len(SESSIONS)),
    horizon=st.integers(1, 63),
    embargo=st.none() | st.integers(0, 80),
)
def test_no_training_label_reaches_into_the_test(count, horizon, embargo):
    sessions = SESSIONS[:count]
    folds = walk_forward(sessions, horizon, embargo=embargo, min_train=252)
    kept_off = horizon if embargo is None else embargo
    for fold in folds:
        last_label_ends = fold.train_stop - 1 + 1 + horizon
        assert last_label_ends == fold.test_start - 1 - kept_off
        assert fold.train_stop >= 252
        tested = sessions[fold.test_start : fold.test_stop].astype("datetime64[Y]")
        assert len(tested) and (tested.astype(str) == fold.name).all()
    for before, after in pairwise(folds):
        assert before.test_stop == after.test_start
    if folds:
        assert folds[-1].test_stop == count


def test_years_with_too_little_before_them_are_not_tested():
    folds = walk_forward(SESSIONS, 5)
    # 1,260 training sessions and a gap of 11 before 1 January 2007: 2001-03-05 on gives 1,515.
    assert folds[0].name == "2007"
    assert walk_forward(SESSIONS[:1400], 5) == ()


def test_rank_ic_is_spearmans_correlation():
    rng = np.random.default_rng(0)
    predictions, labels = rng.normal(size=(50, 12)), rng.normal(size=(50, 12))
    predictions[:, 3] = predictions[:, 4]
    predictions[7, 2] = labels[9, 5] = np.nan
    got = rank_ic(predictions, labels)
    for t in range(50):
        known = ~np.isnan(predictions[t]) & ~np.isnan(labels[t])
        expected = spearmanr(predictions[t][known], labels[t][known]).statistic
        assert got[t] == pytest.approx(expected, abs=1e-12)


def test_rank_ic_is_unknown_without_spread_or_symbols():
    values = np.arange(12.0).reshape(2, 6)
    assert np.isnan(rank_ic(np.zeros((2, 6)), values)).all()
    few = np.where(np.arange(6) < 4, values, np.nan)
    assert np.isnan(rank_ic(few, values)).all()
    assert rank_ic(values, values).tolist() == pytest.approx([1.0, 1.0])


def test_figures_of_the_ic():
    figures = ic_figures(np.array([0.1, np.nan, -0.1, 0.3]))
    assert figures["rank_ic"] == pytest.approx(0.1)
    assert figures["icir"] == pytest.approx(0.1 / np.std([0.1, -0.1, 0.3], ddof=1))
    assert figures["hit_rate"] == pytest.approx(2 / 3)
    assert figures["sessions"] == 3
    none = ic_figures(np.array([np.nan]))
    assert none["sessions"] == 0 and np.isnan(none["rank_ic"])

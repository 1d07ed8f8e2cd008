"""Calibrations of the slippage predictor: appended, undone by a row, never changed."""

from __future__ import annotations

from typing import Any

import pytest

from hydra_pipelines.ledger import calibrations
from hydra_pipelines.ledger.store import Ledger, Transaction
from hydra_pipelines_tests.ledger.builders import SESSION

SETTINGS = {"half_spread_bps": 2.0, "y": 0.7}
OTHERS = {"half_spread_bps": 2.0, "y": 0.8}


def calibration(y: float, **change: Any) -> dict[str, Any]:
    row = {
        "settings": SETTINGS,
        "before": SETTINGS,
        "after": {"half_spread_bps": 3.0, "y": y, "by_algo": {"patience": -1.5}},
        "first_session": SESSION,
        "last_session": SESSION,
        "fills": 30,
        "orders": 25,
        "relative_bias_before": 0.4,
        "relative_bias_after": 0.01,
        "notes": ["y: moved to its bound"],
        "actor": "user:x",
        "reason": "a test",
        "run_id": None,
    }
    return {**row, **change}


def in_force(tx: Transaction, settings: dict[str, Any] = SETTINGS) -> float | None:
    found = calibrations.in_force(tx, settings)
    return found["after"]["y"] if found else None


def undo(tx: Transaction) -> Any:
    return calibrations.undo(tx, SETTINGS, actor="user:y", reason="worse")


def test_the_latest_is_in_force_and_reads_as_it_was_written(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        assert in_force(tx) is None
        assert calibrations.record(tx, calibration(0.9)) == 1
        assert calibrations.record(tx, calibration(1.1)) == 2
    ledger.publish()
    with ledger.snapshot() as rows:
        found = calibrations.in_force(rows, SETTINGS)
        history = calibrations.history(rows)
    assert found is not None and found["id"] == 2 and found["undone"] is False
    written = calibration(1.1)
    assert {name: found[name] for name in written} == written
    assert [row["id"] for row in history] == [2, 1]


def test_undoing_goes_back_one_at_a_time_and_forgets_nothing(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        for y in (0.9, 1.1):
            calibrations.record(tx, calibration(y))
        assert undo(tx)["after"]["y"] == 1.1 and in_force(tx) == 0.9
        calibrations.record(tx, calibration(1.3))
        assert in_force(tx) == 1.3
        assert [undo(tx)["after"]["y"] for _ in range(2)] == [1.3, 0.9]
        assert in_force(tx) is None and undo(tx) is None
        history = calibrations.history(tx)
    assert [(row["id"], row["undoes"], row["undone"]) for row in history] == [
        (6, 1, False),
        (5, 4, False),
        (4, None, True),
        (3, 2, False),
        (2, None, True),
        (1, None, True),
    ]
    assert history[0]["actor"] == "user:y" and history[0]["reason"] == "worse"


def test_what_a_person_sets_afterwards_wins(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        calibrations.record(tx, calibration(0.9))
        assert in_force(tx, OTHERS) is None, "made under other settings"
        assert calibrations.undo(tx, OTHERS, actor="user:y", reason="none") is None
        calibrations.record(tx, calibration(1.2, settings=OTHERS))
        assert (in_force(tx, OTHERS), in_force(tx)) == (1.2, 0.9)


def test_a_calibration_that_fails_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.transaction() as tx:
        calibrations.record(tx, calibration(0.9))
        raise RuntimeError
    with ledger.transaction() as tx:
        assert calibrations.history(tx) == []

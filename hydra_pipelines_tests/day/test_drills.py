"""The drills on market data, and what all drills share. Those that trade are in `scenarios`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.day import drills
from hydra_pipelines.day.drills import bad_data, drift, rig
from hydra_pipelines.day.drills.markets import Damage, Damaged, Drifted
from hydra_pipelines.day.drills.rig import settings_of_a_drill
from hydra_pipelines.day.healing import Healed
from hydra_pipelines.desk import Desk
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import OK, CommandLine

SESSION = date(2020, 1, 6)
WHO = "user:ann"


class Source:
    """Three names over a year, with opens and volumes; the third is listed late."""

    name, adjusted_only = "tests", False

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        days = np.arange("2019-06-03", "2020-06-03", dtype="datetime64[D]")
        close = 50 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (len(days), 3)), 0))
        close[:40, 2] = np.nan
        fields = {
            "open": close * 0.99, "close": close, "adj_close": close / 2,
            "volume": np.full(close.shape, 1e6),
        }  # fmt: skip
        panel = BarPanel(days, ("A", "B", "C"), fields)
        panel = panel if last is None else panel.up_to(last)
        start = 0 if first is None else int(np.searchsorted(panel.sessions, np.datetime64(first)))
        return BarPanel(
            panel.sessions[start:], panel.symbols, {n: v[start:] for n, v in panel.fields.items()}
        )


def returns(panel: BarPanel, field: str) -> np.ndarray:
    return panel.fields[field][1:] / panel.fields[field][:-1] - 1


def test_a_drifted_market_is_the_same_until_then_and_turned_round_after() -> None:
    plain, other = Source().read(), Drifted(Source(), SESSION, 3.0, 0.01).read()
    after = plain.sessions[1:] > np.datetime64(SESSION)
    for field in ("open", "close", "adj_close"):
        np.testing.assert_array_equal(
            other.fields[field][:-1][~after], plain.fields[field][:-1][~after]
        )
    before, now = returns(plain, "adj_close")[after], returns(other, "adj_close")[after]
    wanted = 3.0 * (before.mean(axis=1, keepdims=True) - before) - 0.01
    np.testing.assert_allclose(now, np.clip(wanted, -0.25, 0.25), atol=1e-12)
    known = ~np.isnan(plain.fields["close"])
    np.testing.assert_allclose((other.fields["open"] / other.fields["close"])[known], 0.99)
    np.testing.assert_array_equal(other.fields["volume"], plain.fields["volume"])


def test_a_changed_market_is_the_same_however_it_is_read() -> None:
    for source in (Drifted(Source(), SESSION), Damaged(Source(), Damage("B", SESSION, 100.0))):
        whole = source.read()
        part = source.read(date(2020, 1, 2), date(2020, 2, 3))
        rows = np.isin(whole.sessions, part.sessions)
        assert 20 < len(part.sessions) < 40
        for name, values in part.fields.items():
            np.testing.assert_array_equal(values, whole.fields[name][rows])


def test_a_damaged_price_is_one_until_it_is_mended() -> None:
    source = Damaged(Source(), Damage("B", SESSION, 100.0))
    plain = Source().read().fields["close"]
    wrong = source.read().fields["close"] != plain
    assert wrong[~np.isnan(plain)].sum() == 1
    source.mend()
    np.testing.assert_array_equal(source.read().fields["close"], plain)


def test_a_drill_trades_on_paper_at_its_own_venue_whatever_the_desk_does(tmp_path: Path) -> None:
    real = load_settings(
        data_dir=tmp_path / "real",
        broker={"venue": "ibkr", "account": "DU7", "client_id": 5},
        market={"source": "ibkr"},
        risk={"daily_loss": 0.03},
        alerts={"urls": ["json://localhost:1"]},
    )
    made = settings_of_a_drill(real, tmp_path / "drill")
    assert made.mode == "paper" and made.broker.venue == "embedded"
    assert made.market.source == "sample" and made.alerts.urls == ()
    assert made.data_path == tmp_path / "drill" and made.mlruns_path == tmp_path / "drill/mlruns"
    assert made.risk == real.risk and made.execution == real.execution


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk that never traded, with the quickest of the strategies deployed."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("drilled") / "my desk")
    rule = next(s for s in settings.strategies if s.family == "momentum")
    desk = Desk(settings.model_copy(update={"strategies": (rule,)}))
    desk.settings.data_path.mkdir()
    return desk


def kept(desk: Desk) -> list[dict[str, Any]]:
    """What the desk's own journal has of drills."""
    return [dict(e.details) for e in desk.control.journal() if e.event == "drill"]


def test_damaged_data_stops_the_day_and_the_agent(tmp_path: Path) -> None:
    """By the command, on a desk that never ran."""
    hydra = CommandLine(tmp_path / "my desk")
    done = hydra.run("drill", "bad-data", "--json")
    assert done.returncode == OK, done.stderr
    told = json.loads(done.stdout)
    assert told["passed"] and told["fault"] == "bad-data"
    assert {step["phase"] for step in told["steps"]} == {
        "prepared", "injected", "detected", "reacted", "recovered",
    }  # fmt: skip
    assert "detected   the day stops at its bars" in done.stderr
    (entry,) = Control(hydra.folder / "control.sqlite").journal()
    assert entry.event == "drill" and entry.details["passed"] is True
    assert entry.details["steps"] == told["steps"]
    left = {path.name.partition("-")[0] for path in hydra.folder.iterdir()}
    assert left == {"control.sqlite", "drills"}, "nothing else of the desk was made"


def test_an_agent_that_learns_from_damaged_data_fails_the_drill(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heal(_: Desk, session: date, run_id: str) -> Healed:
        return Healed("c", session, "three experiments", experiments=({}, {}, {}))

    monkeypatch.setattr(bad_data, "heal", heal)
    report = drills.drill(desk, drills.Fault.BAD_DATA, WHO)
    assert not report.passed and "the agent did not refuse: three experiments" in report.why
    assert kept(desk)[-1]["fault"] == "bad-data" and kept(desk)[-1]["passed"] is False


def test_another_market_is_detected_diagnosed_and_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form, with one strategy and one experiment; `hydra drill drift` is the long one."""
    monkeypatch.setattr(drift, "BUDGET", 1)
    report = drills.drill(desk, drills.Fault.DRIFT, WHO)
    assert report.passed, report.why
    said = " | ".join(step.text for step in report.steps)
    assert "drift_detected: HYP-2026-002: outcomes beyond" in said
    assert "diagnosed: HYP-2026-002: concept_drift" in said
    assert "1 experiments were measured and decided on" in said
    assert kept(desk)[-1]["why"].startswith("the cycle ended: ")


def test_a_drill_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_pipelines.ledger.store import LedgerBusy

    monkeypatch.setattr(rig, "LOCK_S", 0.1)
    with rig.scratch_desk(desk), pytest.raises(LedgerBusy, match="a drill is held by"):
        drills.drill(desk, drills.Fault.BREAKER, WHO)


def test_what_a_killed_drill_left_is_cleared_by_the_next(desk: Desk) -> None:
    left = desk.settings.data_path / "drills" / "drill-killed"
    left.mkdir(parents=True)
    (left / "hydra.duckdb").write_text("x")
    with rig.scratch_desk(desk) as scratch:
        assert not left.exists() and scratch.settings.data_path.parent == left.parent
    assert not scratch.settings.data_path.exists()


def test_a_limit_that_no_drill_can_reach_is_refused(desk: Desk) -> None:
    before = len(kept(desk))
    risk = desk.settings.risk.model_copy(update={"daily_loss": 0.9})
    other = Desk(desk.settings.model_copy(update={"risk": risk}))
    with pytest.raises(drills.DrillRefused, match=r"risk\.daily_loss is 90"):
        drills.drill(other, drills.Fault.BREAKER, WHO)
    assert len(kept(desk)) == before, "what was not held is no evidence"


def test_a_report_says_what_was_wrong() -> None:
    good = drills.Step(drills.Phase.CHECKED, "the books agree")
    report = drills.DrillReport(drills.Fault.BREAKER, "here", (good,), 1.0)
    assert report.passed and report.why == "the books agree"
    bad = replace(good, text="it did not trip", ok=False)
    report = replace(report, steps=(bad, good))
    assert not report.passed and report.why == "it did not trip"
    assert not replace(report, steps=()).passed, "no step is no evidence"

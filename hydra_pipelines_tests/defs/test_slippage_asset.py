"""The asset `slippage_reconciliation`: figures, picture and checks, of few fills and of enough."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest

from hydra_pipelines import day
from hydra_pipelines.defs.assets.slippage import slippage_reconciliation
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.monitoring.journal import predicted_terms, write_fills

SVG = "{http://www.w3.org/2000/svg}"
PARTITIONS = dg.StaticPartitionsDefinition(["2019-01-02"])

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(load_settings(data_dir=tmp_path / "my desk"))


def trade(desk: Desk, n: int, dearer: float) -> None:
    """Orders that cost so many times what was predicted of them."""
    model = desk.slippage
    with desk.ledger.transaction() as tx:
        for i in range(n):
            terms = predicted_terms(model, 400 * (1 + i % 10), 2.0, "patience")
            predicted = terms.pop("predicted_slippage_bps")
            write_fills(tx, [(predicted, dearer * predicted)], routing="patience", **terms)
    desk.ledger.publish()


def made(desk: Desk) -> tuple[Mapping[str, dg.MetadataValue], dict[str, dg.AssetCheckEvaluation]]:
    """The metadata, and the checks by their names."""
    # Executions stand before it in the graph, and are no part of this.
    executions = dg.AssetSpec("executions", partitions_def=PARTITIONS)
    result = dg.materialize(
        [slippage_reconciliation(PARTITIONS), executions],
        partition_key="2019-01-02",
        resources={"desk": DeskResource.of(desk.settings)},
    )
    (event,) = result.get_asset_materialization_events()
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(checks) == {"model_calibrated", "fills_as_predicted"}
    assert all(check.severity is dg.AssetCheckSeverity.WARN for check in checks.values())
    return event.materialization.metadata, checks


def lines(value: Any) -> dict[str, Mapping[str, Any]]:
    return {record.data["name"]: record.data for record in value.records}


def test_before_the_first_cycle_there_is_nothing_to_compare(desk: Desk) -> None:
    metadata, checks = made(desk)
    assert metadata["fills"].value == 0
    assert {check.passed for check in checks.values()} == {True}
    assert {check.description for check in checks.values()} == {"not enough fills: none yet"}
    assert not desk.ledger.path.exists()


def test_nineteen_fills_pass_and_are_said_to_be_too_few(desk: Desk) -> None:
    trade(desk, 19, dearer=9.0)
    metadata, checks = made(desk)
    assert metadata["fills"].value == 19
    for check in checks.values():
        assert check.passed and check.description == "not enough fills: 19 of 20"
    assert lines(metadata["reconciliation"])["orders"]["bias"] is None


def test_fills_that_cost_far_more_fail_both_checks_until_the_model_is_calibrated(
    desk: Desk,
) -> None:
    trade(desk, 20, dearer=1.6)
    metadata, checks = made(desk)
    whole = lines(metadata["reconciliation"])["orders"]
    assert whole["n"] == 20
    assert whole["pessimism_multiplier"] == pytest.approx(1.6)
    assert whole["colour"] == "red"
    assert not checks["model_calibrated"].passed and not checks["fills_as_predicted"].passed
    text = "fills are significantly worse than the model says"
    assert checks["fills_as_predicted"].description == text
    assert checks["model_calibrated"].description == (
        text + "; `hydra calibrate-slippage` re-estimates it from the fills"
    )
    day.calibrate_slippage(desk, actor="user:x", reason="a test")
    trade(desk, 20, dearer=1.0)
    metadata, checks = made(desk)
    in_force = lines(metadata["reconciliation"])["orders predicted by the model in force"]
    assert (in_force["n"], in_force["colour"]) == (20, "green")
    assert all(check.passed for check in checks.values())
    assert checks["model_calibrated"].description == "the model is calibrated"
    assert metadata["model"].value["y"] == pytest.approx(0.7 * 1.6)


def test_a_model_that_is_off_the_other_way_fails_one_check(desk: Desk) -> None:
    trade(desk, 20, dearer=0.4)
    _, checks = made(desk)
    assert not checks["model_calibrated"].passed
    assert checks["fills_as_predicted"].passed


def test_tables_and_a_picture_of_every_order(desk: Desk) -> None:
    trade(desk, 25, dearer=1.1)
    metadata, _ = made(desk)
    assert set(lines(metadata["by_algo"])) == {"patience"}
    assert lines(metadata["by_side"])["BUY"]["n"] == 25
    assert lines(metadata["by_hour"])["10"]["n"] == 25
    assert lines(metadata["by_symbol"])["AAPL"]["n"] == 25
    assert (metadata["first_session"].value, metadata["last_session"].value) == (
        "2019-01-03",
        "2019-01-27",
    )
    text = metadata["scatter"].value
    assert text.startswith("![Predicted against actual slippage of each order](data:image/svg+xml")
    svg = ElementTree.fromstring(base64.b64decode(text.split("base64,")[1][:-1]))
    dots = svg.findall(f"{SVG}circle")
    assert len(dots) == 25
    assert len({dot.get("cx") for dot in dots}) == 10, "as many predictions as sizes of orders"
    across, up = (
        sorted(
            {(float(dot.get("cx")), -float(dot.get("cy"))) for dot in dots}, key=lambda at: at[i]
        )
        for i in (0, 1)
    )
    assert across == up, "what was predicted to cost more stands to the right, and cost more: up"

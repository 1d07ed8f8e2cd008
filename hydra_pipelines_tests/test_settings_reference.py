"""docs/settings.md is what the settings are, and each of them says what it means."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings import reference
from hydra_pipelines.settings.families import Section
from hydra_pipelines_tests.documents import ROOT


def test_the_document_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == reference.page(), "write it anew: make reference"


def test_every_setting_is_explained() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in reference.models()
        for name, field in model.model_fields.items()
        if name not in reference.explained(model) and not reference.section_of(field)
    ]
    assert silent == []


def test_a_row_holds_name_variable_default_range_and_meaning() -> None:
    page = reference.page()
    for row in (
        "| `risk.daily_loss`<br>`HYDRA_RISK__DAILY_LOSS` | `0.02` | share, 0 to 1 "
        "| Breaker: loss of the session, of its opening equity. |",
        "| `broker.port`¹ ²<br>`HYDRA_BROKER__PORT` | `4002` | whole number, 1 to 65,535 |",
        "| `alerts.urls`³<br>`HYDRA_ALERTS__URLS` | – | list of text, a secret |",
        "| `schedule.trading`²<br>`HYDRA_SCHEDULE__TRADING` | `09:35` | time of day |",
        "| `plan.min_order_usd`<br>`HYDRA_PLAN__MIN_ORDER_USD` | `100` | USD, above 0 |",
        "| `id` | has to be given | text like `HYP-2026-001` |",
    ):
        assert row in page


class Odd(Section):
    told: Annotated[int, Field(ge=1)] = 1
    """What it is, on
    two lines."""
    silent: int = 2


def test_what_is_not_explained_is_noticed() -> None:
    assert reference.explained(Odd) == {"told": "What it is, on two lines."}

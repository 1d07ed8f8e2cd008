"""`hydra paper reset`: the desk begins anew, and nothing of the old one is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import Ledger, exclusive
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import REFUSED, CommandLine, shut_down

PLAN = (
    "SELECT symbol, side, quantity, reference_price, target_weight, predicted_slippage_bps "
    "FROM plan_rows JOIN plans USING (plan_id) WHERE session = '2019-01-02' ORDER BY ALL"
)


@pytest.fixture
def hydra(tmp_path: Path) -> Iterator[CommandLine]:
    folder = tmp_path / "desk"
    folder.mkdir()
    yield CommandLine(folder)
    shut_down(folder)


def test_the_old_ledger_is_kept_and_the_first_cycle_is_the_first_again(
    traded_desk: TradedDesk, tmp_path: Path
) -> None:
    hydra = CommandLine(tmp_path / "desk")
    # The venue of the desk that is copied may be at work.
    ignored = shutil.ignore_patterns("gateway.json", "*.lock", "*.wanted")
    shutil.copytree(traded_desk.hydra.folder, hydra.folder, ignore=ignored)
    try:
        _start_over(hydra)
    finally:
        shut_down(hydra.folder)


def _start_over(hydra: CommandLine) -> None:
    settings = load_settings(data_dir=hydra.folder)
    before, control = _rows(settings.ledger_path), Control(settings.control_path)
    assert before
    control.halt("for the night", "user:test")

    done = hydra.json("paper", "reset", "--yes")

    aside = Path(done["aside"])
    assert aside.parent == hydra.folder and aside.name.startswith("before-reset-")
    assert {"hydra.duckdb", "paper", "control.sqlite", "mlflow.db", "artifacts"} <= {
        path.name for path in aside.iterdir()
    }
    assert _rows(aside / "hydra.duckdb") == before
    assert not settings.ledger_path.exists() and not settings.venue_path.exists()
    assert hydra.json("status")["last_cycle"] is None
    # What stops trading outlives it.
    assert Control(settings.control_path).kill_switch
    assert hydra.run("resume-trading", "--agent", "--yes").returncode == 0

    assert hydra.run("cycle", "--json").returncode == 0
    assert _rows(settings.ledger_path) == before
    desk = Desk(settings)
    assert desk.next_session_due() == desk.calendar.next(settings.embedded.first_session)
    for name in (spec.id for spec in desk.strategies):
        champion = desk.registry.champion(name)
        assert champion is not None
        assert champion.as_of <= settings.embedded.first_session.isoformat()


def test_without_a_persons_word_nothing_is_done(hydra: CommandLine) -> None:
    with Ledger(hydra.folder / "hydra.duckdb").transaction():
        pass
    done = hydra.run("paper", "reset")
    assert done.returncode == REFUSED and "--yes" in done.stderr
    assert (hydra.folder / "hydra.duckdb").exists()


@pytest.mark.parametrize(
    ("lock", "what"),
    [
        ("replay.lock", "the replay of this desk"),
        ("broker.lock", "the connection to the broker"),
        ("hydra.lock", "the ledger"),
    ],
)
def test_refused_while_a_run_works(hydra: CommandLine, lock: str, what: str) -> None:
    ledger = hydra.folder / "hydra.duckdb"
    with Ledger(ledger).transaction():
        pass
    with exclusive(hydra.folder / lock, 1, "the test's"):
        done = hydra.run("paper", "reset", "--yes")
    assert done.returncode == REFUSED and what in done.stderr
    assert ledger.exists() and not list(hydra.folder.glob("before-reset-*"))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"HYDRA_BROKER__VENUE": "ibkr"}, "Client Portal"),
        ({"HYDRA_MODE": "live", "HYDRA_BROKER__VENUE": "ibkr"}, "mode is live"),
        ({"HYDRA_MLFLOW_URI": "http://127.0.0.1:9"}, "mlflow_uri"),
    ],
)
def test_desks_that_cant_be_started_over(
    hydra: CommandLine, setting: dict[str, str], why: str
) -> None:
    done = hydra.run("paper", "reset", "--yes", **setting)
    assert done.returncode == REFUSED and why in done.stderr


def _rows(path: Path) -> list[dict[str, object]]:
    with Ledger(path).transaction() as tx:
        return tx.query(PLAN)

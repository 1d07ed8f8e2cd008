"""`hydra data` and `hydra features` on a desk with a folder of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hydra_pipelines.cli.app import app
from hydra_pipelines.sessions import Calendar

OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3


@pytest.fixture(scope="module")
def prices(tmp_path_factory) -> Path:
    """Two symbols of the last quarter of 2022, as CSV, beside the settings that name them."""
    root = tmp_path_factory.mktemp("desk")
    days = Calendar.load("XNYS", root / "data" / "cache").sessions
    days = [day for day in days if "2022-10-01" <= str(day) <= "2022-12-28"]
    rng = np.random.default_rng(1)
    for symbol in ("AAA", "BBB"):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
        rows = [
            f"{day},{price:.4f},{1000 + i}"
            for i, (day, price) in enumerate(zip(days, close, strict=True))
        ]
        (root / "prices").mkdir(exist_ok=True)
        (root / "prices" / f"{symbol}.csv").write_text("date,close,volume\n" + "\n".join(rows))
    (root / "prices" / "notes.txt").write_text("")
    (root / "hydra.yaml").write_text("market: {source: files, options: {path: prices}}\n")
    return root


@pytest.fixture
def hydra(prices, monkeypatch):
    monkeypatch.setenv("HYDRA_ROOT", str(prices))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run


def test_ingest_check_and_show(hydra, prices):
    empty = hydra("data", "status")
    assert empty.exit_code == REFUSED and "hydra data ingest" in empty.stderr
    first = hydra("data", "ingest", "--through", "2022-12-27")
    assert first.exit_code == OK
    assert "2 symbols from 2022-10-03 to 2022-12-27" in first.stdout
    assert "notes.txt: left out: is empty" in first.stderr
    again = json.loads(hydra("data", "ingest", "--through", "2022-12-28", "--json").stdout)
    assert (again["bars"]["appended"], again["features"]["added"]) == (1, 1)

    state = json.loads(hydra("data", "status", "--json").stdout)
    assert (state["symbols"], state["last"]) == (2, "2022-12-28")
    assert state["features"]["unavailable"]["atr_14"] == "the bars have no high and no low"
    assert "no atr_14: the bars have no high" in hydra("data", "status").stdout

    clean = hydra("data", "check")
    assert clean.exit_code == OK and "nothing found" in clean.stdout

    shown = hydra("features", "show", "--symbol", "AAA", "return_1d", "--json")
    close = [float(r.split(",")[1]) for r in (prices / "prices/AAA.csv").read_text().split()[1:]]
    assert json.loads(shown.stdout)[0]["value"] == pytest.approx(close[-1] / close[-2] - 1)
    assert "P[t] / P[t-1] - 1" in hydra("features", "show", "return_1d").stdout
    for arguments, code, named in (
        (("features", "show", "alpha"), USAGE, "'alpha'"),
        (("features", "show", "--symbol", "ZZZ"), USAGE, "ZZZ"),
        (("features", "show", "--session", "2022-12-25"), FAILURE, "2022-12-25"),
    ):
        done = hydra(*arguments)
        assert done.exit_code == code and named in done.stderr

    # A split that nobody told of stops its session, until a person has looked at it.
    path = prices / "prices" / "BBB.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:-1], "2022-12-28,12.5,1000"]))
    hydra("data", "ingest", "--through", "2022-12-28")
    blocked = hydra("data", "check", "--json")
    assert blocked.exit_code == REFUSED and json.loads(blocked.stdout)["blocking"] == 1
    assert "market.accepted_moves" in hydra("data", "check").stdout
    settings = prices / "hydra.yaml"
    settings.write_text(
        settings.read_text().replace(
            "source: files",
            "source: files, accepted_moves: [{symbol: BBB, session: 2022-12-28, reason: real}]",
        )
    )
    assert hydra("data", "check").exit_code == OK

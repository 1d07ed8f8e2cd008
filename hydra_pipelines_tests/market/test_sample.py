from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import date

import numpy as np
import pytest

from hydra_pipelines.market.bars import MarketDataError
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.market.sources.sample import SAMPLE_FILE, SampleSource


def test_sample_has_every_session_and_no_hole(calendar):
    panel = open_source("sample").read()
    assert panel.sessions.tolist() == list(calendar.between(date(1990, 1, 2), date(2022, 12, 28)))
    assert len(panel.symbols) == 20 and panel.symbols[0] == "AAPL" and panel.symbols[-1] == "XOM"
    assert set(panel.fields) == {"close", "adj_close"}
    close = panel.fields["close"]
    assert np.array_equal(close, panel.fields["adj_close"])
    assert np.isfinite(close).all() and (close > 0).all()


def test_prices_are_those_of_the_original_file():
    close = open_source("sample").read().fields["close"]
    # First and last rows as the CSV has them, and every price in thousandths of a dollar.
    assert close[0, :4].tolist() == [0.264, 4.125, 4.599, 0.144]
    assert close[-1, -4:].tolist() == [24.497, 524.422, 140.181, 106.627]
    assert all(float(f"{price:.3f}") == price for price in close[::97].ravel().tolist())


def test_file_is_the_one_described_beside_it():
    readme = (SAMPLE_FILE.parent / "README.md").read_text()
    assert hashlib.sha256(SAMPLE_FILE.read_bytes()).hexdigest() in readme
    assert "BSD 3-Clause License" in readme


def test_bounds_are_inclusive():
    panel = SampleSource().read(date(2020, 1, 2), date(2020, 1, 6))
    assert [str(day) for day in panel.sessions] == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert len(SampleSource().read(date(2023, 1, 1)).sessions) == 0


@pytest.mark.parametrize("last_session", ["2020-01-03", date(2020, 1, 3)])
def test_cut_off_hides_the_future(last_session):
    source = open_source("sample", {"last_session": last_session})
    assert str(source.read().sessions[-1]) == "2020-01-03"
    assert str(source.read(last=date(2020, 1, 10)).sessions[-1]) == "2020-01-03"
    assert str(source.read(last=date(2020, 1, 2)).sessions[-1]) == "2020-01-02"


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("yahu", {}, "'yahu'.*sample"),
        ("sample", {"speed": 1}, "speed"),
        ("sample", {"last_session": "yesterday"}, "'yesterday'"),
    ],
)
def test_wrong_settings_are_named(name, options, named):
    with pytest.raises(MarketDataError, match=named):
        open_source(name, options)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(MarketDataError, match=r"none\.parquet"):
        SampleSource(path=tmp_path / "none.parquet").read()
    (tmp_path / "text.parquet").write_text("session,AAPL\n")
    with pytest.raises(MarketDataError, match=r"text\.parquet"):
        SampleSource(path=tmp_path / "text.parquet").read()


def test_reading_imports_no_pandas():
    code = (
        "import sys; from hydra_pipelines.market.sources import open_source;"
        "open_source('sample').read(); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

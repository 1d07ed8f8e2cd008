"""The table in docs/monitoring.md is what the benchmark prints."""

from __future__ import annotations

from pathlib import Path

from benchmarks import detectors

DOCS = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
COMPARED = ("PSI above 0.25", "CUSUM, own level", "hit rate, own level")
"""Rows that take little time; `python -m benchmarks.detectors` prints all."""


def test_the_table_is_what_the_benchmark_prints() -> None:
    lines = DOCS.read_text().splitlines()
    table = lines[lines.index("<!-- detectors -->") + 1 : lines.index("<!-- end -->")]
    assert table[:2] == detectors.HEADER.splitlines()
    rows = {line.split("|")[1].strip(): line for line in table[2:]}
    assert list(rows) == list(detectors.DETECTORS)
    for name in COMPARED:
        assert rows[name] == detectors.row(name)

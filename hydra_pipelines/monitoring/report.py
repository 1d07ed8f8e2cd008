"""The HTML report of a drift run, by evidently, in a process of its own.

`python -m hydra_pipelines.monitoring.report FOLDER OUTPUT` reads what `write_sample` put in the
folder, one file a model, and writes one page. Importing evidently takes seconds and 300 MB, so it
is imported here and nowhere else; it is told not to report its use, and needs no network.
"""

from __future__ import annotations

import html
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;margin:1rem}}
iframe{{width:100%;height:90vh;border:1px solid #ccc}}</style></head><body><h1>{title}</h1>
<p>Distributions of the reference and of the window, drawn by evidently from a sample of the rows.
Its verdicts are at textbook levels; those of the desk are in the drift run itself.</p>
{parts}</body></html>
"""
_PART = """<details{open}><summary><b>{title}</b>: {note}</summary>
<iframe title="{title}" srcdoc="{page}"></iframe></details>
"""


def write_sample(
    folder: Path, number: int, title: str, note: str, columns: dict[str, tuple[Any, Any]]
) -> None:
    """What the process reads of one model. columns: name -> values of (reference, window)."""
    arrays = {}
    for i, (reference, current) in enumerate(columns.values()):
        arrays[f"r{i}"], arrays[f"c{i}"] = reference, current
    np.savez(
        folder / f"{number:03d}.npz",
        title=np.array(title),
        note=np.array(note),
        names=np.array(list(columns)),
        **arrays,
    )


def render(folder: Path, output: Path, title: str) -> None:
    """One page of all samples in a folder, put in its place whole."""
    parts = []
    for number, file in enumerate(sorted(folder.glob("*.npz"))):
        with np.load(file, allow_pickle=False) as sample:
            parts.append(
                _PART.format(
                    open=" open" if number == 0 else "",
                    title=html.escape(str(sample["title"])),
                    note=html.escape(str(sample["note"])),
                    page=html.escape(_evidently(sample)),
                )
            )
    text = _PAGE.format(title=html.escape(title), parts="".join(parts))
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.new")
    unfinished.write_text(text)
    os.replace(unfinished, output)


def _evidently(sample: Any) -> str:
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    names = sample["names"].tolist()
    sides = [
        # Columns of different lengths: the shorter ones end in NaN.
        pd.DataFrame({name: pd.Series(sample[f"{side}{i}"]) for i, name in enumerate(names)})
        for side in ("c", "r")
    ]
    made = Report([DataDriftPreset(num_method="ks")]).run(*sides)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        made.save_html(str(path))
        return path.read_text()


if __name__ == "__main__":
    os.environ["DO_NOT_TRACK"] = "1"
    render(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

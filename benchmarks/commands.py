"""P9: the command line's start: `hydra --help` and `hydra status`, on a desk that has traded.

    .venv/bin/python -m benchmarks.commands [--quick]

Wall time of whole processes, by turns with a Python that does nothing, which is the floor.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cycle import ROOT, traded_desk
from benchmarks.results import Result, interleaved, run_alone, spread

CODE = "import sys; from hydra_pipelines.cli import main; sys.argv[0] = 'hydra'; main()"
BARS = {"--help": 0.25, "status": 0.5}


def measure(quick: bool = False) -> list[Result]:
    with (
        tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder,
        traded_desk(Path(folder, "desk"), 20) as environment,
    ):

        def hydra(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, *arguments],
                cwd=ROOT, env=environment, check=True, capture_output=True,
            )  # fmt: skip

        seconds = interleaved(
            {
                "python": lambda: hydra("-c", "pass"),
                **{word: lambda word=word: hydra("-c", CODE, word) for word in BARS},  # type: ignore[misc]
            },
            3 if quick else 15,
        )
    return [
        Result(
            "P9", f"hydra {word}", statistics.median(seconds[word]), "s", limit,
            floor=f"python -c pass: {spread(seconds['python'])}", notes=spread(seconds[word]),
        )
        for word, limit in BARS.items()
    ]  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, measure)

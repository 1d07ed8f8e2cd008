"""Where the time of a warm daily cycle goes. Nothing is judged here.

    .venv/bin/python -m benchmarks.profile

Three runs of `dagster job execute` on a desk of the sample: one plain, whose log says how long each
step took; one by `-X importtime`, for what each package costs to import beyond what ten trivial
assets import; one by cProfile, for what the stores, the sockets and Dagster's events cost wherever
they are called from. The two latter are slower than the first: they give shares and counts. The
stages of a replay are told by `benchmarks.replay`.
"""

from __future__ import annotations

import argparse
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.cycle import DAGSTER, ROOT, TRIVIAL, traded_desk, trivial

CYCLE = ("job", "execute", "-m", "hydra_pipelines", "-j", "daily_cycle")
FLOOR = ("job", "execute", "-f", str(TRIVIAL), "-j", "ten")
EVENT = re.compile(
    r"^[-\d]+ [:\d]+ \+0000 - dagster - \w+ - \w+ - \S+ - \d+ - (?:(?P<step>[a-z_]+) - )?"
    r"(?P<kind>[A-Z_]+) - .*?(?: in (?P<took>[\d.]+)(?P<unit>ms|s)\.)?$"
)
PARTS: Mapping[str, str] = {
    r"definitions\.py:.*\(build_defs\)": "definitions built",
    r"settings/load\.py:.*\(load_settings\)": "settings read",
    r"sessions\.py:.*\(load\)": "calendar read",
    r"ledger/store\.py:.*\(_open\)": "ledger: opened",
    r"ledger/engines\.py:.*\(detach\)": "ledger: closed",
    r"ledger/store\.py:.*\(copy_to\)": "ledger: published",
    r"ledger/store\.py:.*\(_attached_snapshot\)": "snapshot: opened",
    r"ledger/store\.py:.*\((query|value|execute|insert)\)": "ledger: statements",
    r"broker/client\.py:.*\(connect\)": "socket: connected",
    r"broker/loop\.py:.*\(run\)": "socket: spoken, connecting included",
    r"sqlite_event_log\.py:.*\(store_event\)": "Dagster: events stored",
    r"run_domain\.py:.*\(create_run\)": "Dagster: run created, events planned",
    r"context/system\.py:.*\(fetch_external_input_": "Dagster: versions of inputs",
}
"""What is told apart, by file and function as cProfile names them."""


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder,
        traded_desk(Path(folder, "desk"), 20) as desk,
    ):
        floor = trivial(Path(folder))
        steps(desk)
        imports(desk, floor)
        parts(desk, Path(folder, "profile"))


def run(environment: Mapping[str, str], *command: str) -> str:
    """What a command said on stderr; raises CalledProcessError."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr


def steps(desk: Mapping[str, str]) -> None:
    """As Dagster's own log of the run tells."""
    started = time.perf_counter()
    said = run(desk, str(DAGSTER), *CYCLE)
    whole = time.perf_counter() - started
    rows, events = [], Counter[str]()
    for line in said.splitlines():
        if found := EVENT.match(line):
            events[found["kind"]] += 1
            if found["kind"] == "STEP_SUCCESS" and found["took"]:
                rows.append((found["step"], float(found["took"]) / SCALES[found["unit"]]))
    table("A daily cycle, ms of each asset", rows)
    inside = sum(ms for _, ms in rows)
    print(f"{'outside of them':40} {1000 * whole - inside:9.0f}")
    print(f"{'whole process':40} {1000 * whole:9.0f}")
    print(f"{sum(events.values())} events in the log, most of them "
          + ", ".join(f"{kind} {n}" for kind, n in events.most_common(4)))  # fmt: skip


SCALES = {"ms": 1.0, "s": 0.001}


def imports(desk: Mapping[str, str], floor: Mapping[str, str]) -> None:
    ours = imported(run(desk, "-X", "importtime", str(DAGSTER), *CYCLE))
    theirs = imported(run(floor, "-X", "importtime", str(DAGSTER), *FLOOR))
    packages: Counter[str] = Counter()
    for module, us in ours.items():
        if module not in theirs:
            package, _, rest = module.partition(".")
            own = package == "hydra_pipelines"
            packages[f"{package}.{rest.partition('.')[0]}" if own else package] += us
    table(
        f"Imports beyond those of ten trivial assets ({len(ours.keys() - theirs.keys())}), ms",
        [(name, us / 1000) for name, us in packages.most_common(15)],
    )
    print(f"{'all of them':40} {sum(packages.values()) / 1000:9.0f}")
    print(f"{'those of ten trivial assets':40} {sum(theirs.values()) / 1000:9.0f}")


def imported(said: str) -> dict[str, int]:
    """Module -> microseconds of its own, by the lines of `-X importtime`."""
    found = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", said, re.MULTILINE)
    return {module: int(us) for us, module in found}


def parts(desk: Mapping[str, str], file: Path) -> None:
    run(desk, "-m", "cProfile", "-o", str(file), str(DAGSTER), *CYCLE)
    stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    took: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (path, line, name), (_, count, _, cumulative, _) in stats.items():
        for pattern, part in PARTS.items():
            if re.search(pattern, f"{path}:{line}({name})"):
                took[part] += cumulative
                calls[part] += count
    table(
        "Parts of a daily cycle under cProfile, ms with all that they call; they overlap",
        [(f"{part} ({calls[part]}×)", 1000 * s) for part, s in took.most_common()],
    )


def table(title: str, rows: Iterable[tuple[str, float]]) -> None:
    print(f"\n{title}")
    for name, ms in rows:
        print(f"{name:40} {ms:9.1f}")


if __name__ == "__main__":
    main()

"""One daily cycle by `dagster job execute`, against ten trivial assets in the same run.

    .venv/bin/python benchmarks/cycle.py [--runs 5]

A desk of its own in a temporary folder is brought through its first cycle (which trains the
models), so that what is timed is a warm day: the next session each time, orders included. Prints
medians, their ratio, and where the time of the median cycle went.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DAGSTER = Path(sys.executable).with_name("dagster")
TRIVIAL = ROOT / "benchmarks" / "ten_trivial_assets.py"


def execute(environment: dict[str, str], *arguments: str) -> float:
    """Wall seconds of one `dagster job execute`; raises where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [DAGSTER, "job", "execute", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(
            f"dagster job execute {' '.join(arguments)} failed:\n{done.stderr[-3000:]}"
        )
    return seconds


def python(environment: dict[str, str], code: str) -> float:
    """Wall seconds of a fresh interpreter that runs `code`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    return time.perf_counter() - started


def steps_of_last_run(environment: dict[str, str]) -> dict[str, float]:
    """Seconds of each step of the newest run of the desk's instance, and of the whole run."""
    os.environ["DAGSTER_HOME"] = environment["DAGSTER_HOME"]
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_records(limit=1)[0]
        stats = instance.get_run_step_stats(record.dagster_run.run_id)
        stats.sort(key=lambda step: step.start_time)
        seconds = {step.step_key: step.end_time - step.start_time for step in stats}
        seconds["(whole run)"] = record.end_time - record.start_time
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HYDRA_", "IBKR_"))},
            "HYDRA_DATA_DIR": folder,
            "DAGSTER_HOME": f"{folder}/dagster",
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        trivial_home = Path(folder, "trivial")
        trivial_home.mkdir()
        (trivial_home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        floor_environment = {**environment, "DAGSTER_HOME": str(trivial_home)}
        hydra = Path(sys.executable).with_name("hydra")
        print("first cycle (trains the models) …", flush=True)
        subprocess.run([hydra, "cycle"], env=environment, check=True, capture_output=True)
        try:
            execute(floor_environment, "-f", str(TRIVIAL), "-j", "ten")
            floor, cycle, steps = [], [], []
            for _ in range(runs):
                floor.append(execute(floor_environment, "-f", str(TRIVIAL), "-j", "ten"))
                cycle.append(execute(environment, "-m", "hydra_pipelines", "-j", "daily_cycle"))
                steps.append(steps_of_last_run(environment))
            imports = [python(environment, "import dagster") for _ in range(3)]
            loads = [python(environment, "import hydra_pipelines.definitions") for _ in range(3)]
        finally:
            from hydra_pipelines.paper_gateway.control import GatewayControl
            from hydra_pipelines.paper_gateway.launch import find_running

            running = find_running(Path(folder, "paper"))
            if running:
                GatewayControl(running).shutdown()
    print(f"{'':32} median      low     high   ({runs} runs each, interleaved)")
    for name, times in (("ten trivial assets", floor), ("daily cycle, 20 symbols", cycle)):
        print(
            f"{name:32} {statistics.median(times):5.2f} s  {min(times):5.2f} s  {max(times):5.2f} s"
        )
    ratio = statistics.median(cycle) / statistics.median(floor)
    print(f"{'ratio':32} {ratio:5.2f}")
    print("\nwhere the time goes (medians):")
    print(f"  {'python + import dagster':30} {statistics.median(imports):6.3f} s")
    print(f"  {'python + the definitions':30} {statistics.median(loads):6.3f} s")
    for step in steps[0]:
        print(f"  {step:30} {statistics.median(s[step] for s in steps):6.3f} s")


if __name__ == "__main__":
    main()

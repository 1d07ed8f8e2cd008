"""Experiments in processes of their own: one that crashes or hangs costs only itself."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from datetime import date
from pathlib import Path

import pytest

from hydra_pipelines.agent.experiment import (
    RESULT_FILE,
    ExperimentResult,
    ExperimentSpec,
    Processes,
    read_result,
    write_whole,
)

PROGRAMS = {
    "good": """
        spec = json.load(open(folder / "spec.json"))
        result = {"experiment_id": spec["experiment_id"], "passed": True, "reasons": [],
                  "warnings": [], "figures": {"n": spec["champion_version"]}}
        (folder / "result.json").write_text(json.dumps(result))
    """,
    "crashes": "print('so far so good', flush=True); os.kill(os.getpid(), 9)",
    "raises": "raise RuntimeError('no such thing')",
    "hangs": """
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder / "child").write_text(str(child.pid))
        time.sleep(60)
    """,
    "half": "(folder / 'result.json').write_text('{\"experiment_id\": ')",
    "silent": "pass",
}  # fmt: skip


def spec(name: str) -> ExperimentSpec:
    return ExperimentSpec(
        name, "cycle", "HYP-2026-001", date(2020, 3, 27), "other_window", "why", "{}", 3, (0.5,)
    )


def command(folder: Path) -> list[str]:
    body = textwrap.dedent(PROGRAMS[folder.name.partition("-")[0]])
    head = "import json, os, subprocess, sys, time\nfrom pathlib import Path\n"
    return [sys.executable, "-S", "-c", f"{head}folder = Path({str(folder)!r})\n{body}"]


def processes(folder: Path, *, workers: int = 2, timeout_s: float = 20) -> Processes:
    return Processes(command, folder, workers=workers, timeout_s=timeout_s)


def run(folder: Path, *names: str, **options: float) -> dict[str, ExperimentResult]:
    runner = processes(folder, **options)  # type: ignore[arg-type]
    return {r.experiment_id: r for r in runner.run([spec(name) for name in names])}


def test_one_that_crashes_raises_or_says_nothing_costs_only_itself(tmp_path):
    done = run(tmp_path, "crashes", "good-1", "raises", "half", "silent", "good-2")
    assert len(done) == 6
    assert done["good-1"].passed and done["good-2"].figures == {"n": 3}
    assert done["good-1"].error is None
    assert "signal SIGKILL" in done["crashes"].error and "so far so good" in done["crashes"].error
    assert "exit code 1" in done["raises"].error and "no such thing" in done["raises"].error
    for name in ("half", "silent"):
        assert "exit code 0 and no result" in done[name].error and not done[name].passed


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    done = run(tmp_path, "hangs", "good", timeout_s=1.5)
    assert "longer than 1.5 s" in done["hangs"].error and done["good"].passed
    child = int((tmp_path / "hangs" / "child").read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.02)
    assert not alive(child)


def test_they_work_side_by_side_up_to_the_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setitem(PROGRAMS, "waits", "time.sleep(0.6)")
    begun = time.monotonic()
    run(tmp_path / "a", *(f"waits-{n}" for n in range(4)), workers=4)
    together = time.monotonic() - begun
    begun = time.monotonic()
    run(tmp_path / "b", *(f"waits-{n}" for n in range(4)), workers=1)
    assert together < time.monotonic() - begun, "four at a time are faster than one at a time"
    assert time.monotonic() - begun > 2.4


def test_a_result_that_a_killed_run_left_is_taken(tmp_path):
    left = ExperimentResult("crashes", passed=True, candidate_version=9)
    (tmp_path / "crashes").mkdir()
    write_whole(tmp_path / "crashes" / RESULT_FILE, left.to_json())
    assert run(tmp_path, "crashes")["crashes"] == left


def test_whoever_stops_listening_ends_what_works(tmp_path):
    results = processes(tmp_path, workers=2).run([spec("good"), spec("hangs")])
    assert next(results).experiment_id == "good"
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    child_file = tmp_path / "hangs" / "child"
    while child_file.exists() and alive(int(child_file.read_text() or 0)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}'])
def test_what_is_no_result_is_none(tmp_path, text):
    (tmp_path / RESULT_FILE).write_text(text)
    assert read_result(tmp_path) is None


def test_both_travel_as_text():
    assert ExperimentSpec.from_json(spec("good").to_json()) == spec("good")
    result = ExperimentResult("x", reasons=("not_better",), figures={"sharpe": 0.5}, seconds=1.0)
    assert ExperimentResult.from_json(result.to_json()) == result


def alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"

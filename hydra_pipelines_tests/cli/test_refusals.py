"""What a person gets wrong, or finds broken: one line that says so, and its exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import FAILURE, REFUSED, USAGE, CommandLine


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cycle", "--session", "tomorrow"], USAGE, "'tomorrow' does not match the format"),
        (["cycle", "--session", "2019-02-30"], USAGE, "'2019-02-30' does not match"),
        (
            ["cycle", "--session", "2019-01-05"],
            USAGE,
            "2019-01-05 (Saturday) is not a XNYS session",
        ),
        (["cycle", "--session", "1980-01-02"], USAGE, "1980-01-02 is outside the XNYS calendar"),
        (["cycle", "--session", "2018-12-31"], REFUSED, "2018-12-31 can't be traded any more"),
        (["trade"], USAGE, "No such command 'trade'"),
        (["status", "--jsonn"], USAGE, "No such option"),
    ],
)
def test_refusals_have_their_code_and_say_why(
    traded_desk: TradedDesk, arguments: list[str], code: int, message: str
) -> None:
    before = traded_desk.hydra.orders_received()
    done = traded_desk.hydra.run(*arguments)
    assert done.returncode == code
    assert message in re.sub(r"[\s│]+", " ", done.stderr)
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert traded_desk.hydra.orders_received() == before


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"HYDRA_MODE": "life"}, USAGE, "mode (in the environment)"),
        ({"HYDRA_MARKET__CALENDAR": "NYSE?"}, USAGE, "'NYSE?' is not an exchange calendar"),
        ({"HYDRA_ROOT": "/nowhere"}, USAGE, "there is no folder /nowhere"),
        ({"HYDRA_MARKET__SOURCE": "oracle"}, FAILURE, "'oracle' is not a known source"),
        ({"HYDRA_EMBEDDED__FIRST_SESSION": "1985-01-02"}, USAGE, "XNYS calendar"),
        ({"HYDRA_EMBEDDED__FIRST_SESSION": "2019-01-01"}, USAGE, "first_session: 2019-01-01"),
    ],
)
def test_settings_that_cant_be_right_are_said_in_a_line(
    empty: CommandLine, environment: dict[str, str], code: int, message: str
) -> None:
    done = empty.run("cycle", **environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_data_folder_that_cant_be_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "desk").write_text("a file, not a folder")
    done = CommandLine(tmp_path / "desk").run("status")
    assert done.returncode == FAILURE
    assert done.stderr.startswith("hydra: ") and str(tmp_path / "desk") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_control_store_that_cant_be_read_is_no_quiet_desk(broken: CommandLine) -> None:
    (broken.folder / "control.sqlite").mkdir()
    done = broken.run("status", "--json")
    assert done.returncode == REFUSED
    assert "nothing is traded without it" in done.stderr and done.stdout == ""


def test_a_damaged_ledger_is_said_and_left_as_it_is(broken: CommandLine) -> None:
    (broken.folder / "hydra.duckdb").write_bytes(b"damaged")
    for command in ("status", "cycle"):
        done = broken.run(command)
        assert done.returncode == FAILURE
        assert "hydra.duckdb can't be opened" in done.stderr and "Traceback" not in done.stderr
    assert (broken.folder / "hydra.duckdb").read_bytes() == b"damaged"

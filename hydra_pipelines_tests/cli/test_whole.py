"""The command line as one tool: help, options, JSON, refusals and exit codes of all commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from hydra_pipelines.cli import app as application
from hydra_pipelines.cli.app import app
from hydra_pipelines.cli.output import print_table
from hydra_pipelines.control import Control
from hydra_pipelines.operations.backup import back_up
from hydra_pipelines_tests import documents
from hydra_pipelines_tests.cli.words import figures
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.day.versions import RIDGE, copy_of
from hydra_pipelines_tests.desks import FAILURE, OK, REFUSED, USAGE, CommandLine

CLI_DOCUMENT = documents.ROOT / "docs" / "cli.md"
SPECIFIED = [
    "status", "up", "serve", "gateway", "cycle", "replay", "train", "predict", "plan", "execute",
    "sync-positions", "positions", "trades", "fill-report", "diagnose", "run", "pause", "journal",
    "models", "promote", "rollback", "paper-gate", "halt", "resume-trading", "reset-breaker",
    "resolve", "check-broker", "audit", "alert-test", "drill", "doctor", "docs",
]  # fmt: skip
SPECIFIED += ["paper reset", "paper-trade start", "paper-trade stop"]
SPECIFIED += [f"agent {word}" for word in ("run", "pause", "resume", "status")]
# Where one word has one meaning, it is an option of these types and has one name everywhere.
SAME: dict[str, Any] = {
    "--json": bool, "--yes": bool, "--dry-run": bool, "--limit": int, "--session": datetime,
    "--symbol": str, "--why": str, "--reason": str,
}  # fmt: skip
NO_JSON = {"up", "serve", "gateway", "worker", "instance"}
"""Commands that stay, and one whose stdout is a path for the shell."""


def leaves(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, inner in (command or typer.main.get_command(app)).commands.items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, f"{name}{word} ")
        else:
            yield name + word, inner


COMMANDS = dict(leaves())


def test_every_command_that_was_promised_is_there() -> None:
    assert [name for name in SPECIFIED if name not in COMMANDS] == []


def test_every_command_stands_in_a_panel_with_an_example_that_can_be_typed() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        panels = (*application.PANELS, *(group[2] for group in application.GROUPS))
        assert command.rich_help_panel in panels, name
        example = command.epilog.removeprefix("Example: hydra ")
        assert example.startswith(name)
        documents.hydra(example)


def test_an_option_is_named_and_typed_the_same_everywhere() -> None:
    for name, command in COMMANDS.items():
        options = {opt: p for p in command.params for opt in p.opts if opt.startswith("--")}
        assert ("--json" in options) is (name not in NO_JSON), name
        for option, kind in SAME.items():
            assert option not in options or _annotation(options[option]) is kind, (name, option)


def _annotation(option: Any) -> Any:
    return option.type_descriptor.annotation


@pytest.fixture(scope="module")
def folder(traded_desk: TradedDesk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The desk as its cycle left it."""
    copy = tmp_path_factory.mktemp("whole") / "my desk"
    return Path(shutil.copytree(traded_desk.left, copy))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Commands in this process, on that desk."""
    monkeypatch.setenv("HYDRA_DATA_DIR", str(folder))
    monkeypatch.chdir(folder.parent)
    return CliRunner()


def called(runner: CliRunner, command: str) -> Result:
    done = runner.invoke(app, command.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


# Command, where its rows are in the JSON, and the columns whose figures the text shows.
READS: list[tuple[str, str, list[str]]] = [
    ("positions", "", ["quantity", "entry_price", "current_price", "market_value"]),
    ("orders", "", ["filled", "quantity", "limit_price"]),
    ("trades", "", ["quantity", "price", "order_price", "shortfall_bps", "latency_ms"]),
    ("fill-report", "fills", ["quantity", "price", "arrival_price", "actual_slippage_bps"]),
    ("pnl --by session", "sessions", ["change", "realised", "unrealised", "commissions"]),
    ("audit --event fill_recorded", "", ["text"]),
    ("models", "strategies", ["champion.version", "champion.figures.rank_ic"]),
    ("risk", "breakers", ["limit"]),
    ("paper-gate", "conditions", ["value"]),
    ("features show --symbol AAPL", "", ["value", "rank", "z"]),
    ("paper-trade status", "", ["session"]),
    ("data status", "", ["sessions", "symbols", "corrections"]),
    ("doctor", "findings", ["detail"]),
    ("agent status", "", ["state", "autonomy"]),
    ("journal", "", []),
    ("docs", "", ["name"]),
]


@pytest.mark.parametrize(("command", "place", "columns"), READS, ids=[read[0] for read in READS])
def test_text_and_json_agree(here: CliRunner, command: str, place: str, columns: list[str]) -> None:
    told, said = called(here, f"{command} --json"), called(here, command)
    assert told.exit_code == said.exit_code
    found = json.loads(told.stdout)
    rows = found[place] if place else found
    lines = said.stdout.splitlines()
    for row in rows if isinstance(rows, list) else [rows]:
        wanted = [value for column in columns if (value := _inside(row, column)) is not None]
        text = lines if isinstance(rows, list) else [said.stdout]
        assert any(all(_shows(line, value) for value in wanted) for line in text), wanted
    if command != "journal":
        assert rows and lines


def _inside(row: Any, path: str) -> Any:
    for key in path.split("."):
        row = row.get(key) if row else None
    return row


def _shows(line: str, value: Any) -> bool:
    """Whether a line has a value, rounded as text is, or as percent."""
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return str(value) in line
    return any(
        abs(shown - number * scale) <= Decimal(5).scaleb(-len(text.partition(".")[2]) - 1)
        for text in figures(line)
        if (shown := _decimal(text)) is not None
        for scale in (1, 100)
    )


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.rstrip("."))
    except ArithmeticError:
        return None


def documented() -> dict[str, tuple[str, set[str]]]:
    """Of docs/cli.md: command -> schema (empty for a list), and the keys."""
    rows = re.findall(
        r"^\| `hydra ([\w -]+)` \| (.*?) \| (.*?) \|$", CLI_DOCUMENT.read_text(), re.M
    )
    return {
        name: (schema.strip("`"), set(re.findall(r"`(\w+)`", keys))) for name, schema, keys in rows
    }


@pytest.mark.parametrize("command", sorted({read[0] for read in READS} | {"status"}))
def test_the_shape_of_the_json_is_the_documented_one(here: CliRunner, command: str) -> None:
    name = re.sub(r" --.*", "", command)
    schema, keys = documented()[name]
    found = json.loads(called(here, f"{command} --json").stdout)
    if isinstance(found, dict):
        assert found.pop("schema") == schema
        assert set(found) == keys
    else:
        assert schema == "list"
        assert all(set(row) == keys for row in found)


DANGEROUS = [
    f"promote {RIDGE} --to 2",
    f"rollback --model {RIDGE} --to 2",
    "resume-trading",
    "reset-breaker drawdown",
    "restore",
    "paper reset",
    "paper-gate --sign-off --reason seen",
]
"""On a desk with several versions, halted. `resolve` and `sync-positions` need orders and books to
dispute: `day/test_resolving.py`, `cli/test_positions.py`."""


@pytest.fixture(scope="module")
def halted(
    folder: Path, versions_made: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Such a desk's folder, and a backup of it."""
    desk = copy_of(versions_made, tmp_path_factory.mktemp("halted") / "my desk")
    desk.control.set_kill_switch(True, "a test")
    desk.control.trip("drawdown", "a test", "2019-01-03")
    return desk.settings.data_path, back_up(desk, tmp_path_factory.mktemp("backup"))


@pytest.mark.parametrize("command", DANGEROUS)
def test_what_is_dangerous_is_refused_without_a_person(
    here: CliRunner, halted: tuple[Path, Path], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, backup = halted
    monkeypatch.setenv("HYDRA_DATA_DIR", str(folder))
    control = Control(folder / "control.sqlite")
    before = control.journal()
    done = called(here, f"restore {backup}" if command == "restore" else command)
    assert done.exit_code == REFUSED and "needs a person's word" in done.stderr, done.stderr
    assert control.journal() == before and control.kill_switch and control.tripped()


def test_every_command_that_asks_is_among_them() -> None:
    asking = {name for name, command in COMMANDS.items() if _has(command, "--yes")}
    shown = {re.split(r" --| [A-Z]| drawdown", command)[0] for command in DANGEROUS}
    assert asking == shown | {"resolve", "sync-positions"}


def _has(command: Any, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


def test_a_live_port_is_warned_of_and_needs_its_own_word(
    here: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_BROKER__VENUE", "ibkr")
    done = called(here, "paper-trade start --port 4001")
    assert done.exit_code == REFUSED
    assert "LIVE port" in done.stderr and "--yes-i-mean-live" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("status", OK, ""),
        ("audit no-such-fill", FAILURE, "hydra trades"),
        ("audit trace", USAGE, "name one fill"),
        ("audit --event nothing", USAGE, "plan_made"),
        ("docs nothing", USAGE, "cli"),
        ("paper-gate", REFUSED, ""),
    ],
)
def test_each_exit_code(here: CliRunner, command: str, code: int, says: str) -> None:
    done = called(here, command)
    assert done.exit_code == code and says in done.stderr


def test_a_narrow_table_cuts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    row = {name: f"20190102.DU0000001.{name}.BUY.0.1" for name in ("AAPL", "MSFT", "UNH", "KO")}
    print_table([row], {name: name for name in row})
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    assert sorted(c for line in lines[1:] for c in line if c != " ") == sorted(
        "".join(row.values())
    )


@pytest.mark.parametrize("arguments", [["--help"], ["status"]])
def test_nothing_slow_is_imported_to_start(
    traded_desk: TradedDesk, arguments: list[str], tmp_path: Path
) -> None:
    """Of a desk whose calendar is cached; without it, the exchange's own is asked once."""
    program = (
        "import sys\nfrom hydra_pipelines.cli import main\n"
        f"sys.argv = ['hydra', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "slow = {'dagster', 'mlflow', 'pandas', 'sklearn', 'vectorbt', 'sqlalchemy'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)\n"
    )
    hydra: CommandLine = traded_desk.hydra
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=hydra.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == OK and done.stderr.strip() == "[]", done.stderr

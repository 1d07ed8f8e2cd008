"""The commands of docs/paper-trading.md are commands of this program, with options it takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from hydra_pipelines.cli.app import app

PLAN = Path(__file__).resolve().parent.parent.parent / "docs" / "paper-trading.md"


def commands() -> list[str]:
    """Those of the blocks, and those named in the text."""
    text = PLAN.read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    named = re.findall(r"`(hydra [^`]+)`", text)
    return sorted({line for line in (*blocks.splitlines(), *named) if line.startswith("hydra ")})


def parse(line: str) -> None:
    """Find the command and look at its options as the program would, without running anything."""
    command: Any = typer.main.get_command(app)
    context, rest = None, shlex.split(line)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    parser = command.make_parser(command.context_class(command, parent=context))
    parser.parse_args(rest)


def test_the_plan_has_commands() -> None:
    assert len(commands()) > 25


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_plan_is_one(command: str) -> None:
    parse(command.removeprefix("hydra "))


@pytest.mark.parametrize("wrong", ["papergate", "paper-gate --sign", "drill breaker --fault"])
def test_what_is_no_command_is_noticed(wrong: str) -> None:
    with pytest.raises(Exception, match=r"no command papergate|[Nn]o such option"):
        parse(wrong)

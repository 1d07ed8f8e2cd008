"""Help, and how the commands look on a terminal and in a file."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import HYDRA, OK, CommandLine


def test_help_lists_the_commands(empty: CommandLine) -> None:
    done = empty.run("--help")
    assert done.returncode == OK and not done.stderr
    for command in ("cycle", "status", "positions", "trades", "doctor"):
        assert re.search(rf"\b{command}\b  +\w", done.stdout), f"{command} with its line of help"
    assert done.stdout == empty.run("-h").stdout


@pytest.mark.parametrize("command", ["cycle", "trades"])
def test_a_command_explains_itself_and_speaks_json(tmp_path: Path, command: str) -> None:
    done = CommandLine(tmp_path / "desk").run(command, "--help")
    assert done.returncode == OK and "--json" in done.stdout
    assert not (tmp_path / "desk").exists(), "help makes nothing"


def test_the_console_script_is_the_same_program(empty: CommandLine) -> None:
    script = Path(sys.executable).with_name("hydra")
    if not script.exists():
        pytest.skip("the project is not installed in this environment")
    done = subprocess.run([script, "-h"], capture_output=True, text=True, env=empty.environment)
    assert done.stdout == empty.run("-h").stdout


def on_a_terminal(hydra: CommandLine, *arguments: str, **environment: str) -> str:
    """What a command writes to a terminal of its own."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*HYDRA, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**hydra.environment, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux says so that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(leader)
    assert process.wait() == OK
    return written.decode()


COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-8]|4[0-8]|9\d|10\d)[\d;]*m")


def test_no_color_means_none(empty: CommandLine) -> None:
    assert COLOUR.search(on_a_terminal(empty, "--help"))
    assert not COLOUR.search(on_a_terminal(empty, "--help", NO_COLOR="1"))


def test_nothing_but_text_goes_to_a_file(traded_desk: TradedDesk) -> None:
    for command in ("--help", "status", "positions", "trades"):
        done = traded_desk.hydra.run(command, TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr

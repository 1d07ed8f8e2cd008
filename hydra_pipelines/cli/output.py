"""How commands speak: data on stdout, messages on stderr, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

FAILURE, USAGE, REFUSED = 1, 2, 3

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


SCHEMA_VERSION = 1
"""Of every shape in docs/cli.md; a key that goes or changes its meaning makes it the next."""
_speaker: ContextVar[str] = ContextVar("speaker")


def speaking_as(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, whose JSON says that it is of this name."""

    @wraps(command)
    def speaking(*arguments: Any, **options: Any) -> Any:
        _speaker.set(name)
        return command(*arguments, **options)

    return speaking


def print_json(value: Any) -> None:
    """Money as text, dates and instants in ISO 8601; an object says which schema it has."""
    if isinstance(value, Mapping):
        schema = f"hydra.{_speaker.get().replace(' ', '.')}/{SCHEMA_VERSION}"
        value = {"schema": schema, **value}
    typer.echo(json.dumps(value, default=_plain, indent=2))


def say(text: str) -> None:
    """A message for the person, on stderr."""
    typer.echo(text, err=True)


def fail(message: str, code: int) -> NoReturn:
    say(f"hydra: {message}")
    raise typer.Exit(code)


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be taken back; anything but yes ends the command.

    yes: the person has said so already, by `--yes`. Without that and without a terminal to ask
    on, the command refuses.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail("this needs a person's word: run it on a terminal, or add --yes", REFUSED)
    if not typer.confirm(question, default=False, err=True):
        fail("nothing was done", REFUSED)


def person() -> str:
    """Who types, as the audit trail names people."""
    import getpass

    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):
        return "user:unknown"


@contextmanager
def readable_errors() -> Iterator[None]:
    """Known errors as one line and their exit code, without a stack trace."""
    from hydra_pipelines.control import ControlError
    from hydra_pipelines.ledger.store import LedgerError, LedgerMissing
    from hydra_pipelines.sessions import ClockError, NotASession, UnknownCalendar
    from hydra_pipelines.settings import SettingsError

    try:
        yield
    except (NotASession, SettingsError, UnknownCalendar) as error:
        fail(str(error), USAGE)
    except (LedgerMissing, ControlError) as error:
        fail(str(error), REFUSED)
    except (LedgerError, ClockError) as error:
        fail(str(error), FAILURE)
    except OSError as error:
        # A folder that is missing, full, or somebody else's; anything else is a bug of ours.
        if error.filename is None:
            raise
        fail(f"{error.strerror}: {error.filename}", FAILURE)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], title: str = ""
) -> None:
    """Rows as a table; columns: key -> heading. Numbers are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for key, heading in columns.items():
        numeric = any(isinstance(row.get(key), int | float | Decimal) for row in rows)
        # On a narrow terminal a cell goes on in the next line: an id that is cut can't be typed.
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(show(row.get(key)) for key in columns))
    console = Console()
    # Without a terminal, columns are never cut: the output is read by other programs.
    if not sys.stdout.isatty():
        console = Console(width=200)
    console.print(table)


def show(value: Any) -> str:
    """A value for people: thousands separated, no more digits than mean something."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        digits = 2 if not isinstance(exponent, int) or exponent >= -2 else min(-exponent, 4)
        return f"{value:,.{digits}f}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)

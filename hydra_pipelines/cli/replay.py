"""`hydra replay`: session after session of the past through the embedded venue."""

from __future__ import annotations

import shlex
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    USAGE,
    Json,
    fail,
    print_json,
    readable_errors,
    say,
)
from hydra_pipelines.cli.read import print_status

if TYPE_CHECKING:
    from rich.progress import Progress

    from hydra_pipelines.day.replaying import Itinerary, Replayed
    from hydra_pipelines.desk import Desk


def replay(
    to: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last session whose close decides."),
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="How many sessions, from the next one due on.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a separate desk, with the settings of this one; needs --from."
        ),
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First session of the separate desk."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Trade many sessions in a row through the embedded venue, from where its clock stands.

    Each is what a daily cycle makes of it. Stopped in the middle, the same command goes on.
    """
    if (to is None) == (sessions is None):
        fail("say how far, by one of --to SESSION and --sessions NUMBER", USAGE)
    if (into is None) != (first is None):
        fail("--into FOLDER and --from SESSION belong together", USAGE)
    from hydra_pipelines import api
    from hydra_pipelines.day import replaying

    with readable_errors():
        desk = _desk(into, first.date() if first else None)
        say("Starting the paper venue …")
        try:
            way = replaying.plan_replay(desk, to.date() if to else None, sessions)
            done = _run(desk, way) if way.sessions else Done()
        except replaying.ReplayRefused as error:
            fail(str(error), REFUSED)
        finally:
            desk.close()
        state = api.status(desk)
    if as_json:
        print_json(
            {
                "begun": way.begun,
                "to": way.to,
                **vars(done),
                "left": len(way.sessions) - done.sessions,
            }
            | {"status": state}
        )
    if done.stopped:
        fail(
            f"the replay stopped: {done.stopped}\nTo go on then: {_this_command()}", done.exit_code
        )
    if as_json:
        return
    if not way.sessions:
        say(f"All sessions up to {way.to} are done already.")
    else:
        typer.echo(
            f"{done.sessions} sessions, {done.first} to {done.last}, in {done.seconds:.1f} s "
            f"({done.seconds / done.sessions:.2f} s a session)\n"
        )
    print_status(state)
    if into is not None:
        typer.echo(f"\nLook at it with:  {_environment(desk)} hydra status")


@dataclass
class Done:
    """How far a replay came. stopped: why it ended before its end."""

    sessions: int = 0
    first: date | None = None
    last: date | None = None
    seconds: float = 0.0
    stopped: str | None = None
    exit_code: int = 0


def _run(desk: Desk, way: Itinerary) -> Done:
    """Replay, with a progress bar, and have Dagster know of each session."""
    from hydra_pipelines.day.replaying import Replayed, ReplayStopped, replay
    from hydra_pipelines.defs.instance import desk_instance
    from hydra_pipelines.defs.replayed import Reporter

    done = Done()
    started = time.perf_counter()
    with desk_instance(desk) as instance, _asked_to_stop() as enough, _bar(way) as bar:
        reporter = Reporter(instance, desk)
        try:
            reporter.catch_up()
            for one in replay(
                desk, way, str(uuid.uuid4()), judge=reporter.judge, say=bar.say, enough=enough
            ):
                reporter.report(one)
                if isinstance(one, Replayed):
                    done.sessions, done.first = done.sessions + 1, done.first or one.session
                    done.last = one.session
                    bar.show(one)
        except ReplayStopped as stop:
            done.stopped, done.exit_code = str(stop), REFUSED
        except _expected_errors() as error:
            done.stopped, done.exit_code = str(error), FAILURE
        finally:
            reporter.flush()
        if not done.stopped and done.sessions < len(way.sessions):
            done.stopped, done.exit_code = "it was asked to", FAILURE
    done.seconds = time.perf_counter() - started
    return done


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C (or a SIGTERM) came: the session that runs is finished first.

    The second one ends the process where it stands, which is as safe as a crash.
    """
    asked = False

    def ask(number: int, _: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[signal.Signals(number)])
        say("Stopping after this session (again to stop at once) …")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    LINES_EVERY = 25

    def __init__(self, way: Itinerary, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task(
            "", total=len(way.sessions), session=way.sessions[0], equity=""
        )
        self._of = len(way.sessions)
        self._done = 0

    def say(self, text: str) -> None:
        self._progress.console.print(f"  · {text}", highlight=False)

    def show(self, one: Replayed) -> None:
        self._done += 1
        account = one.result("account")
        equity = f"equity {account.row['equity']:,.2f} USD" if account else ""
        self._progress.update(self._task, advance=1, session=one.session, equity=equity)
        if not self._progress.console.is_terminal and self._done % self.LINES_EVERY == 0:
            say(f"  {one.session}  {self._done} of {self._of}  {equity}")


@contextmanager
def _bar(way: Itinerary) -> Iterator[_Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    say(f"Replay of {len(way.sessions)} sessions, {way.sessions[0]} to {way.to}")
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[session]}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[equity]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Bar(way, progress)


def _desk(into: Path | None, first: date | None) -> Desk:
    """The desk of this environment, or a separate one in a folder of its own."""
    from hydra_pipelines.desk import Desk

    if into is None:
        return Desk.open()
    from hydra_pipelines.day.replaying import separate_desk

    assert first is not None
    return separate_desk(Desk.open(), into, first)


def _expected_errors() -> tuple[type[Exception], ...]:
    """What a step raises that needs no stack trace: as an asset, it would fail with the message."""
    from hydra_pipelines.control import ControlError
    from hydra_pipelines.day import BrokerStateUnknown, SessionRefused
    from hydra_pipelines.execution.broker.messages import BrokerError
    from hydra_pipelines.execution.orders.manager import WindowPassed
    from hydra_pipelines.ledger.store import LedgerError
    from hydra_pipelines.market.bars import MarketDataError
    from hydra_pipelines.market.lake import LakeError
    from hydra_pipelines.sessions import ClockError

    return (
        BrokerError, BrokerStateUnknown, ClockError, ControlError, LakeError, LedgerError,
        MarketDataError, SessionRefused, WindowPassed,
    )  # fmt: skip


def _this_command() -> str:
    return shlex.join(["hydra", *sys.argv[1:]])


def _environment(desk: Desk) -> str:
    first = desk.settings.embedded.first_session
    return shlex.join(
        [f"HYDRA_DATA_DIR={desk.settings.data_path}", f"HYDRA_EMBEDDED__FIRST_SESSION={first}"]
    )

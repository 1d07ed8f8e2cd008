"""Many sessions in a row through the embedded venue, in one process: which ones, and how.

A session is what it is in a daily run (`cycle.run_steps`). What differs is what lies around it:
the ledger and the connection to the venue stay open until somebody else asks for them, who then
gets them before the next session, and readers get a new snapshot only every so many sessions.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.champions import PROMOTIONS_LOCK, moving
from hydra_pipelines.day.cycle import Judge, Step, no_judge, run_steps
from hydra_pipelines.day.profits import tell_profits
from hydra_pipelines.day.slippage import reconcile_slippage
from hydra_pipelines.desk import BROKER_LOCK, Desk
from hydra_pipelines.ledger.locks import exclusive, waited_for
from hydra_pipelines.settings import AlertSettings, DagsterSettings

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.reconciliation import SlippageReport

Say = Callable[[str], None]

PUBLISH_EVERY = 25
"""Sessions between two snapshots for readers; each copies the ledger, which grows."""
GIVE_WAY_S = 1.0
"""How long those who wait for a lock of ours are given to take it, before the next session."""
LOCK_S = 1.0


class ReplayRefused(ValueError):
    """There is nothing that can be replayed so; the message says why and what to do."""


class ReplayStopped(RuntimeError):
    """A session needs a person before the next one can run; the message says which and why."""

    def __init__(self, session: date, why: str):
        super().__init__(f"session {session}: {why}")
        self.session, self.why = session, why


@dataclass(frozen=True)
class Itinerary:
    """A replay from session `begun` to session `to`. sessions: those that are still to be run."""

    begun: date
    to: date
    sessions: tuple[date, ...]


@dataclass(frozen=True)
class Replayed:
    """A session that was run. seconds: how long each step took, by its name."""

    session: date
    steps: tuple[Step, ...]
    seconds: dict[str, float]

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(f"{step.name}: {one.text}" for step in self.steps for one in step.findings)

    def result(self, name: str) -> Any:
        """What a step returned; None where it did not run."""
        return next((step.result for step in self.steps if step.name == name), None)


@dataclass(frozen=True)
class Published:
    """The ledger was published after a session: the reports on the whole journal, as of then.

    profits, slippage: as `tell_profits` and `reconcile_slippage` return them.
    """

    session: date
    profits: dict[str, Any] | None
    slippage: SlippageReport | None
    findings: tuple[str, ...]


def plan_replay(desk: Desk, to: date | None = None, sessions: int | None = None) -> Itinerary:
    """Which sessions to run: up to `to`, or so many, from the next one due on.

    One that was asked for by a number and did not come to its end is gone on with when the same
    number is asked for again. There are none where all are done. Raises ReplayRefused, and
    NotASession for a `to` that is none.
    """
    _require_embedded(desk)
    due = desk.next_session_due()
    begun = due
    if to is not None:
        desk.calendar.index(to)
    elif sessions is not None:
        unfinished = _unfinished(desk, sessions)
        if unfinished and unfinished[0] <= due <= unfinished[1]:
            begun, to = unfinished
        else:
            to = desk.calendar.next(due, sessions - 1)
    else:
        raise ReplayRefused("say how far: up to a session, or how many")
    last = desk.calendar.next(_last_with_prices(desk), -1)
    if to > last:
        left = desk.calendar.index(last) - desk.calendar.index(due) + 1
        raise ReplayRefused(
            f"the last session that can be executed is {last}, {max(left, 0)} from {due} on: the "
            f"prices of {desk.settings.market.source} end with the session after it"
        )
    first, end = desk.calendar.index(due), desk.calendar.index(to)
    return Itinerary(begun, to, tuple(desk.calendar.sessions[first : end + 1]))


def replay(
    desk: Desk,
    itinerary: Itinerary,
    run_id: str,
    *,
    judge: Judge = no_judge,
    say: Say = lambda _: None,
    enough: Callable[[], bool] = lambda: False,
    publish_every: int = PUBLISH_EVERY,
) -> Iterator[Replayed | Published]:
    """Run the sessions, and hand each on when it is done; in between, each snapshot published.

    judge: says what stops the replay, see `cycle`. enough: asked before each session; the replay
    ends well where it is true. Raises ReplayStopped after a session in which something needs a
    person, and before the next one where trading is halted; what a step raises goes through. What
    was done till then is published and handed on in each case.
    """
    _require_embedded(desk)
    with exclusive(desk.settings.data_path / "replay.lock", LOCK_S, "the replay of this desk"):
        _note_begun(desk, itinerary)
        left = deque(itinerary.sessions)
        run = partial(_run, desk, run_id, judge, say)
        while left and not enough():
            last: date | None = None
            trouble: Exception | None = None
            rest = max(0, len(left) - publish_every)
            # Without the snapshot that each step would publish for readers.
            with desk.ledger.publishing_later():
                try:
                    while len(left) > rest and not enough():
                        # The first one may have to train models: not with the ledger in hand.
                        first = left[0] == itinerary.sessions[0]
                        with desk.broker(), nullcontext() if first else _in_hand(desk):
                            while len(left) > rest and not enough():
                                _require_trading(desk, left[0])
                                done = run(left[0])
                                last = left.popleft()
                                yield done
                                if done.findings:
                                    raise ReplayStopped(last, "; ".join(done.findings))
                                if first or _waited_for(desk):
                                    break
                        _give_way(desk)
                except Exception as error:
                    trouble = error
            if last is not None:
                published = _report(desk, last, judge)
                yield published
                if trouble is None and published.findings:
                    trouble = ReplayStopped(last, "; ".join(published.findings))
            if trouble is not None:
                raise trouble
        if not left:
            _record(desk).unlink(missing_ok=True)


def separate_desk(present: Desk, folder: Path, first: date) -> Desk:
    """A desk of its own in a folder, with the settings of the present one, that begins at `first`.

    Its ledger, lake, models, venue and Dagster home are all in the folder, wherever the present
    desk keeps its own; and it tells nobody. Raises ReplayRefused for the present desk's folder and
    for one that holds something else than a desk, NotASession for a `first` that is none.
    """
    _require_embedded(present)
    present.calendar.index(first)
    folder = folder.expanduser().resolve()
    theirs = present.settings.data_path
    if folder == theirs or folder in theirs.parents or theirs in folder.parents:
        raise ReplayRefused(f"{folder} belongs to the present desk ({theirs}): name another folder")
    if folder.exists() and not folder.is_dir():
        raise ReplayRefused(f"{folder} is no folder")
    desk = Desk(
        present.settings.model_copy(
            update={
                "data_dir": folder,
                "mlflow_uri": "",
                "embedded": present.settings.embedded.model_copy(update={"first_session": first}),
                "alerts": AlertSettings(),
                "dagster": DagsterSettings(),
            }
        )
    )
    made = desk.settings.venue_path.exists() or desk.settings.ledger_path.exists()
    if folder.exists() and not made and any(folder.iterdir()):
        raise ReplayRefused(f"{folder} is not empty and holds no desk: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return desk


def _run(desk: Desk, run_id: str, judge: Judge, say: Say, session: date) -> Replayed:
    steps, seconds = [], {}
    started = time.perf_counter()
    for step in run_steps(desk, session, run_id, judge=judge, say=say):
        steps.append(step)
        seconds[step.name] = time.perf_counter() - started
        started = time.perf_counter()
    return Replayed(session, tuple(steps), seconds)


@contextmanager
def _in_hand(desk: Desk) -> Iterator[None]:
    """What the steps would each take and give back, in the order of `champions.moving`. The
    broker's lock goes before all of them, see `trading.at_work`."""
    with moving(desk), desk.ledger.session(), desk.control.kept_open():
        yield


def _waited_for(desk: Desk) -> bool:
    """Whether another process waits for something that this one has in hand."""
    return desk.ledger.waited_for or any(
        waited_for(desk.settings.data_path / name) for name in (BROKER_LOCK, PROMOTIONS_LOCK)
    )


def _give_way(desk: Desk) -> None:
    until = time.monotonic() + GIVE_WAY_S
    if waited_for(desk.settings.data_path / BROKER_LOCK):
        desk.close()
    while _waited_for(desk) and time.monotonic() < until:
        time.sleep(0.005)


def _report(desk: Desk, session: date, judge: Judge) -> Published:
    profits, slippage = tell_profits(desk), reconcile_slippage(desk)
    reports = (("slippage_reconciliation", slippage), ("performance", profits))
    findings = [f"{name}: {one.text}" for name, result in reports for one in judge(name, result)]
    return Published(session, profits, slippage, tuple(findings))


def _require_embedded(desk: Desk) -> None:
    if not desk.embedded:
        raise ReplayRefused(
            "broker.venue is ibkr, and what happened there can't happen again: only the embedded "
            "venue replays sessions (broker.venue: embedded)"
        )
    if desk.settings.mode != "paper":
        raise ReplayRefused(
            f"mode is {desk.settings.mode}: a replay trades on paper, with mode: paper"
        )


def _require_trading(desk: Desk, session: date) -> None:
    if desk.control.kill_switch:
        raise ReplayStopped(
            session, "not begun, trading is halted (`hydra resume-trading` lets it go on)"
        )


def _last_with_prices(desk: Desk) -> date:
    from hydra_pipelines.paper_gateway.control import GatewayControl

    return date.fromisoformat(GatewayControl(desk.venue).status()["last_session"])


# how many were asked for, while they are not all done


def _record(desk: Desk) -> Path:
    return desk.settings.data_path / "replay.json"


def _note_begun(desk: Desk, itinerary: Itinerary) -> None:
    new = _record(desk).with_suffix(".new")
    new.write_text(json.dumps({"begun": str(itinerary.begun), "to": str(itinerary.to)}))
    os.replace(new, _record(desk))


def _unfinished(desk: Desk, sessions: int) -> tuple[date, date] | None:
    """First and last session of the replay that was asked for with this number, if one is open."""
    try:
        found = json.loads(_record(desk).read_text())
        begun, to = (date.fromisoformat(found[name]) for name in ("begun", "to"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (begun, to) if desk.calendar.next(begun, sessions - 1) == to else None
